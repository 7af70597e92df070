"""The gripper as an action server: the newest wish is repeated until a server has accepted it.

The command thread says what it wants; everything else happens in the executor's thread, at a
timer and when a wish is new, so that one thread alone uses the action's client. Servers are told
apart by the identity of their feedback topic: one that died and came back, or was deactivated and
activated again, knows nothing of what it was told before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from dysl_vla_ros.config import GripperConfig
from dysl_vla_ros.ros import gripper_goals as goals

PERIOD_S = 0.05
_LOOK_S = 0.5
"""How often the graph is asked who offers the action."""
_ANSWER_S = 1.0
"""A goal without an answer for so long is lost; one refused is sent again after so long."""
_CANCEL_S = 0.5
"""A cancellation without an answer for so long is not waited for."""
_RESULT_S = 10.0
"""No gripper takes longer: said, and waited for on."""
_SUCCEEDED, _CANCELED, _ABORTED = 4, 5, 6
"""Of ``action_msgs/GoalStatus``."""
_IN_FLIGHT = ('asked', 'accepted', 'cancelling')
_AGAIN = ('refused', 'lost')


@dataclass(frozen=True)
class _Wish:
    number: int
    opening: float
    position: float


@dataclass
class _Goal:
    """A wish as it was sent.

    Attributes:
        phase: What became of it.
        cancelled: Whether we ended it.
        disturbed: Whether an older goal was accepted after it: the server may have left it.
    """

    number: int
    wish: _Wish
    kind: str
    since: float
    phase: str = 'asked'
    cancelled: bool = False
    disturbed: bool = False
    handle: Any = None
    ended: str = ''
    problem: str = ''


class GripperAction:
    """One gripper's client; goals are never sent while the arm holds, nor after ``forget``."""

    def __init__(
        self, node: Node, config: GripperConfig, known: Mapping[str, Any] | None = None
    ) -> None:
        """Begin to look for a server.

        Args:
            node: The owner.
            config: Name, type and effort.
            known: Actions by the name of their type; None = those of control_msgs.

        Raises:
            ConfigError: control_msgs is not installed, or lacks the type that is asked for.
        """
        self._usable = goals.usable(config, goals.installed() if known is None else known)
        self._node = node
        self._config = config
        self._feedback = f'{config.action_name}/_action/feedback'
        self._client: Any = None
        self._kind = ''
        self._servers: frozenset[bytes] = frozenset()
        self._seen: frozenset[bytes] = frozenset()
        self._looked_at = float('-inf')
        self._unfit = ''
        self._wish: _Wish | None = None
        self._count = 0
        self._going = False
        self._destroyed = False
        self._goal: _Goal | None = None
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._guard = node.create_guard_condition(self.poll)
        self._timer = node.create_timer(PERIOD_S, self.poll, clock=clock)

    # ---- the command thread --------------------------------------------------------------------

    def send(self, opening: float, position: float) -> None:
        """Wish for an opening, now or as soon as there is a server.

        Args:
            opening: 0.0 closed .. 1.0 open, for what people read.
            position: Of the gripper's joint.
        """
        self._count += 1
        self._wish, self._going = _Wish(self._count, opening, position), True
        self._guard.trigger()

    def go(self, going: bool) -> None:
        """Whether the arm plays actions: otherwise nothing is sent, old wishes included."""
        self._going = going

    def forget(self) -> None:
        """Drop the wish: a gripper must not begin to move after the arm was disarmed."""
        self._wish, self._going = None, False

    # ---- any thread ----------------------------------------------------------------------------

    @property
    def report(self) -> str:
        """What the gripper does, for people."""
        wish, goal = self._wish, self._goal
        if goal is not None and (wish is None or wish.number == goal.number):
            if goal.phase in ('asked', 'accepted') and not goal.problem:
                return _doing(goal.wish)
            return goal.problem or goal.ended or goal.phase
        return 'idle' if wish is None else self._no_server() or _doing(wish)

    @property
    def problem(self) -> str:
        """Why what is wanted does not happen; '' while it does, or nothing is wanted."""
        wish, goal = self._wish, self._goal
        if wish is None:
            return ''
        return self._no_server() or ('' if goal is None else goal.problem)

    def _no_server(self) -> str:
        name = self._config.action_name
        if self._unfit:
            return self._unfit
        return '' if self._servers else f'no server offers {name} yet (gripper.action_name)'

    # ---- the executor's thread -----------------------------------------------------------------

    def poll(self) -> None:
        """One step: look who is there, send what is due."""
        if self._destroyed:
            return
        now = time.monotonic()
        if now - self._looked_at >= (_LOOK_S if self._client is not None else PERIOD_S):
            self._look(now)
        goal = self._goal
        if goal is not None:
            self._age(goal, now)
        wish = self._wish
        if wish is None or self._client is None:
            return
        if not self._going and not _grips_on(wish, goal, now):
            return
        if not self._servers or not self._client.server_is_ready():
            return
        if goal is None:
            self._send(wish, now)
        elif goal.number == wish.number:
            waited = goal.phase in _AGAIN and now - goal.since >= _ANSWER_S
            if waited or (goal.disturbed and goal.phase not in _IN_FLIGHT):
                self._send(wish, now)
        elif goal.phase not in _IN_FLIGHT:
            self._send(wish, now)
        elif goal.wish.position == wish.position and goal.phase != 'cancelling':
            goal.number = wish.number  # it is being done already
        elif goal.phase == 'accepted':
            self._cancel(goal, now)
        elif goal.phase == 'cancelling' and now - goal.since >= _CANCEL_S:
            self._send(wish, now)

    def destroy(self) -> None:
        """Drop the client; a goal in flight goes on to its end."""
        self.forget()
        self._destroyed = True
        self._node.destroy_timer(self._timer)
        self._node.destroy_guard_condition(self._guard)
        self._goal = None
        if self._client is not None:
            self._client.destroy()
            self._client = None

    def _look(self, now: float) -> None:
        """Who offers the action, as what; a server that was not there before is told anew."""
        self._looked_at = now
        endpoints = self._node.get_publishers_info_by_topic(self._feedback)
        kinds = {goals.offered(endpoint.topic_type) for endpoint in endpoints}
        fitting = [name for name in self._usable if name in kinds]
        self._unfit = ''
        if kinds and not fitting:
            self._unfit = (
                f'{self._config.action_name} offers {", ".join(sorted(kinds))}: expected '
                f'{" or ".join(self._usable)} (gripper.action_type = {self._config.action_type}, '
                'and what this control_msgs knows)'
            )
        servers = frozenset(
            bytes(endpoint.endpoint_gid)
            for endpoint in endpoints
            if goals.offered(endpoint.topic_type) in fitting[:1]
        )
        if fitting and (self._client is None or fitting[0] != self._kind):
            self._make_client(fitting[0])
        if servers - self._seen:
            self._goal = None
        # One that has left is remembered until another comes: it may be out of sight only.
        self._seen = servers or self._seen
        self._servers = servers

    def _make_client(self, kind: str) -> None:
        """A client of this type, in the place of one of another: now, or at a later look.

        The other's topics have the same names; the middleware lets go of them when nothing waits
        for it any more, and takes no second type for a name before.
        """
        if self._client is not None:
            self._client.destroy()
            self._client = None
        self._kind = kind
        try:
            self._client = ActionClient(self._node, self._usable[kind], self._config.action_name)
        except Exception as error:
            self._unfit = f'{self._config.action_name}: {error}'

    def _age(self, goal: _Goal, now: float) -> None:
        """What never comes is noticed."""
        name = self._config.action_name
        if goal.phase == 'asked' and now - goal.since >= _ANSWER_S:
            goal.phase, goal.problem = 'lost', f'{name} does not answer; asked again'
        elif goal.phase == 'accepted' and now - goal.since >= _RESULT_S:
            goal.problem = f'{_doing(goal.wish)} for {now - goal.since:.0f} s: {name} does not end'

    def _send(self, wish: _Wish, now: float) -> None:
        goal = _Goal(wish.number, wish, self._kind, now)
        if self._goal is not None and self._goal.number == wish.number:
            goal.problem = self._goal.problem  # still true until it is accepted
        self._goal = goal
        message = goals.goal_of(self._kind, self._usable[self._kind], wish.position, self._config)
        future = self._client.send_goal_async(message)
        future.add_done_callback(lambda done: self._on_answer(goal, done))

    def _on_answer(self, goal: _Goal, future: Any) -> None:
        try:
            handle = future.result()
        except Exception as error:  # the client was destroyed, or the answer is nonsense
            goal.phase, goal.problem = 'lost', f'no answer: {error}'
            return
        if handle is None:
            return
        if goal is not self._goal:  # too late: another was sent meanwhile
            current = self._goal
            if (
                handle.accepted
                and current is not None
                and (current.wish.position != goal.wish.position)
            ):
                handle.cancel_goal_async()
                current.disturbed = True
            return
        goal.since = time.monotonic()
        if not handle.accepted:
            goal.phase = 'refused'
            goal.problem = f'refused: {self._config.action_name} takes no goal; asked again'
            return
        goal.phase, goal.problem, goal.handle = 'accepted', '', handle
        handle.get_result_async().add_done_callback(lambda done: self._on_result(goal, done))
        self.poll()  # a newer wish may wait for this

    def _cancel(self, goal: _Goal, now: float) -> None:
        goal.phase, goal.since, goal.cancelled = 'cancelling', now, True
        handle = goal.handle
        handle.cancel_goal_async().add_done_callback(lambda done: self._on_cancelled(goal))

    def _on_cancelled(self, goal: _Goal) -> None:
        """Whether it obeyed or not: the newer wish follows."""
        if goal.phase == 'cancelling':
            goal.phase, goal.ended = 'done', 'cancelled for a newer wish'
        if goal is self._goal:
            self.poll()

    def _on_result(self, goal: _Goal, future: Any) -> None:
        try:
            answer = future.result()
            result = goals.result_of(goal.kind, answer.result)
        except Exception as error:  # as above
            goal.phase, goal.problem = 'done', f'no result: {error}'
            return
        if goal.phase == 'cancelling':
            return  # the answer to the cancellation says the rest
        goal.phase, goal.problem = 'done', ''
        place = '' if result.position is None else f' at {result.position:.2f}'
        if result.stalled and goal.wish.opening < 1.0:
            goal.ended = f'stalled{place} (held)'
        elif answer.status == _SUCCEEDED and result.reached:
            goal.ended = f'reached{place}'
        elif result.stalled:
            goal.ended = goal.problem = f'stalled{place} on its way to open'
        elif answer.status == _SUCCEEDED:
            goal.ended = f'done{place}'
        elif answer.status == _CANCELED:
            goal.ended = goal.problem = f'cancelled{place} by somebody else'
        elif answer.status == _ABORTED:
            goal.ended = goal.problem = f'aborted{place} by {self._config.action_name}'
        else:
            goal.ended = goal.problem = f'ended{place} with status {answer.status}'
        if goal is self._goal:
            self.poll()


def _grips_on(wish: _Wish, goal: _Goal | None, now: float) -> bool:
    """Whether a goal was cancelled for this wish, which opens no further: that must not be all.

    Who is cancelled holds the measured place, and lets go of what it pressed on; a stop in between
    would leave it at that. At once or not at all: later a hand may be there.
    """
    if goal is None or not goal.cancelled or goal.number == wish.number:
        return False
    if now - goal.since >= _ANSWER_S:
        return False
    return wish.opening <= goal.wish.opening


def _doing(wish: _Wish) -> str:
    if wish.opening in (0.0, 1.0):
        return 'opening' if wish.opening else 'closing'
    return f'moving to {100 * wish.opening:.0f} % open'
