"""`dysl view`, for real: node, server and WebSocket; who may read, who may write; the e-stop."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import wait_for

aiohttp = pytest.importorskip('aiohttp', reason="python3 -m pip install 'aiohttp>=3.8,<4'")
pytestmark = pytest.mark.ros

TOKEN = 'a-token-of-the-test'


class Page:
    """A browser's part: one WebSocket, what it was told, what it asks."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.told: dict[str, Any] = {}
        self.passes: list[Any] = []
        self.events: list[Any] = []
        self.answers: dict[int, Any] = {}
        self.pictures: list[bytes] = []
        self.messages = 0
        self._asked = 0
        self._socket: Any = None

    async def listen(self, **headers: str) -> None:
        async with aiohttp.ClientSession() as session:
            address = f'{self._served.at}/live?token={TOKEN}'
            async with session.ws_connect(address, headers=headers) as self._socket:
                async for message in self._socket:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        self.pictures.append(message.data)
                        continue
                    told = json.loads(message.data)
                    if 'answer' in told:
                        self.answers[told['answer']] = told
                        continue
                    self.messages += 1
                    self.passes += told['passes']
                    self.events += told['events']
                    self.told = told

    def ask(self, what: str, value: Any = None) -> dict[str, Any]:
        self._asked += 1
        wait_for(lambda: self._socket is not None, what='a connection')
        text = json.dumps({'id': self._asked, 'do': what, 'value': value})
        self._served.call(self._socket.send_str(text))
        number = self._asked
        wait_for(lambda: number in self.answers, what=f'an answer to {what}')
        return dict(self.answers[number])

    def close(self) -> None:
        if self._socket is not None:
            self._served.call(self._socket.close())


class Served:
    """The server in a thread of its own, beside the graph of the test."""

    def __init__(self, robot: Any, host: str = '127.0.0.1') -> None:
        from dysl_vla_ros.view.access import Access
        from dysl_vla_ros.view.server import Server

        self.loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._server = Server(robot, Access(host, TOKEN))
        self.address = ''
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        wait_for(lambda: self.address, what='the server')
        self.at = f'http://127.0.0.1:{self._server.port}'

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)

        def ready(address: str) -> None:
            self.address = address

        self.loop.run_until_complete(self._server.run(0, self._stop, ready))

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def page(self, **headers: str) -> Page:
        page = Page(self)
        asyncio.run_coroutine_threadsafe(page.listen(**headers), self.loop)
        return page

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        async def fetch() -> tuple[int, str]:
            async with (
                aiohttp.ClientSession() as session,
                session.get(self.at + path, headers=headers) as answer,
            ):
                return answer.status, await answer.text()

        return tuple(self.call(fetch()))

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture
def view(graph: Any) -> Iterator[Any]:
    """Makes a view of a node in the graph, served."""
    from dysl_vla_ros.ros.view_node import ViewNode

    made: list[Served] = []

    def make(target: str = '/vla_node', host: str = '127.0.0.1', **options: Any) -> Served:
        node = graph.add(ViewNode(target, context=graph.context, **options))
        made.append(Served(node, host))
        return made[-1]

    yield make
    for served in made:
        served.close()


def moving(made: Any) -> Any:
    """Up and started; on a loaded machine an input is too old now and then: no start."""
    made.up().instruct('go')
    wait_for(lambda: made.ask('start').success, what='a start')
    return made.wait_state('running')


def test_a_page_is_told_of_state_joints_arm_passes_and_stages(rig, view):
    running = moving(rig())
    page = view().page()
    wait_for(lambda: page.told.get('state') == 'running', what='the state')
    wait_for(lambda: page.told['there'], what='the node in the graph')
    assert page.told['node'] == '/vla_node'
    wait_for(lambda: page.passes and page.told.get('commands') and page.told.get('joints'))
    values = page.told['commands']['values']
    assert {'command_rate_hz', 'hold_reason', 'armed'} <= values.keys()
    assert len(page.passes[-1]['ms']) == 4 and set(page.passes[-1]['mask']) <= {'0', '1'}
    assert set(page.told['joints']) >= set(running.robot.names)


