"""The node behind ``dysl view``: it hears what the page shows, and passes on what it asks.

It listens best effort and shallow, to pictures and joints only while a page is open, and never to
a command topic: a listener there would look like a controller to whoever arms the arm.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray
from rcl_interfaces.msg import Log
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from dysl_vla_ros.demo.figures import STAGES, number
from dysl_vla_ros.errors import DyslError
from dysl_vla_ros.pictures.messages import check_message, is_raw, rgb_of
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.view_graph import IMAGE, Topics, full_name, topics_of
from dysl_vla_ros.ros.view_requests import ViewRequests
from dysl_vla_ros.view.feed import PICTURE_HZ, Answer, Feed
from dysl_vla_ros.view.skeleton import skeleton

NODE_NAME = 'dysl_view'
_LOG = logging.getLogger(__name__)
_LOOK_S = 0.4
"""How often the graph is asked what there is [s]."""
_LEVELS = {10: 'info', 20: 'info', 30: 'warn', 40: 'error', 50: 'error'}


class ViewNode(Node):
    """Hears one policy's node.

    Attributes:
        feed: What it heard.
    """

    def __init__(self, target: str, **options: Any) -> None:
        """Begin to listen.

        Args:
            target: Full name of the policy's node: ``/vla_node``, ``/left/vla_node``.
            options: Of ``rclpy.node.Node``.
        """
        name, namespace = full_name(target)
        self.target = f'{namespace.rstrip("/")}/{name}'
        super().__init__(NODE_NAME, namespace=namespace, **options)
        self.feed = Feed()
        self.requests = ViewRequests(self, self.target)
        self._watched = False
        self._topics: Topics | None = None
        self._heard: dict[str, tuple[str, Any]] = {}
        self._picture_due: dict[str, float] = {}
        self._joints: dict[str, float] = {}
        self._levels: dict[str, int] = {}
        self._logger_name = self.target.strip('/').replace('/', '.')
        listen = self.create_subscription
        listen(String, f'{self.target}/state', self._on_state, qos.LATCHED)
        listen(DiagnosticStatus, f'{self.target}/chunk_info', self._on_pass, qos.REPORT)
        listen(DiagnosticArray, '/diagnostics', self._on_diagnostics, qos.REPORT)
        listen(DiagnosticStatus, 'sim_arm/episode', self._on_episode, qos.REPORT)
        listen(Log, '/rosout', self._on_log, qos.REPORT)
        self.feed.put('node', self.target)
        self.feed.put('there', False)
        self.create_timer(_LOOK_S, self._look)

    def watch(self, watched: bool) -> None:
        """Whether a page is open; called by the server's thread."""
        self._watched = watched

    def ask(self, what: str, value: Any) -> Future[Answer]:
        """Pass a request on, and keep it among the events with its answer."""
        shown = what if value is None else f'{what} {str(value)[:80]}'
        reply = self.requests.ask(what, value)

        def note(done: Future[Answer]) -> None:
            if not done.cancelled():
                said = done.result()
                level = 'asked' if said.success else 'warn'
                self.feed.add_event(level, f'page: {shown}: {said.message}')

        reply.add_done_callback(note)
        return reply

    # ---- the graph -----------------------------------------------------------------------------

    def _look(self) -> None:
        """Follow the node's topics as they appear, are renamed and disappear."""
        found = topics_of(self, self.target)
        if found != self._topics:
            self._topics = found
            self.requests.follow(found.estop if found else '', found.instruction if found else '')
            self.feed.put('unclear', found.unclear if found else '')
        self.feed.put('there', found is not None)
        self.feed.put('pressed', self.requests.pressed)
        self.feed.put('simulated', self.requests.simulated)
        wanted: dict[str, tuple[str, Any, Any, Callable[[Any], None]]] = {}
        if found is not None and found.robot_description:
            wanted[found.robot_description] = ('String', String, qos.LATCHED, self._on_description)
        if found is not None and self._watched:
            for topic in found.joint_states:
                wanted[topic] = ('JointState', JointState, qos.JOINTS, self._on_joints)
            for topic, kind in found.cameras.items():
                message = Image if kind == IMAGE else CompressedImage
                wanted[topic] = (kind, message, qos.SENSOR, self._picture_of(topic))
            wanted[f'{self.target}/path'] = ('PoseArray', PoseArray, qos.SENSOR, self._on_path)
        for topic in [t for t, (kind, _) in self._heard.items()
                      if t not in wanted or wanted[t][0] != kind]:  # fmt: skip
            self.destroy_subscription(self._heard.pop(topic)[1])
            self.feed.forget_shot(topic)
        for topic, (kind, message, profile, callback) in wanted.items():
            if topic not in self._heard:
                made = self.create_subscription(message, topic, callback, profile)
                self._heard[topic] = (kind, made)

    # ---- what is heard -------------------------------------------------------------------------

    def _on_state(self, message: Any) -> None:
        self.feed.put('state', message.data)

    def _on_pass(self, message: Any) -> None:
        values = {item.key: item.value for item in message.values}
        mask = values.get('layer_mask', '')
        if not mask:
            self.feed.add_event('warn', f'pass refused: {message.message}')
            return
        episode = self.feed.get('episode') or {}
        self.feed.add_pass({
            'mask': mask, 'mode': values.get('mode', ''), 'outcome': values.get('outcome', ''),
            'ms': [number(values.get(f'{stage}_ms', '')) for stage in STAGES],
            'continuity': [c for c in map(number, values.get('continuity', '').split())
                           if c is not None],
            'phase': episode.get('phase', ''),
        })  # fmt: skip
        if values.get('outcome') == 'refused':
            self.feed.add_event('warn', f'chunk refused: {values.get("reason", "")}')

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            owner, _, kind = status.name.rpartition(': ')
            if owner != self.target:
                continue
            level = int.from_bytes(status.level, 'little')
            values = {item.key: item.value for item in status.values}
            self.feed.put(kind, {'level': level, 'message': status.message, 'values': values})
            if level != self._levels.get(kind, 0):
                word = ('info', 'warn', 'error', 'error')[min(level, 3)]
                self.feed.add_event(word, f'{kind}: {status.message}')
            self._levels[kind] = level

    def _on_episode(self, message: Any) -> None:
        self.feed.put('episode', {item.key: item.value for item in message.values})

    def _on_log(self, message: Any) -> None:
        if message.name == self._logger_name:
            self.feed.add_event(_LEVELS.get(int(message.level), 'info'), message.msg[:500])

    def _on_description(self, message: Any) -> None:
        try:
            self.feed.set_arm(skeleton(message.data))
        except DyslError as error:
            self.feed.add_event('error', f'robot_description: {error}')

    def _on_joints(self, message: Any) -> None:
        self._joints.update(zip(message.name[:256], message.position, strict=False))
        known = {n: value for n, value in self._joints.items() if math.isfinite(value)}
        self.feed.put('joints', known)

    def _on_path(self, message: Any) -> None:
        points = [[p.position.x, p.position.y, p.position.z] for p in message.poses[:256]]
        points = [point for point in points if all(map(math.isfinite, point))]
        self.feed.put('path', {'frame': message.header.frame_id, 'points': points})

    def _picture_of(self, topic: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            now = time.monotonic()
            if now < self._picture_due.get(topic, 0.0):
                return
            self._picture_due[topic] = now + 0.9 / PICTURE_HZ
            try:
                if is_raw(message):
                    self.feed.add_shot(topic, rgb_of(topic, message))
                else:  # the browser decodes it
                    check_message(topic, message)
                    self.feed.add_shot(topic, bytes(message.data))
            except DyslError as error:
                self.feed.put('camera_problem', str(error))

        return take


class Joined:
    """The node in the graph, and a thread that spins it; a context manager."""

    def __init__(self, target: str, remaps: Sequence[str] = ()) -> None:
        """Args: full name of the policy's node, and ``name:=topic`` as of any ROS node."""
        words = [word for remap in remaps for word in ('-r', remap)]
        rclpy.init(args=['--ros-args', *words], signal_handler_options=SignalHandlerOptions.NO)
        self.node = ViewNode(target)
        self._stop = threading.Event()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name='view', daemon=True)

    def __enter__(self) -> ViewNode:
        """Begin."""
        self._thread.start()
        return self.node

    def __exit__(self, *error: object) -> None:
        """End the thread and the node."""
        self._stop.set()
        self._thread.join(2.0)
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _spin(self) -> None:
        while not self._stop.is_set():
            try:
                self._executor.spin_once(timeout_sec=0.1)
            except Exception:
                if self._stop.is_set() or not self.node.context.ok():
                    return
                _LOG.exception('a callback of the view failed')
                time.sleep(0.1)  # one that always fails must not fill the log
