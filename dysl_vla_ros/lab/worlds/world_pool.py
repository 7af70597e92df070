"""Many simulated worlds in worker processes, stepped in bursts between batched passes.

The worlds are split into two halves: while the GPU answers for one, the processes step the other.
Pictures cross in shared memory, everything small through a pipe.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.children import deaf_to_ctrl_c
from dysl_vla_ros.lab.worlds.cell import CAMERA_SIZES, Cell, EpisodeSpec, Outcome

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PROPRIOCEPTION = 7


@dataclass(frozen=True)
class Burst:
    """What one world is to do before its next observation.

    Attributes:
        slot: Which world.
        reset: Begin this episode first; None goes on with the current one.
        actions: Actions to play, (n, dim), physical units.
    """

    slot: int
    reset: EpisodeSpec | None
    actions: NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """What a world answers; its pictures lie in the pool's shared arrays.

    Attributes:
        slot: Which world.
        outcome: Whether the episode is over, and how it stands.
        goal: Number of the goal that is being pursued.
        instruction: The same in words.
        phases: What the arm was doing at each played action.
    """

    slot: int
    outcome: Outcome
    goal: int
    instruction: str
    phases: tuple[str, ...]


class _Shared:
    """Named arrays in shared memory."""

    def __init__(self, slots: int, names: dict[str, str] | None = None) -> None:
        shapes: dict[str, tuple[tuple[int, ...], Any]] = {
            camera: ((slots, size, size, 3), np.uint8) for camera, size in CAMERA_SIZES.items()
        }
        shapes['proprioception'] = ((slots, PROPRIOCEPTION), np.float32)
        self.blocks: dict[str, SharedMemory] = {}
        self.arrays: dict[str, NDArray[Any]] = {}
        for name, (shape, dtype) in shapes.items():
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            block = (
                SharedMemory(create=True, size=size)
                if names is None
                else SharedMemory(name=names[name])
            )
            self.blocks[name] = block
            self.arrays[name] = np.ndarray(shape, dtype, buffer=block.buf)

    @property
    def names(self) -> dict[str, str]:
        return {name: block.name for name, block in self.blocks.items()}


class WorldPool:
    """Worlds in worker processes; use as a context manager.

    Args:
        workers: Processes.
        worlds: Worlds in all; slots run from 0 to ``worlds - 1``.
    """

    def __init__(self, workers: int, worlds: int) -> None:
        self.workers, self.worlds = min(workers, worlds), worlds

    def __enter__(self) -> WorldPool:
        self._shared = _Shared(self.worlds)
        context = multiprocessing.get_context('spawn')
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(self.workers):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, daemon=True,
                args=(theirs, self.worlds, self._shared.names),
            )  # fmt: skip
            with deaf_to_ctrl_c():
                process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=5)
            if process.is_alive():
                process.terminate()
        self.arrays.clear()
        self._shared.arrays.clear()
        for block in self._shared.blocks.values():
            block.close()
            block.unlink()

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Newest pictures (slots, height, width, 3) and proprioception (slots, 7)."""
        return self._shared.arrays

    def send(self, bursts: Sequence[Burst]) -> None:
        """Start bursts; each send must be answered by one ``receive``, in order."""
        for rank, pipe in enumerate(self._pipes):
            pipe.send([burst for burst in bursts if burst.slot % self.workers == rank])

    def receive(self) -> list[View]:
        """Wait for the answers to the oldest unanswered ``send``."""
        views: list[View] = []
        for pipe in self._pipes:
            answer = pipe.recv()
            if isinstance(answer, Exception):
                raise answer
            views += answer
        return views


def _serve(pipe: Connection, worlds: int, names: dict[str, str]) -> None:
    """A worker: steps the worlds it is asked to until the pipe closes."""
    os.environ['OMP_NUM_THREADS'] = '1'
    shared = _Shared(worlds, names)
    cells: dict[int, Cell] = {}
    try:
        while True:
            bursts: list[Burst] = pipe.recv()
            try:
                pipe.send([_step(cells, burst, shared.arrays) for burst in bursts])
            except Exception as error:
                pipe.send(error)
                raise
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
    finally:
        shared.arrays.clear()
        for block in shared.blocks.values():
            block.close()


def _step(
    cells: dict[int, Cell],
    burst: Burst,
    arrays: dict[str, NDArray[Any]],
) -> View:
    cell = cells.setdefault(burst.slot, Cell())
    if burst.reset is not None:
        cell.reset(burst.reset)
    phases = [cell.play(action) for action in burst.actions]
    images, proprioception = cell.observe()
    for name, image in images.items():
        arrays[name][burst.slot] = image
    arrays['proprioception'][burst.slot] = proprioception
    return View(burst.slot, cell.outcome(), cell.goal, cell.instruction, tuple(phases))
