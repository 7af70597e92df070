"""Goals for the gripper's action server: until accepted, newest first, and what became of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dysl_vla_ros.config import GripperConfig
from dysl_vla_ros.errors import ConfigError

pytestmark = pytest.mark.ros

GRIPPER = 'control_msgs/action/GripperCommand'
PARALLEL = 'control_msgs/action/ParallelGripperCommand'
SUCCEEDED, CANCELED, ABORTED = 4, 5, 6


class Old:
    """The fields of GripperCommand, whose type no wheel has."""

    class Goal:
        def __init__(self):
            self.command = SimpleNamespace(position=0.0, max_effort=0.0)

    @staticmethod
    def result(position, stalled, reached):
        return SimpleNamespace(
            position=position, effort=0.0, stalled=stalled, reached_goal=reached
        )

    @staticmethod
    def said(goal):
        return goal.command.position, goal.command.max_effort


class New:
    """The fields of ParallelGripperCommand."""

    class Goal:
        def __init__(self):
            self.command = None

    @staticmethod
    def result(position, stalled, reached):
        state = SimpleNamespace(position=[] if position is None else [position])
        return SimpleNamespace(state=state, stalled=stalled, reached_goal=reached)

    @staticmethod
    def said(goal):
        command = goal.command
        return list(command.name), list(command.position), list(command.effort)


KNOWN = {GRIPPER: Old, PARALLEL: New}


class Future:
    def __init__(self):
        self._value, self._callbacks = None, []

    def add_done_callback(self, callback):
        self._callbacks.append(callback)

    def set(self, value):
        self._value = value
        for callback in self._callbacks:
            callback(self)

    def result(self):
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


class Handle:
    def __init__(self, sent):
        self.sent, self.accepted = sent, False

    def get_result_async(self):
        return self.sent.result

    def cancel_goal_async(self):
        self.sent.cancelled = Future()
        return self.sent.cancelled


class Sent:
    """A goal as the server has it; the test answers for the server."""

    def __init__(self, kind, goal):
        self.kind, self.said = kind, kind.said(goal)
        self.answer, self.result, self.cancelled = Future(), Future(), None

    def take(self, accepted=True):
        handle = Handle(self)
        handle.accepted = accepted
        self.answer.set(handle)
        return self

    def end(self, status=SUCCEEDED, position=0.0, stalled=False, reached=True):
        result = self.kind.result(position, stalled, reached)
        self.result.set(SimpleNamespace(status=status, result=result))


class World:
    """A node whose graph and clock the test makes; the client's goals end up in ``sent``."""

    def __init__(self, monkeypatch, known=KNOWN, **config):
        from dysl_vla_ros.ros import gripper_action

        self.now, self.servers, self.sent, self.clients = 100.0, {}, [], []
        self.timers, self.breaks = [], False
        monkeypatch.setattr(gripper_action, 'ActionClient', self.client)
        monkeypatch.setattr(gripper_action.time, 'monotonic', lambda: self.now)
        settings = {'interface': 'action', 'joint': 'finger', 'action_name': 'hand', **config}
        self.action = gripper_action.GripperAction(self, GripperConfig(**settings), known)

    # What a node has.

    def create_guard_condition(self, callback):
        return SimpleNamespace(trigger=callback)

    def create_timer(self, period, callback, clock):
        self.timers.append(callback)

    def destroy_timer(self, timer):
        self.timers.clear()

    def destroy_guard_condition(self, guard):
        pass

    def get_publishers_info_by_topic(self, topic):
        assert topic == f'{self.action._config.action_name}/_action/feedback'
        return [
            SimpleNamespace(topic_type=f'{kind}_FeedbackMessage', endpoint_gid=[number] * 24)
            for number, kind in self.servers.items()
        ]

    # What a client has.

    def client(self, node, kind, name):
        if self.breaks:
            raise ValueError('existing request topic name with incompatible type')

        def send(goal):
            assert self.servers, 'a goal without a server is lost'
            self.sent.append(Sent(kind, goal))
            return self.sent[-1].answer

        self.clients.append((kind, name))
        return SimpleNamespace(
            server_is_ready=lambda: bool(self.servers),
            send_goal_async=send,
            destroy=lambda: self.clients.remove((kind, name)),
        )

    # What happens.

    def appears(self, number=1, kind=GRIPPER):
        self.servers[number] = kind
        return self.wait(0.6)

    def wait(self, seconds):
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            self.action.poll()
        return self

    @property
    def said(self):
        return [sent.said for sent in self.sent]


