"""The only code that talks to CUDA: one stream, its memory, and captured graphs.

Narrow on purpose. A captured graph repeats its kernels on the addresses of the capture, later
and asynchronously, and with a shared pool its temporary results are overwritten by the next
graph. Tests replace this class by one that behaves just so on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch

from dysl_vla_ros.errors import EngineError

Body = Callable[[], object]
_WARM_UP_RUNS = 3


class Stream(Protocol):
    """Work in order, asynchronous to the caller."""

    @property
    def device(self) -> torch.device:
        """Where buffers lie and weights must lie."""

    @property
    def name(self) -> str:
        """In words, for diagnostics."""

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Device memory, not initialised, that lives as long as its tensor."""

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Host memory that the device reads and writes; valid only after ``wait``."""

    def order(self, body: Body) -> None:
        """Run a body's operations after all that was launched before."""

    def together(self, bodies: Sequence[Body]) -> None:
        """Run bodies that do not need each other; part of a body of ``order`` or ``capture``."""

    def capture(self, body: Body) -> Callable[[], None]:
        """Record a body; returns what launches it.

        The body runs a few times. It must leave its results in buffers from ``buffer`` and
        ``pinned``: whatever else it makes belongs to the next graph as soon as that runs.
        """

    def forget(self, launches: Iterable[Callable[[], None]]) -> None:
        """Wait, then give back what these launches need; they are invalid afterwards."""

    def wait(self) -> None:
        """Return when all that was launched is done."""

    def close(self) -> None:
        """Wait and give the memory back; launches are invalid afterwards."""


class CudaStream:
    """``Stream`` on the current CUDA device."""

    def __init__(self) -> None:
        """Open a side stream and a memory pool that all of its graphs share.

        Raises:
            EngineError: There is no CUDA device.
        """
        if not torch.cuda.is_available():
            raise EngineError(
                "engine.backend = 'cuda': no CUDA device; expected an NVIDIA GPU and a CUDA build "
                f'of torch (this is {torch.__version__}); on this machine use onnxruntime'
            )
        self._device = torch.device('cuda', torch.cuda.current_device())
        self._stream = torch.cuda.Stream(self._device)
        self._pool = torch.cuda.graph_pool_handle()
        self._graphs: dict[Callable[[], None], torch.cuda.CUDAGraph] = {}
        self._beside: list[torch.cuda.Stream] = []

    @property
    def device(self) -> torch.device:
        """The CUDA device that was current at the beginning."""
        return self._device

    @property
    def name(self) -> str:
        """GPU and versions."""
        gpu = torch.cuda.get_device_name(self._device)
        return f'{gpu} (torch {torch.__version__}, CUDA {torch.version.cuda})'

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Allocated on the stream: freed memory is used again in the stream's order."""
        with torch.cuda.stream(self._stream):
            return torch.empty(shape, dtype=dtype, device=self._device)

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """Page-locked, so that a copy can be part of a graph."""
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def order(self, body: Body) -> None:
        """Run a body with this stream as the current one."""
        with torch.no_grad(), torch.cuda.stream(self._stream):
            body()

    def together(self, bodies: Sequence[Body]) -> None:
        """The first body on this stream, each other one on a stream beside it."""
        main = torch.cuda.current_stream(self._device)
        while len(self._beside) < len(bodies) - 1:
            self._beside.append(torch.cuda.Stream(self._device))
        others = self._beside[: len(bodies) - 1]
        for stream, body in zip(others, bodies[1:], strict=True):
            stream.wait_stream(main)
            with torch.cuda.stream(stream):
                body()
        bodies[0]()
        for stream in others:
            main.wait_stream(stream)

    def capture(self, body: Body) -> Callable[[], None]:
        """Warm up on the stream, then record there."""
        # Weights and inputs may still be on their way on other streams.
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        # In a float32 bundle TF32 would cost convolutions three digits.
        exact = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False)  # type: ignore[no-untyped-call]
        with torch.no_grad(), exact:
            with torch.cuda.stream(self._stream):
                # Libraries choose kernels and allocate workspaces the first time.
                for _ in range(_WARM_UP_RUNS):
                    body()
            self._stream.synchronize()
            # Another thread's allocation (a camera driver, say) must not break the capture.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode='thread_local'
            ):
                body()

        def launch() -> None:
            with torch.cuda.stream(self._stream):
                graph.replay()

        self._graphs[launch] = graph
        return launch

    def forget(self, launches: Iterable[Callable[[], None]]) -> None:
        """Destroy their graphs once they are idle; the pool stays with the others."""
        self._stream.synchronize()
        for launch in launches:
            self._graphs.pop(launch).reset()

    def wait(self) -> None:
        """Wait for the stream."""
        self._stream.synchronize()

    def close(self) -> None:
        """Destroy the graphs, which own the pool, once they are idle."""
        self._stream.synchronize()
        for graph in self._graphs.values():
            graph.reset()
        self._graphs.clear()
