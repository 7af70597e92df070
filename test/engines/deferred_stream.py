"""A CPU stream that is as unforgiving as CUDA: late, and with memory that is used again."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GARBAGE = 1234567


class _Temporaries(TorchDispatchMode):
    """Remembers every tensor that a body makes, views of older ones not counted."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = {
            leaf.untyped_storage().data_ptr()
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, torch.Tensor)
        }
        self.made += [
            leaf
            for leaf in tree_leaves(result)
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in given
        ]
        return result


def spoil(tensor):
    """Fill with what no computation should ever see."""
    tensor.fill_(float('nan') if tensor.is_floating_point() else tensor.dtype != torch.bool and 99)


class DeferredStream:
    """``Stream``: nothing runs before ``wait``, and what a graph made is spoilt after it ran.

    Attributes:
        waits: How often the host waited.
        launched: Number of launches so far.
        captured: Number of bodies captured so far.
        graphs: How many of them were not forgotten.
        closed: Whether ``close`` was called.
    """

    device = torch.device('cpu')
    name = 'deferred CPU stream (test)'

    def __init__(self):
        self._queue = []
        self._forgotten = set()
        self.waits = 0
        self.launched = 0
        self.captured = 0
        self.graphs = 0
        self.closed = False

    def buffer(self, shape, dtype):
        tensor = torch.empty(shape, dtype=dtype)
        spoil(tensor)
        return tensor

    pinned = buffer

    def order(self, body):
        self._queue.append(body)

    def together(self, bodies):
        """In the other order: bodies that need each other fail."""
        for body in reversed(bodies):
            body()

    def capture(self, body):
        self._drain()
        for _ in range(4):  # three warm-ups and the capture itself
            _run(body)
        self.captured += 1
        self.graphs += 1

        def launch():
            assert launch not in self._forgotten, 'a graph that was destroyed is launched'
            self.launched += 1
            self._queue.append(lambda: _run(body))

        return launch

    def forget(self, launches):
        self._drain()
        for launch in launches:
            assert launch not in self._forgotten
            self._forgotten.add(launch)
            self.graphs -= 1

    def wait(self):
        self.waits += 1
        self._drain()

    def close(self):
        self._drain()
        self.closed = True

    def _drain(self):
        queue, self._queue = self._queue, []
        with torch.no_grad():
            for body in queue:
                body()


def _run(body):
    with torch.no_grad(), _Temporaries() as temporaries:
        body()
    for tensor in temporaries.made:
        spoil(tensor)