@pytest.fixture
def world(monkeypatch):
    return lambda **options: World(monkeypatch, **options)


def test_a_wish_without_a_server_is_sent_once_as_soon_as_there_is_one(world):
    world = world(max_effort=30.0)
    world.action.send(1.0, 0.8)
    world.wait(3.0)
    assert world.sent == [] and 'no server offers hand' in world.action.problem
    world.appears()
    assert world.said == [(0.8, 30.0)] and world.action.report == 'opening'
    world.sent[0].take()
    world.wait(5.0)
    assert len(world.sent) == 1 and world.action.problem == ''
    world.sent[0].end(position=0.8)
    world.wait(5.0)
    assert len(world.sent) == 1 and world.action.report == 'reached at 0.80'


def test_the_newest_of_the_wishes_that_wait_is_sent(world):
    world = world()
    world.action.send(1.0, 0.8)
    world.action.send(0.0, 0.0)
    assert world.appears().said == [(0.0, 0.0)]


def test_a_refusal_is_said_and_the_goal_sent_again_until_it_is_accepted(world):
    world = world()
    world.appears()
    world.action.send(0.0, 0.0)
    world.sent[0].take(accepted=False)
    assert world.action.problem.startswith('refused: hand takes no goal')
    assert world.wait(0.9).said == [(0.0, 0.0)]
    world.wait(0.2)
    assert len(world.sent) == 2 and world.action.problem.startswith('refused')
    world.sent[1].take()
    assert world.action.problem == '' and world.action.report == 'closing'
    world.wait(5.0)
    assert len(world.sent) == 2


def test_a_goal_without_an_answer_is_sent_again_and_its_late_acceptance_harms_nothing(world):
    world = world()
    world.appears()
    world.action.send(1.0, 0.8)
    world.wait(0.9)
    assert len(world.sent) == 1
    world.wait(0.2)
    assert 'does not answer' in world.action.problem and len(world.sent) == 2
    world.sent[1].take()
    world.sent[0].take()  # the same wish: it may run
    assert world.sent[0].cancelled is None
    world.action.send(0.0, 0.0)
    world.sent[1].cancelled.set(None)
    world.sent[2].take()
    assert world.action.report == 'closing'


def test_a_lost_goal_that_is_accepted_after_a_newer_one_is_cancelled(world):
    world = world()
    world.appears()
    world.action.send(1.0, 0.8)
    world.wait(0.9)
    world.action.send(0.0, 0.0)
    world.wait(0.2)
    world.sent[1].take()
    world.sent[0].take()
    assert world.sent[0].cancelled is not None and world.action.report == 'closing'


@pytest.mark.parametrize('ended', [True, False])
def test_after_a_lost_goal_that_was_accepted_late_the_newer_one_is_sent_again(world, ended):
    """The server ended the newer one for it, and was on its way to what nobody wants any more."""
    world = world()
    world.appears()
    world.action.send(1.0, 0.8)
    world.wait(0.9)
    world.action.send(0.0, 0.0)
    world.wait(0.2)
    world.sent[1].take()
    if ended:
        world.sent[1].end()
    world.sent[0].take()
    assert world.sent[0].cancelled is not None
    world.action.go(False)
    if not ended:
        world.sent[1].end(ABORTED, position=0.2, reached=False)
    assert len(world.wait(1.0).sent) == 2  # not while the arm holds
    world.action.go(True)
    assert world.wait(0.1).said == [(0.8, 0.0), (0.0, 0.0), (0.0, 0.0)]
    world.sent[2].take().end()
    assert len(world.wait(3.0).sent) == 3


def test_a_close_after_an_open_cancels_it_first(world):
    world = world()
    world.appears()
    world.action.send(1.0, 0.8)
    world.action.send(0.0, 0.0)  # before the answer: it waits
    assert world.said == [(0.8, 0.0)]
    world.sent[0].take()
    assert world.sent[0].cancelled is not None and len(world.sent) == 1
    world.sent[0].cancelled.set(None)
    assert world.said == [(0.8, 0.0), (0.0, 0.0)]
    world.sent[0].end(CANCELED, position=0.4, reached=False)
    world.sent[1].take()
    assert world.action.report == 'closing' and world.action.problem == ''


def test_a_server_that_answers_no_cancellation_is_told_the_newer_wish_all_the_same(world):
    world = world()
    world.appears()
    world.action.send(1.0, 0.8)
    world.sent[0].take()
    world.action.send(0.0, 0.0)
    assert world.wait(0.4).said == [(0.8, 0.0)]
    assert world.wait(0.2).said == [(0.8, 0.0), (0.0, 0.0)]


