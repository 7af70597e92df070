"""The few things that the TensorRT engine asks of a GPU: memory, one stream, graphs, one wait.

``cuda_driver.CudaDevice`` is the real one. The tests bring one over host memory that runs what was
queued only when somebody waits for it, so that a missing wait shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Graph = Any
"""A captured sequence of work, owned by its device."""


@dataclass(frozen=True)
class Gpu:
    """What decides whether a compiled plan fits.

    Attributes:
        name: As the driver says it; every Jetson Orin module is ``Orin``.
        compute_capability: ``'8.7'``.
        multiprocessors: Tells an AGX Orin (16) from an Orin Nano (8).
        cuda: CUDA version of the driver, ``'12.6'``.
    """

    name: str
    compute_capability: str
    multiprocessors: int
    cuda: str


class Device(Protocol):
    """One GPU and one stream on it; everything but ``wait`` and ``synchronize`` only queues."""

    @property
    def stream(self) -> int:
        """Handle that TensorRT queues on."""

    def allocate(self, size: int) -> int:
        """Address of ``size`` bytes of device memory, aligned to 256 bytes."""

    def allocate_pinned(self, size: int) -> NDArray[np.uint8]:
        """Page-locked host memory, shape (size,); the device can copy to and from it by itself."""

    def copy_to_device(self, target: int, source: NDArray[Any]) -> None:
        """Queue a copy; ``source`` is pinned and is read when the copy runs."""

    def copy_to_host(self, target: NDArray[Any], source: int) -> None:
        """Queue a copy into pinned memory; there only after a wait."""

    def copy(self, target: int, source: int, size: int) -> None:
        """Queue a copy of ``size`` bytes between two places of device memory."""

    def capture(self, body: Callable[[], None]) -> Graph:
        """Record what ``body`` queues, without running it, as one graph."""

    def launch(self, graph: Graph) -> None:
        """Queue a graph."""

    def wait(self) -> None:
        """Mark the stream with an event and wait for it: all queued so far has then run."""

    def synchronize(self) -> None:
        """Wait until the stream is empty."""

    def close(self) -> None:
        """Free memory, graphs and stream; a second call does nothing."""
