"""In-process ROS: one context and one spinning thread per test, in a domain of its own."""

from __future__ import annotations

import gc
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dysl_vla_ros.demo.domain import ReservedDomain
from dysl_vla_ros.hardware.garbage import set_aside

os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ.pop('ROS_LOCALHOST_ONLY', None)
_RESERVED = ReservedDomain()
DOMAIN = _RESERVED.number


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
        self.ended_by = ''
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            while not self._stop.is_set():
                self.executor.spin_once(timeout_sec=0.05)
        except BaseException:
            self.ended_by = traceback.format_exc()

    def add(self, node: Any) -> Any:
        for kind in ('subscription', 'publisher', 'timer', 'client', 'service'):
            setattr(node, f'destroy_{kind}', self._only_here(getattr(node, f'destroy_{kind}')))
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def _only_here(self, destroy: Callable[[Any], bool]) -> Callable[[Any], bool]:
        """What another thread destroys ends the executor where it was just about to wait on it."""

        def guarded(entity: Any) -> bool:
            here = threading.current_thread()
            assert here is self._thread or not self._thread.is_alive(), (
                f'{destroy.__name__} in {here.name} while the executor spins: use graph.call'
            )
            return destroy(entity)

        return guarded

    def call(self, function: Callable[[], Any], timeout: float = 30.0) -> Any:
        """Run a function in the executor's thread, as a callback would; raises what it raised."""
        done = threading.Event()
        result: list[Any] = []
        raised: list[BaseException] = []

        def run() -> None:
            try:
                result.append(function())
            except BaseException as error:
                raised.append(error)
            finally:
                done.set()

        self.executor.create_task(run)
        until = time.monotonic() + timeout
        while not done.wait(0.1):
            assert not self.ended_by, f'the executor ended:\n{self.ended_by}'
            assert time.monotonic() < until, 'the executor does not answer'
        if raised:
            raise raised[0]
        return result[0]

    def close(self) -> None:
        """Whatever happened: no thread of a node outlives its test, to disturb the next one."""
        wrong: list[BaseException] = []
        for node in self.nodes:
            if hasattr(node, 'close'):
                try:
                    self.call(lambda node=node: node.close('end of the test'))
                except AssertionError as error:
                    wrong.append(error)
        self._stop.set()
        self._thread.join(5)
        for node in self.nodes:
            if wrong and hasattr(node, 'close'):
                node.close('end of the test')
            node.destroy_node()
        self.executor.shutdown(timeout_sec=1)
        self.context.try_shutdown()
        assert not wrong, wrong[0]
        assert not self.ended_by, f'the executor ended:\n{self.ended_by}'


@pytest.fixture
def scheduled_as_on_a_robot() -> Iterator[None]:
    """For a test of gaps between commands: the command thread goes before all others.

    And as on a robot, what was there before stands outside the collection of garbage: a full one
    over all that hundreds of tests imported holds the interpreter lock for a tenth of a second.
    """
    set_aside()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def modest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node inside the test run must neither starve it nor lock its memory, as root may."""
    from dysl_vla_ros.hardware import realtime

    monkeypatch.setattr(realtime, '_lock_memory', list)
    if 'scheduled_as_on_a_robot' not in request.fixturenames:
        monkeypatch.setattr(realtime, 'claim', realtime.Realtime)


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph()
    yield graph
    graph.close()


def wait_for(
    condition: Callable[[], Any], timeout: float = 30.0, what: str | Callable[[], str] = ''
) -> Any:
    """Poll until true; the only way these tests wait, as long as a loaded machine may take."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    told = what() if callable(what) else what
    raise AssertionError(f'not within {timeout} s: {told or condition}')


def granted(ask: Callable[..., Any], service: str, *data: bool) -> None:
    """A start or an arming, asked again only while an input is late, as under load."""

    def taken() -> bool:
        answer = ask(service, *data)
        late = answer.message.startswith(('waiting: ', 'state is waiting '))
        assert answer.success or late, answer.message
        return bool(answer.success)

    wait_for(taken, what=service)