def test_a_goal_in_flight_is_not_sent_again_for_the_same_wish(world):
    world = world()
    world.appears()
    world.action.send(0.0, 0.0)
    world.action.send(0.0, 0.0)
    world.sent[0].take()
    world.action.send(0.0, 0.0)
    world.wait(2.0)
    assert len(world.sent) == 1 and world.sent[0].cancelled is None
    world.sent[0].end()
    world.action.send(0.0, 0.0)  # somebody may have moved it: a new wish is a new goal
    assert len(world.sent) == 2


def test_a_server_that_died_and_came_back_gets_the_standing_wish_again(world):
    world = world()
    world.appears(1)
    world.action.send(0.0, 0.0)
    world.sent[0].take().end()
    world.servers.clear()
    world.wait(1.0)
    assert 'no server' in world.action.problem
    world.appears(1)  # the same one: it was out of sight only
    assert len(world.sent) == 1
    world.servers.clear()
    world.appears(2)
    assert world.said == [(0.0, 0.0)] * 2
    world.sent[1].take()
    world.appears(3)  # killed: the dead one is seen for a while yet
    assert len(world.sent) == 3


def test_while_the_arm_holds_nothing_is_sent_to_a_server_that_appears(world):
    world = world()
    world.action.send(1.0, 0.8)
    world.action.go(False)
    world.appears()
    world.wait(3.0)
    assert world.sent == []
    world.action.go(True)
    assert world.wait(0.05).said == [(0.8, 0.0)]


def test_a_refused_opening_is_not_tried_again_while_the_arm_holds(world):
    world = world()
    world.appears()
    world.action.send(1.0, 0.8)
    world.sent[0].take(accepted=False)
    world.action.go(False)
    world.wait(5.0)
    assert len(world.sent) == 1


@pytest.mark.parametrize('answers', [True, False])
def test_a_grip_that_was_cancelled_for_a_firmer_one_is_not_lost_to_a_stop(world, answers):
    """A controller that is cancelled holds the measured place: what it held has no grip."""
    world = world()
    world.appears()
    world.action.send(0.3, 0.3)
    world.sent[0].take()
    world.action.send(0.1, 0.1)
    world.action.go(False)
    if answers:
        world.sent[0].cancelled.set(None)
    assert world.wait(1.0).said == [(0.3, 0.0), (0.1, 0.0)]
    world.sent[1].take(accepted=False)
    assert len(world.wait(3.0).sent) == 2


def test_a_firmer_grip_whose_server_is_out_of_sight_is_not_sent_long_after_a_stop(world):
    """Whoever stopped or disarmed it may have a hand there by then."""
    world = world()
    world.appears()
    world.action.send(0.3, 0.3)
    world.sent[0].take()
    world.action.send(0.1, 0.1)
    world.action.go(False)
    world.servers.clear()
    world.wait(10.0)
    assert world.appears().wait(3.0).said == [(0.3, 0.0)]
    world.action.go(True)
    assert world.wait(1.0).said == [(0.3, 0.0), (0.1, 0.0)]


def test_a_close_that_was_cancelled_for_an_opening_is_not_followed_by_it_after_a_stop(world):
    world = world()
    world.appears()
    world.action.send(0.0, 0.0)
    world.sent[0].take()
    world.action.send(1.0, 0.8)
    world.action.go(False)
    world.sent[0].cancelled.set(None)
    assert world.wait(3.0).said == [(0.0, 0.0)]


def test_a_wish_that_is_forgotten_is_never_sent(world):
    world = world()
    world.action.send(1.0, 0.8)
    world.action.forget()
    world.action.go(True)
    world.appears()
    assert world.sent == [] and world.action.problem == '' and world.action.report == 'idle'


@pytest.mark.parametrize(
    ('opening', 'end', 'report', 'problem'),
    [
        (0.0, dict(status=ABORTED, position=0.31, stalled=True, reached=False),
         'stalled at 0.31 (held)', False),
        (0.0, dict(position=0.31, stalled=True, reached=False), 'stalled at 0.31 (held)', False),
        (1.0, dict(status=ABORTED, position=0.31, stalled=True, reached=False),
         'stalled at 0.31 on its way to open', True),
        (0.0, dict(status=ABORTED, position=0.31, reached=False), 'aborted at 0.31 by hand', True),
        (0.0, dict(status=CANCELED, position=0.31, reached=False),
         'cancelled at 0.31 by somebody else', True),
        (1.0, dict(position=0.8), 'reached at 0.80', False),
        (1.0, dict(position=0.7, reached=False), 'done at 0.70', False),
    ],
)  # fmt: skip
@pytest.mark.parametrize('kind', [GRIPPER, PARALLEL])
def test_how_a_goal_ended_is_said_and_holding_an_object_is_no_problem(
    world, kind, opening, end, report, problem
):
    world = world()
    world.appears(kind=kind)
    world.action.send(opening, 0.8 * opening)
    world.sent[0].take().end(**end)
    world.wait(3.0)
    assert world.action.report == report
    assert world.action.problem == (report if problem else '')
    assert len(world.sent) == 1  # it was accepted, and is not forced


