"""Memory that two processes see: images go to the model with one copy.

A sealed memfd: it has no name, goes with its last user, and cannot be made shorter, so that no
bug of the model's process can take a page away under the node.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os

import numpy as np
from numpy.typing import NDArray

CAPACITY = 128 << 20
"""Bytes. Only what was used takes memory; three 4K images fit."""


class SharedMemory:
    """The mapping of one process."""

    def __init__(self, descriptor: int, writable: bool) -> None:
        """Map all of it.

        Args:
            descriptor: Of the memfd; owned from here on.
            writable: Only the side that asks may write.
        """
        self.descriptor = descriptor
        size = os.fstat(descriptor).st_size
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._map = mmap.mmap(descriptor, size, prot=protection)
        self.view: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    @classmethod
    def create(cls, capacity: int = CAPACITY) -> SharedMemory:
        """New memory, to be passed to another process by its descriptor."""
        descriptor = os.memfd_create('dysl_vla_images', os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(descriptor, capacity)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return cls(descriptor, writable=True)

    def close_descriptor(self) -> None:
        """The mapping alone is enough, unless it has to be passed on."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def close(self) -> None:
        """Give everything back, at the latest when the last view goes."""
        self.close_descriptor()
        self.view = np.empty(0, np.uint8)
        with contextlib.suppress(BufferError):
            self._map.close()