def test_whoever_has_the_token_starts_pauses_and_stops(rig, view):
    running = rig(start_on_instruction=False).up()
    page = view().page()
    wait_for(lambda: page.told.get('there'), what='the node in the graph')
    assert page.ask('instruct', 'go')['success']
    running.wait_state('ready')
    wait_for(lambda: running.session.inputs.instruction == 'go')
    wait_for(lambda: page.ask('start')['success'], what='a start')
    running.wait_state('running')
    assert page.ask('pause', True)['message'].startswith('paused')
    running.wait_state('paused')
    assert page.ask('pause', False)['success'] and page.ask('stop')['success']
    running.wait_state('ready')
    assert page.ask('mode', 'full')['success']
    assert running.session.loop.status().skip_mode == 'full'
    refused = page.ask('arm', 'yes')
    assert not refused['success'] and 'is no request' in refused['message']
    assert [event for event in page.events if 'page: pause True' in event['text']]


def test_an_estop_brakes_and_is_a_level_until_it_is_released(rig, view):
    running = moving(rig())
    page = view().page()
    wait_for(lambda: page.told.get('there'), what='the node in the graph')
    assert page.ask('estop')['success']
    running.wait_state('e-stop')
    wait_for(running.at_rest, what='rest')
    wait_for(lambda: page.told.get('pressed'), what='a pressed button')
    answer = running.ask('estop_reset')
    assert not answer.success and 'pressed' in answer.message
    wait_for(lambda: page.ask('release')['success'], what='a release')
    running.wait_state('ready', 'waiting')


def test_a_page_without_the_token_reads_and_changes_nothing(rig, view):
    running = moving(rig())
    served = view()

    async def press() -> Any:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f'{served.at}/live?token=guessed') as socket,
        ):
            told = json.loads(await socket.receive_str())
            for what, value in (('estop', None), ('stop', None), ('arm', False)):
                await socket.send_str(json.dumps({'id': what, 'do': what, 'value': value}))
            answers = []
            while len(answers) < 3:
                message = await socket.receive()
                if message.type is aiohttp.WSMsgType.TEXT and '"answer"' in message.data:
                    answers.append(json.loads(message.data))
            return told, answers

    told, answers = served.call(press())
    assert told['may_write'] is False
    assert {answer['message'] for answer in answers} == {'read only: this page has no token'}
    assert running.session.state not in ('ready', 'e-stop')
    assert running.session.loop.armed


@pytest.mark.parametrize('headers', [
    {'Origin': 'http://evil.example'},
    {'Host': 'rebound.example'},
    {'Host': 'rebound.example', 'Origin': 'http://rebound.example'},
    {'Host': '10.1.2.3:8042'},
    {'Host': ''},
])  # fmt: skip
def test_another_page_of_the_browser_is_refused_whatever_token_it_has(view, headers):
    served = view()
    for path in (f'/?token={TOKEN}', f'/live?token={TOKEN}', '/view.js'):
        status, said = served.get(path, **headers)
        assert status == 403 and 'expected' in said


def test_the_page_itself_is_served_with_a_policy_that_lets_nothing_else_in(view):
    served = view()
    status, text = served.get('/')
    assert status == 200 and 'E-STOP' in text and 'http' not in text.replace('http-equiv', '')
    for path in ('/view.js', '/arm.js', '/charts.js', '/view.css'):
        assert served.get(path)[0] == 200
    assert served.get('/../server.py')[0] == 404 and served.get('/view.py')[0] == 404


def test_from_elsewhere_nobody_reads_without_the_token(view):
    served = view(host='0.0.0.0')
    assert f':{served._server.port}/?token={TOKEN}' in served.address
    for path in ('/', '/?token=', '/?token=guessed', '/live', '/live?token=guessed'):
        assert served.get(path)[0] == 403, path
    assert served.get(f'/?token={TOKEN}')[0] == 200
    assert served.get(f'/?token={TOKEN}', Origin='http://evil.example')[0] == 403


