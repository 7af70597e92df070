"""In-process ROS: one context and one spinning thread per test, in a domain of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ.pop('ROS_LOCALHOST_ONLY', None)
DOMAIN = 60 + 2 * int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])


def pytest_collection_modifyitems(items: list[Any]) -> None:
    try:
        import rclpy  # noqa: F401
    except ImportError:
        skip = pytest.mark.skip(reason='rclpy is not installed: source ROS 2, or make test')
        for item in items:
            if item.get_closest_marker('ros'):
                item.add_marker(skip)


class Graph:
    """A context, an executor spun by a thread, and the nodes under test."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.context import Context
        from rclpy.executors import SingleThreadedExecutor

        self.context = Context()
        rclpy.init(context=self.context, domain_id=DOMAIN, args=[])
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes: list[Any] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self.executor.spin_once(timeout_sec=0.05)

    def add(self, node: Any) -> Any:
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def call(self, function: Callable[[], Any], timeout: float = 10.0) -> Any:
        """Run a function in the executor's thread, as a callback would."""
        done = threading.Event()
        result: list[Any] = []

        def run() -> None:
            try:
                result.append(function())
            finally:
                done.set()

        self.executor.create_task(run)
        assert done.wait(timeout), 'the executor does not answer'
        return result[0]

    def close(self) -> None:
        for node in self.nodes:
            if hasattr(node, 'release'):
                from rclpy.lifecycle import LifecycleState

                self.call(lambda node=node: node.on_shutdown(LifecycleState('', 0)))
        self._stop.set()
        self._thread.join(5)
        for node in self.nodes:
            node.destroy_node()
        self.executor.shutdown(timeout_sec=1)
        self.context.try_shutdown()


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph()
    yield graph
    graph.close()


def wait_for(condition: Callable[[], Any], timeout: float = 5.0, what: str = '') -> Any:
    """Poll until true; the only way these tests wait."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f'not within {timeout} s: {what or condition}')
