"""`~/pass` and `~/seen/<camera>`: every pass with what the model saw, for a recorder.

Nothing of it is made while nobody listens. The worker only hands over what it has anyway; pictures
and text are made in a thread of their own, and what that cannot keep up with is left out, counted,
and missing in the numbers of the passes.
"""

from __future__ import annotations

import contextlib
import queue
import secrets
import threading
from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.core.skip_policy import SkipSettings
from dysl_vla_ros.data_types import Observation, SkipMode, SkipPlan, plain_words
from dysl_vla_ros.engines.image_tensor import seen_values
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.lossless_picture import encode
from dysl_vla_ros.pass_record import (
    PASS_TOPIC,
    PICTURE_TOPIC,
    PassRecord,
    Source,
    judged,
    to_text,
)
from dysl_vla_ros.policy import Pass, proprioception_input
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.observer import Observer

_WAITING = 8
"""Passes that may wait for the thread: more than a second of them."""
_PATIENCE_S = 1.0
_NS = 1_000_000_000


@dataclass(frozen=True)
class _Seen:
    number: int
    stamp_ns: int
    observation: Observation
    plan: SkipPlan
    result: Pass


@dataclass(frozen=True)
class _Entry:
    seen: _Seen
    number: int
    result: Pass
    delivery: Delivery
    mode: SkipMode


class WatchedPolicy:
    """What a control loop calls of a policy, with a look at what it is asked."""

    def __init__(self, policy: Any, note: Callable[[Observation, SkipPlan, Pass], None]) -> None:
        """Args: the policy, and who is told."""
        self.manifest: Manifest = policy.manifest
        self._policy = policy
        self._note = note

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """As the policy."""
        result: Pass = self._policy.predict(observation, plan)
        self._note(observation, plan, result)
        return result

    def compare(self, observation: Observation, plan: SkipPlan) -> Pass:
        """As the policy."""
        result: Pass = self._policy.compare(observation, plan)
        self._note(observation, plan, result)
        return result

    def rerun(self, first: Pass) -> Pass:
        """As the policy."""
        result: Pass = self._policy.rerun(first)
        return result


class PassLog:
    """Publishers and the thread that feeds them; called by the worker.

    Attributes:
        lost: Passes that the thread could not keep up with.
    """

    def __init__(self, node: Node, policy: Any, settings: SkipSettings) -> None:
        """Create the publishers.

        Args:
            node: Their owner.
            policy: Opened; what it is asked is watched through ``watch``.
            settings: Of the skip policy.
        """
        manifest: Manifest = policy.manifest
        self._node = node
        self._policy = policy
        self._settings, self._exits = asdict(settings), settings.exits
        self._source = Source(
            secrets.token_hex(4), manifest.name, manifest.digest, policy.engine.device
        )
        self._passes = node.create_publisher(String, f'~/{PASS_TOPIC}', qos.RECORD)
        self._pictures = {
            camera.name: node.create_publisher(
                CompressedImage, f'~/{PICTURE_TOPIC}/{camera.name}', qos.RECORD
            )
            for camera in manifest.cameras
        }
        self._seen: _Seen | None = None
        self._number = 0
        self.lost = 0
        self._queue: queue.Queue[_Entry | None] = queue.Queue(_WAITING)
        self._publish = Observer('the record of a pass', self._say)
        self._thread: threading.Thread | None = None

    def destroy(self) -> None:
        """End the thread, drop the publishers; what waits is not said any more."""
        if self._thread is not None:
            with contextlib.suppress(queue.Empty):  # the thread takes from it, too
                while True:
                    self._queue.get_nowait()
            self._queue.put_nowait(None)
            self._thread.join(_PATIENCE_S)
        for publisher in (self._passes, *self._pictures.values()):
            self._node.destroy_publisher(publisher)

    def watch(self, policy: Any) -> Any:
        """A policy whose passes are noted."""
        return WatchedPolicy(policy, self._note)

    @property
    def wanted(self) -> bool:
        """Whether somebody listens."""
        return bool(self._passes.get_subscription_count())

    def _note(self, observation: Observation, plan: SkipPlan, result: Pass) -> None:
        self._seen = _Seen(self._number, 0, observation, plan, result)

    def delivered(self, delivery: Delivery, result: Pass, now: float, mode: SkipMode) -> None:
        """What became of the pass that was noted, or of its re-run; never waits.

        Args:
            delivery: Of the loop.
            result: The pass.
            now: Current time on the loop's clock [s].
            mode: Skip mode of the loop.
        """
        seen, number = self._seen, self._number
        self._number += 1
        if seen is None or not self.wanted:
            return
        if result.mode != 'rerun':
            if seen.result is not result:
                return
            age_ns = int((now - result.stamp) * _NS)
            stamp_ns = self._node.get_clock().now().nanoseconds - age_ns
            self._seen = seen = _Seen(number, stamp_ns, seen.observation, seen.plan, result)
        elif not seen.stamp_ns:
            return  # the first pass was not recorded: nobody listened yet
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name='pass log', daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(_Entry(seen, number, result, delivery, mode))
        except queue.Full:
            self.lost += 1

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            self._publish(entry)

    def _exit_of(self, instruction: str) -> dict[str, int]:
        """What the exits by instruction say of this one; not the whole table each time."""
        words = plain_words(instruction)
        return {words: self._exits[words]} if words in self._exits else {}

    def _say(self, entry: _Entry) -> None:
        seen, manifest = entry.seen, self._policy.manifest
        again = entry.number != seen.number
        observation = seen.observation
        sensed: tuple[float, ...] = ()
        if manifest.proprioception.dim:
            sensed = tuple(proprioception_input(manifest, observation)[0].tolist())
        record = PassRecord(
            source=self._source,
            number=entry.number,
            first=seen.number if again else None,
            stamp_ns=seen.stamp_ns,
            observation=observation,
            cameras=tuple(self._pictures),
            tokens=tuple(self._policy.tokens(observation.instruction)[0].tolist()),
            proprioception=sensed,
            mode=entry.mode,
            settings=self._settings | {'exits': self._exit_of(observation.instruction)},
            plan=seen.plan,
            result=entry.result,
            judged=judged(entry.delivery),
        )
        stamp = Time(sec=seen.stamp_ns // _NS, nanosec=seen.stamp_ns % _NS)
        if not again:
            for camera in manifest.cameras:
                values = seen_values(observation.images[camera.name], camera)
                message = CompressedImage(format='png')
                message.header.stamp = stamp
                message.header.frame_id = camera.name
                message.data = array('B', encode(values))
                self._pictures[camera.name].publish(message)
        self._passes.publish(String(data=to_text(record)))