def test_nonsense_on_the_socket_is_answered_and_ends_nothing(rig, view):
    rig().up()
    page = view().page()
    wait_for(lambda: page.told)
    for text in ('', 'null', '[]', '{"do": 7}', '{"id": 1}', '"estop"', '[' * 15_000,
                 '{"do": "shutdown"}', '{"do": "scene", "value": -1}'):  # fmt: skip
        page._served.call(page._socket.send_str(text))
    wait_for(lambda: page.answers, what='answers')
    before = page.messages
    wait_for(lambda: page.messages > before + 3, what='more news')
    assert not any(answer['success'] for answer in page.answers.values())


def test_readings_that_are_no_numbers_do_not_break_the_page(graph, view):
    from rclpy.node import Node
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Bool

    from dysl_vla_ros.ros import qos

    far = graph.add(Node('vla_node', namespace='/odd_joints', context=graph.context))
    far.create_subscription(Bool, 'estop', lambda _: None, qos.STOP)
    far.create_subscription(JointState, 'joint_states', lambda _: None, qos.JOINTS)
    joints = far.create_publisher(JointState, 'joint_states', qos.SOURCE)
    page = view('/odd_joints/vla_node').page()
    sent = JointState(name=['a', 'b', 'c', 'd'], position=[1.0, float('nan'), float('inf')])

    def told() -> bool:
        joints.publish(sent)
        return page.told.get('joints') == {'a': 1.0}

    wait_for(told, what='the one reading that is a number')


def test_topics_are_those_of_the_node_whatever_its_namespace_and_remappings(graph, view):
    from rclpy.node import Node
    from sensor_msgs.msg import Image
    from std_msgs.msg import Bool, String

    from dysl_vla_ros.ros import qos

    far = graph.add(Node('vla_node', namespace='/left', context=graph.context))
    pressed: list[bool] = []
    far.create_subscription(Image, '/cell/camera', lambda _: None, qos.SENSOR)
    far.create_subscription(Bool, '/cell/stop', lambda m: pressed.append(m.data), qos.STOP)
    far.create_subscription(Bool, 'enable', lambda _: None, qos.REQUEST)
    far.create_subscription(String, '/cell/tell', lambda _: None, qos.REQUEST)
    far.create_subscription(String, 'robot_description', lambda _: None, qos.LATCHED)
    served = view('/left/vla_node')
    page = served.page()
    node = served._server._robot
    wait_for(lambda: page.told.get('there') and node._topics, what='the node in the graph')
    assert node._topics.cameras == {'/cell/camera': 'sensor_msgs/msg/Image'}
    assert node._topics.instruction == '/cell/tell'
    assert page.ask('estop')['message'].startswith('e-stop pressed: true on /cell/stop')
    wait_for(lambda: len(pressed) > 2 and all(pressed), what='a level')


def test_an_estop_that_cannot_be_told_from_another_topic_is_said_and_not_guessed(graph, view):
    from rclpy.node import Node
    from std_msgs.msg import Bool

    from dysl_vla_ros.ros import qos

    far = graph.add(Node('vla_node', namespace='/odd', context=graph.context))
    far.create_subscription(Bool, '/cell/a', lambda _: None, qos.STOP)
    far.create_subscription(Bool, '/cell/b', lambda _: None, qos.REQUEST)
    page = view('/odd/vla_node').page()
    wait_for(lambda: page.told.get('unclear'), what='a word about it')
    assert 'which of /cell/a and /cell/b is estop' in page.told['unclear']
    assert page.ask('estop')['message'] == "nobody listens to the e-stop: use the arm's own"


def test_pictures_and_joints_are_heard_only_while_a_page_is_open(rig, view):
    running = rig().up()
    served = view()
    node = served._server._robot
    image = f'/{next(iter(running.session.inputs.cameras))}'
    wait_for(lambda: node._topics, what='the node in the graph')
    assert image not in node._heard
    page = served.page()
    wait_for(lambda: page.pictures, what='a picture')
    assert page.pictures[0][0] == 0 and page.pictures[0][1:4] == b'\xff\xd8\xff'
    page.close()
    wait_for(lambda: image not in node._heard and '/joint_states' not in node._heard)


def test_a_view_is_no_listener_of_the_command_topic(rig, view):
    running = moving(rig())
    page = view().page()
    wait_for(lambda: page.told.get('commands'))
    time.sleep(0.6)  # two looks at the graph
    assert 'dysl_view' not in str(running.session.around.newest.listeners)