def test_a_goal_that_does_not_end_is_said(world):
    world = world()
    world.appears()
    world.action.send(0.0, 0.0)
    world.sent[0].take()
    world.wait(11.0)
    assert 'closing for 11 s: hand does not end' in world.action.problem
    world.sent[0].end()
    assert world.action.problem == ''


def test_a_client_that_fails_is_said_and_tried_again(world):
    world = world()
    world.appears()
    world.action.send(0.0, 0.0)
    world.sent[0].answer.set(RuntimeError('nonsense'))
    assert world.action.problem == 'no answer: nonsense'
    world.wait(1.1)
    world.sent[1].take().result.set(RuntimeError('nonsense'))
    assert world.action.problem == 'no result: nonsense'


# ---- which action -------------------------------------------------------------------------------


def test_the_type_is_the_one_that_the_server_offers(world):
    world = world(max_effort=5.0)
    assert world.clients == []
    world.appears(kind=PARALLEL)
    world.action.send(0.25, 0.2)
    assert world.said == [(['finger'], [0.2], [5.0])]
    assert world.action.report == 'moving to 25 % open'
    world.servers.clear()
    world.appears(2, GRIPPER)  # another driver
    assert world.clients == [(Old, 'hand')]
    assert world.said[-1] == (0.2, 5.0)


def test_a_client_that_cannot_be_made_yet_is_said_and_made_later(world):
    world = world()
    world.breaks = True
    world.appears()
    world.action.send(0.0, 0.0)
    assert 'hand: existing request topic name' in world.action.problem
    world.breaks = False
    assert world.wait(0.1).said == [(0.0, 0.0)] and world.action.problem == ''


def test_without_an_effort_a_parallel_gripper_is_told_none(world):
    world = world(action_type='parallel_gripper_command')
    world.appears(kind=PARALLEL)
    world.action.send(0.0, 0.0)
    assert world.said == [(['finger'], [0.0], [])]


def test_another_type_than_the_one_asked_for_is_said_with_both(world):
    world = world(action_type='gripper_command')
    world.appears(kind=PARALLEL)
    world.action.send(0.0, 0.0)
    world.wait(1.0)
    assert world.sent == [] and world.clients == []
    assert f'hand offers {PARALLEL}: expected {GRIPPER}' in world.action.problem
    assert world.action.report == world.action.problem
    world.appears(2, GRIPPER)
    assert len(world.sent) == 1 and world.action.problem == ''


def test_a_type_that_this_control_msgs_lacks_is_said_or_refused(world):
    old = {GRIPPER: Old}
    made = world(known=old)
    made.appears(kind=PARALLEL)
    made.action.send(0.0, 0.0)
    assert f'offers {PARALLEL}: expected {GRIPPER}' in made.action.problem
    with pytest.raises(ConfigError, match='gripper.action_type.*newer ros-<distro>-control-msgs'):
        world(known=old, action_type='parallel_gripper_command')


def test_a_destroyed_client_is_silent(world):
    world = world()
    world.appears()
    world.action.send(0.0, 0.0)
    world.action.destroy()
    assert world.timers == [] and world.clients == []
    world.sent[0].take()
    world.wait(3.0)  # a guard condition that was triggered before may still call
    assert len(world.sent) == 1 and world.clients == []


@pytest.mark.parametrize(
    'whose', ['gripper_action.GripperAction', 'gripper_channel.GripperChannel']
)
def test_without_control_msgs_the_parameter_is_refused_with_what_to_install(whose):
    import importlib.util

    if importlib.util.find_spec('control_msgs') is not None:
        pytest.skip('control_msgs is installed')
    module, name = whose.split('.')
    make = getattr(importlib.import_module(f'dysl_vla_ros.ros.{module}'), name)
    with pytest.raises(ConfigError, match='gripper.interface.*ros-<distro>-control-msgs'):
        make(None, GripperConfig(interface='action'))