class Rig:
    """A fake robot and the node with a fake policy, both in one graph."""

    def __init__(self, graph: Graph, policy: Any, monkeypatch: Any, **parameters: Any) -> None:
        from fakes import FakeRobot
        from rclpy.node import Node
        from rclpy.parameter import Parameter

        import dysl_vla_ros.ros.lifecycle_node as module

        monkeypatch.setattr(module, 'open_policy', lambda config: policy)
        self.graph = graph
        self.policy = policy
        self.robot = FakeRobot(graph.add(Node('robot', context=graph.context)))
        self.node = graph.add(
            module.VlaNode(
                context=graph.context,
                parameter_overrides=[
                    Parameter(name.replace('__', '.'), value=value)
                    for name, value in parameters.items()
                ],
            )
        )
        self.heard: dict[str, list[Any]] = {}

    def configure(self) -> str:
        return self.graph.call(self.node.trigger_configure).name

    def activate(self) -> str:
        return self.graph.call(self.node.trigger_activate).name

    def deactivate(self) -> str:
        return self.graph.call(self.node.trigger_deactivate).name

    def up(self) -> Rig:
        """Configured, active, described."""
        assert self.configure() == 'SUCCESS'
        assert self.activate() == 'SUCCESS'
        self.robot.describe()
        return self

    def run(self, instruction: str = 'go') -> Rig:
        """Up, started, and playing actions."""
        self.up()
        self.instruct(instruction)
        if not self.node.config.safety.start_on_instruction:
            self.wait_state('ready')
            self.start()
        return self.wait_state('running')

    @property
    def session(self) -> Any:
        return self.node._configured.session

    def wait_state(self, *states: str, timeout: float = 30.0) -> Rig:
        wait_for(
            lambda: self.session.state in states,
            timeout,
            lambda: f'{states}, but {self.session.state}: {self.session.reason}',
        )
        return self

    def wait_reason(self, *words: str, timeout: float = 30.0) -> str:
        wait_for(lambda: all(word in self.session.reason for word in words), timeout,
                 lambda: f'{words} in {self.session.reason!r}')  # fmt: skip
        return str(self.session.reason)

    def instruct(self, text: str) -> None:
        from std_msgs.msg import String

        from dysl_vla_ros.ros import qos

        publisher = self.robot.node.create_publisher(String, 'instruction', qos.REQUEST)
        wait_for(publisher.get_subscription_count, what='instruction subscriber')
        publisher.publish(String(data=text))
        self.graph.call(lambda: self.robot.node.destroy_publisher(publisher))

    def publish_bool(self, topic: str, value: bool) -> None:
        from std_msgs.msg import Bool

        from dysl_vla_ros.ros import qos

        publisher = self.robot.node.create_publisher(Bool, topic, qos.REQUEST)
        wait_for(publisher.get_subscription_count, what=f'{topic} subscriber')
        publisher.publish(Bool(data=value))

    def ask(self, service: str, data: bool | None = None) -> Any:
        from std_srvs.srv import SetBool, Trigger

        kind = Trigger if data is None else SetBool
        client = self.robot.node.create_client(kind, f'vla_node/{service}')
        assert client.wait_for_service(timeout_sec=5.0)
        request = Trigger.Request() if data is None else SetBool.Request(data=data)
        future = client.call_async(request)
        wait_for(future.done, what=service)
        return future.result()

    def start(self) -> None:
        granted(self.ask, 'start')

    def arm(self) -> None:
        granted(self.ask, 'arm', True)

    def listen(self, topic: str, kind: Any, profile: Any) -> list[Any]:
        heard = self.heard.setdefault(topic, [])
        self.robot.node.create_subscription(kind, topic, heard.append, profile)
        return heard

    def at_rest(self, seconds: float = 0.2) -> bool:
        before = self.robot.position
        time.sleep(seconds)
        return bool(abs(self.robot.position - before).max() < 1e-3)


PATIENT = {'timeout__joint_states_s': 0.6}
"""Both ends of a topic run in this process: what a loaded machine holds up is no silent driver."""


@pytest.fixture
def rig(graph: Graph, monkeypatch: Any) -> Iterator[Callable[..., Rig]]:
    made = []

    def make(policy: Any = None, **parameters: Any) -> Rig:
        from fakes import FakePolicy

        parameters = {'armed': True, **PATIENT, **parameters}
        made.append(Rig(graph, policy or FakePolicy(), monkeypatch, **parameters))
        return made[-1]

    yield make
    # Whatever the test was about: every window that was published kept every limit.
    assert [text for rig in made for text in rig.robot.wrong] == []
