"""What the page may ask of the graph: the node's own services and topics, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from dysl_vla_ros.core.run_state import ESTOP_RESET_S
from dysl_vla_ros.data_types import SKIP_MODES
from dysl_vla_ros.policy import MAX_INSTRUCTION_BYTES
from dysl_vla_ros.ros import qos
from dysl_vla_ros.view.feed import Answer

_INSIST_S = 0.2
"""A pressed e-stop is a level: it is said so often, also to a node that comes later [s]."""
_TRIGGERS = ('start', 'stop', 'home')
_SWITCHES = ('arm', 'pause')
_MAX_SEED = 2**31 - 1


class ViewRequests:
    """Publishers and clients; ``ask`` may be called by any thread and never waits."""

    def __init__(self, node: Node, target: str) -> None:
        """Make the clients.

        Args:
            node: Their owner, in the namespace of the target.
            target: Full name of the policy's node.
        """
        self._node = node
        self._target = target
        self._lock = threading.Lock()
        self._estop: tuple[str, Any] = ('', None)
        self._instruction: tuple[str, Any] = ('', None)
        self._pressed = False
        self._pressed_at = 0.0
        client = node.create_client
        self._clients = {
            **{name: client(Trigger, f'{target}/{name}') for name in (*_TRIGGERS, 'estop_reset')},
            **{name: client(SetBool, f'{target}/{name}') for name in _SWITCHES},
            'parameters': client(SetParameters, f'{target}/set_parameters'),
            'scene': client(Trigger, 'sim_arm/reset'),
            'scene parameters': client(SetParameters, 'sim_arm/set_parameters'),
        }
        node.create_timer(_INSIST_S, self._insist)

    @property
    def pressed(self) -> bool:
        """Whether the e-stop of the page is down."""
        return self._pressed

    @property
    def simulated(self) -> bool:
        """Whether a simulated arm is there, which can lay out a scene."""
        return bool(self._clients['scene'].service_is_ready())

    def follow(self, estop: str, instruction: str) -> None:
        """Publish on these topics; called by the executor's thread."""
        with self._lock:
            self._estop = self._followed(self._estop, estop, Bool, qos.STOP)
        self._instruction = self._followed(self._instruction, instruction, String, qos.REQUEST)

    def ask(self, what: str, value: Any) -> Future[Answer]:
        """Pass one request on.

        Args:
            what: ``estop``, ``release``, ``start``, ``stop``, ``home``, ``arm``, ``pause``,
                ``mode``, ``instruct``, or, of a simulated arm, ``scene``.
            value: True or false for ``arm`` and ``pause``; the mode; the instruction; the seed.
        """
        reply: Future[Answer] = Future()
        try:
            self._pass_on(what, value, reply)
        except Exception as error:  # a page must not end its server
            _give(reply, False, f'{type(error).__name__}: {error}')
        return reply

    # ---- each kind of request ------------------------------------------------------------------

    def _pass_on(self, what: str, value: Any, reply: Future[Answer]) -> None:
        if what == 'estop':
            self._press(reply)
        elif what == 'release':
            self._release(reply)
        elif what in _TRIGGERS:
            self._call(what, Trigger.Request(), reply)
        elif what in _SWITCHES and isinstance(value, bool):
            self._call(what, SetBool.Request(data=value), reply)
        elif what == 'mode' and value in SKIP_MODES:
            self._set('parameters', {'skip.mode': value}, reply)
        elif what == 'instruct' and isinstance(value, str):
            self._instruct(value, reply)
        elif what == 'scene' and type(value) is int and 0 <= value <= _MAX_SEED:
            self._lay_out({'seed': value, 'episodes.instruction': ''}, reply)
        else:
            _give(reply, False, f'{what[:40]!r} with {str(value)[:40]!r} is no request')

    def _press(self, reply: Future[Answer]) -> None:
        with self._lock:
            topic, publisher = self._estop
            self._pressed, self._pressed_at = True, time.monotonic()
            if publisher is not None:
                publisher.publish(Bool(data=True))
        if publisher is None:
            _give(reply, False, "nobody listens to the e-stop: use the arm's own")
        else:
            _give(reply, True, f'e-stop pressed: true on {topic}, until it is released')

    def _release(self, reply: Future[Answer]) -> None:
        with self._lock:
            _, publisher = self._estop
            was, self._pressed = self._pressed, False
            if was and publisher is not None:
                publisher.publish(Bool(data=False))
            wait = self._pressed_at + ESTOP_RESET_S + _INSIST_S - time.monotonic() if was else 0.0
        self._later(max(wait, _INSIST_S if was else 0.0),
                    lambda: self._call('estop_reset', Trigger.Request(), reply))  # fmt: skip

    def _insist(self) -> None:
        with self._lock:
            _, publisher = self._estop
            if self._pressed and publisher is not None:
                publisher.publish(Bool(data=True))
                self._pressed_at = time.monotonic()

    def _instruct(self, text: str, reply: Future[Answer]) -> None:
        text = text.strip()
        if len(text.encode()) > MAX_INSTRUCTION_BYTES:
            _give(reply, False, f'longer than {MAX_INSTRUCTION_BYTES} bytes')
        elif text and self.simulated:
            self._lay_out({'episodes.instruction': text}, reply)
        else:
            self._say(text, reply)

    def _say(self, text: str, reply: Future[Answer]) -> None:
        topic, publisher = self._instruction
        if publisher is None:
            _give(reply, False, f'{self._target} does not listen to an instruction yet')
            return
        publisher.publish(String(data=text))
        _give(reply, True, f'{text!r} on {topic}: the state and the events say what comes of it')

    def _lay_out(self, parameters: dict[str, Any], reply: Future[Answer]) -> None:
        """Of the simulated arm: a scene that holds the request, which it then gives."""
        if not self.simulated:
            _give(reply, False, 'no simulated arm is in this namespace')
            return
        first: Future[Answer] = Future()

        def then(done: Future[Answer]) -> None:
            if done.result().success:
                self._call('scene', Trigger.Request(), reply)
            else:
                reply.set_result(done.result())

        first.add_done_callback(then)
        self._set('scene parameters', parameters, first)

    # ---- services ------------------------------------------------------------------------------

    def _set(self, client: str, values: dict[str, Any], reply: Future[Answer]) -> None:
        changes = [Parameter(name=name, value=_value(value)) for name, value in values.items()]
        request = SetParameters.Request(parameters=changes)
        names = ', '.join(f'{name} = {value!r}' for name, value in values.items())

        def read(response: Any) -> Answer:
            refused = [item.reason for item in response.results if not item.successful]
            return Answer(not refused, '; '.join(refused) or names)

        self._call(client, request, reply, read)

    def _call(
        self,
        name: str,
        request: Any,
        reply: Future[Answer],
        read: Callable[[Any], Answer] | None = None,
    ) -> None:
        client = self._clients[name]
        if not client.service_is_ready():
            _give(reply, False, f'nobody answers {client.srv_name}: is the node configured?')
            return

        def done(future: Any) -> None:
            try:
                response = future.result()
                said = (
                    Answer(response.success, response.message) if read is None else read(response)
                )
            except Exception as error:
                said = Answer(False, f'{client.srv_name}: {error}')
            _give(reply, said.success, said.message)

        client.call_async(request).add_done_callback(done)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        """In the executor's thread, once."""
        if seconds <= 0.0:
            call()
            return
        timer = threading.Timer(seconds, call)
        timer.daemon = True
        timer.start()

    def _followed(self, kept: tuple[str, Any], topic: str, kind: Any, profile: Any) -> Any:
        before, publisher = kept
        if topic == before:
            return kept
        made = (topic, self._node.create_publisher(kind, topic, profile)) if topic else ('', None)
        if publisher is not None:
            self._node.destroy_publisher(publisher)
        return made


def _value(value: Any) -> Any:
    if isinstance(value, int):
        return ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value)
    return ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)


def _give(reply: Future[Answer], success: bool, message: str) -> None:
    if not reply.done():  # the page may have given up
        try:
            reply.set_result(Answer(success, message))
        except Exception:  # given up between the two
            return
