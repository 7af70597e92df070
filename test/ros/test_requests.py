"""What an operator may ask for, on a real control loop with a clock of its own; no graph."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from test_control_loop import READY, TICK, Bench, PerfectPolicy

from dysl_vla_ros.core.run_state import InputStatus
from dysl_vla_ros.errors import InputError

pytestmark = pytest.mark.ros

DEADMAN = 'dead-man switch: enable is not true, or too old'
PRESSED = 'the e-stop is pressed (estop is true): release it first'


class Desk:
    """Requests over the bench: ``before_tick`` runs before every tick, as in the node."""

    def __init__(self, monkeypatch, armed=True, loop=True, active=True, **flat):
        from dysl_vla_ros.ros import requests as module

        self.bench = Bench(PerfectPolicy(goal=5.0), latency=0.05, armed=armed, **flat)
        monkeypatch.setattr(module, 'time', SimpleNamespace(monotonic=lambda: self.bench.now))
        self.inputs = READY
        self.problem = self.stranger = ''
        self.unseen = ''
        self.clocks = ('', False)
        self.estops = []
        seen = SimpleNamespace(
            controller_problem='', restarted_at=None, restarts=(), misfit='', unheard=()
        )
        self.session = SimpleNamespace(
            config=self.bench.loop.config,
            policy=SimpleNamespace(tokens=self.check),
            inputs=SimpleNamespace(instruction='', joints=SimpleNamespace(newest=None)),
            loop=self.bench.loop if loop else None,
            unseen=lambda: self.unseen,
            redescribed='',
            reason='robot_description: not received yet',
            last_command=None,
            around=SimpleNamespace(
                newest=seen, not_simulated=lambda: self.stranger,
                arming_problem=lambda: (
                    self.problem if self.session.publishers.listeners else 'nobody listens')),
            publishers=SimpleNamespace(listeners=1, command_topic='/arm',
                                       restarted=lambda restarts: None),
            speed=SimpleNamespace(problem=''),
            clock_problem=lambda now: self.clocks,
            estop=lambda now, reason: self.latch(now, reason),
            stop=lambda now, reason: self.stop(now, reason),
            input_status=lambda now: self.inputs,
        )  # fmt: skip
        self.requests = module.Requests(self.session, active)
        self.held = False

    def check(self, text):
        if len(text) > 20:
            raise InputError('instruction: too long')

    def latch(self, now, reason):
        self.estops.append(reason)
        if self.session.loop is not None:
            self.session.loop.estop(now, reason)

    def stop(self, now, reason):
        if self.session.loop is not None:
            self.session.loop.stop(now, reason)

    def run(self, seconds):
        for _ in range(round(seconds / TICK)):
            if self.held:
                self.requests.enable(True)
            self.session.before_tick(self.bench.loop, self.bench.now)
            sent = len(self.bench.commands)
            self.bench.tick(self.inputs)
            commands = self.bench.commands
            self.session.last_command = commands[-1] if len(commands) > sent else None
        return self

    def running(self, seconds=1.0, instruction='go'):
        self.requests.instruct(instruction)
        self.run(0.3)
        answer = self.requests.start()
        assert answer.success, answer.message
        self.run(seconds)
        assert self.state == 'running'
        return self

    @property
    def state(self):
        return self.bench.loop.state

    @property
    def rests(self):
        before = float(self.bench.arm[0])
        self.run(0.5)
        at = float(self.bench.arm[0])
        self.run(0.5)
        return abs(float(self.bench.arm[0]) - at) < 1e-3 and abs(at - before) < 0.1


@pytest.fixture
def desk(monkeypatch):
    return lambda **given: Desk(monkeypatch, **given)


def refused(answer, message):
    assert (answer.success, answer.message) == (False, message)


def test_a_start_outside_what_training_saw_says_so(desk, caplog):
    desk = desk()
    desk.unseen = 'the arm stands outside what training saw: lift = 0.30'
    desk.requests.instruct('go')
    desk.run(0.2)
    answer = desk.requests.start()
    assert answer.success and answer.message == f'started; {desk.unseen}'
    assert desk.unseen in caplog.text


# ---- the way home ------------------------------------------------------------------------------

HOME = {'home.positions': [0.5]}


def test_home_needs_no_instruction_and_says_whether_the_arm_moves(desk):
    armed, shadow = desk(**HOME).run(0.2), desk(armed=False, **HOME).run(0.2)
    assert armed.requests.home().message == 'moving home; ~/stop ends it'
    assert shadow.requests.home().message == 'moving home in shadow: not armed; ~/stop ends it'
    armed.run(1.0)
    assert armed.state == 'homing' and armed.requests.stop().success
    armed.run(0.5)
    assert armed.state == 'ready' and armed.rests


def test_home_is_refused_as_a_start_is(desk):
    refused(desk(active=False).requests.home(), 'the node is not active; activate it first')
    refused(desk(loop=False, **HOME).requests.home(),
            'waiting: robot_description: not received yet')  # fmt: skip
    unsaid = desk().run(0.2)
    assert unsaid.requests.home().message.startswith('home.positions = (): expected')
    running = desk(**HOME).running()
    refused(running.requests.home(), 'state is running: ~/stop comes first')
    other = desk(**HOME).run(0.2)
    other.problem = 'somebody else commands'
    refused(other.requests.home(), 'somebody else commands')
    other.latch(other.bench.now, 'estop topic')
    other.run(0.2)
    refused(other.requests.home(), 'e-stop: estop topic; reset it first')
    held = desk(**HOME, deadman_timeout_s=0.3).run(0.2)
    refused(held.requests.home(), DEADMAN)


def test_a_controller_that_stops_ends_the_way_home(desk):
    desk = desk(**HOME).run(0.2)
    desk.requests.home()
    desk.run(1.0)
    desk.session.around.newest.controller_problem = 'the controller is inactive'
    desk.run(1.0)
    assert desk.state == 'ready' and desk.rests and desk.bench.arm[0] < 0.5


# ---- before anything can be asked for ----------------------------------------------------------


def test_an_inactive_node_and_one_without_an_arm_refuse_with_the_reason(desk):
    asleep, blind = desk(active=False), desk(loop=False)
    for ask in ('start', 'reset_estop'):
        refused(getattr(asleep.requests, ask)(), 'the node is not active; activate it first')
        refused(getattr(blind.requests, ask)(), 'waiting: robot_description: not received yet')
    refused(asleep.requests.arm(True), 'the node is not active; activate it first')
    assert asleep.requests.arm(False).success and not asleep.bench.loop.armed
    assert blind.requests.pause(False).message == (
        'not paused; waiting: robot_description: not received yet'
    )


def test_a_start_needs_an_instruction(desk):
    desk = desk().run(0.2)
    refused(desk.requests.start(), "instruction = '': expected one; publish it on the topic first")


def test_a_start_says_whether_the_arm_moves_and_needs_a_fit_arm_only_then(desk):
    shadow = desk(armed=False)
    shadow.problem = 'somebody else commands'
    shadow.requests.instruct('go')
    shadow.run(0.2)
    assert shadow.requests.start().message == 'started in shadow: not armed'
    live = desk()
    live.requests.instruct('go')
    live.run(0.2)
    live.problem = 'somebody else commands'
    refused(live.requests.start(), 'somebody else commands')
    live.problem = ''
    assert live.requests.start().message == 'started'


# ---- instructions -------------------------------------------------------------------------------


def test_the_same_instruction_again_undoes_no_stop_and_a_new_one_does_where_it_may(desk):
    desk = desk(start_on_instruction=True)
    assert desk.requests.instruct(' pick it ').message == "instruction 'pick it'"
    assert desk.run(1.0).state == 'running'
    assert desk.requests.stop().message == 'stopped'
    assert desk.run(0.5).state == 'ready' and desk.bench.loop.reason == 'stopped by ~/stop'
    for text in ('pick it', '', 'pick it'):
        desk.requests.instruct(text)
        assert desk.run(0.5).state == 'ready'
    assert desk.requests.instruct('pick it').message == (
        "the same instruction 'pick it': ~/start begins it again"
    )
    desk.requests.instruct('put it down')
    assert desk.run(0.5).state in ('running', 'holding')


def test_an_empty_instruction_and_one_that_does_not_fit_stop(desk):
    for text, success, message in (
        ('  ', True, 'stopped: the instruction is empty'),
        ('a' * 21, False, 'instruction: too long; stopped'),
    ):
        at_work = desk().running()
        answer = at_work.requests.instruct(text)
        assert (answer.success, answer.message) == (success, message)
        assert at_work.session.inputs.instruction == ''
        assert at_work.run(0.3).state == 'ready' and at_work.rests
        assert not at_work.requests.start().success


def test_a_new_instruction_drops_what_was_predicted_for_the_old_one(desk):
    desk = desk().running()
    epoch = desk.bench.loop.status().epoch
    desk.requests.instruct('something else')
    assert desk.bench.loop.status().epoch == epoch + 1
    assert desk.session.inputs.instruction == 'something else'
    assert desk.run(1.0).state == 'running'  # and goes on with the new one


def test_without_start_on_instruction_nothing_starts_by_itself(desk):
    desk = desk()
    desk.requests.instruct('go')
    assert desk.run(1.0).state == 'ready' and desk.bench.commands == []


def test_a_new_instruction_takes_the_reason_of_an_old_stop_away(desk):
    desk = desk()
    desk.run(0.2).requests.instruct('a' * 21)
    assert desk.run(0.2).bench.loop.status().reason == 'instruction: too long'
    desk.requests.instruct('go')
    assert desk.run(0.2).bench.loop.status().reason == 'not started'


@pytest.mark.parametrize('between', ['stop', 'empty', 'estop'])
def test_a_start_that_waits_for_inputs_is_dropped_by_a_stop_or_a_latch(desk, between):
    desk = desk(start_on_instruction=True)
    desk.inputs = InputStatus(False, 'image: nothing received yet')
    desk.run(0.1)
    desk.requests.instruct('go')
    desk.run(0.2)
    if between == 'stop':
        desk.requests.stop()
    elif between == 'empty':
        desk.requests.instruct('')
    else:
        desk.requests.estop(True)
        desk.requests.estop(False)
        desk.run(0.6)
    desk.inputs = READY
    desk.run(0.6)
    if between == 'estop':
        assert desk.requests.reset_estop().message == 'released; ~/start begins again'
    assert desk.run(1.0).state == 'ready' and desk.bench.commands == []


@pytest.mark.parametrize('by', ['time', 'pause', 'a resume', 'deactivation', 'disarm'])
def test_a_start_by_instruction_waits_six_seconds_and_outlives_nothing(desk, by):
    desk = desk(start_on_instruction=True)
    desk.inputs = READY if by == 'a resume' else InputStatus(False, 'image: nothing received yet')
    desk.run(0.2)
    if by == 'a resume':
        desk.requests.pause(True)
        desk.run(0.2)
    desk.requests.instruct('go')
    desk.run(6.5 if by == 'time' else 0.2)
    if by == 'pause':
        desk.requests.pause(True)
        desk.run(0.1)
    if by in ('pause', 'a resume'):
        desk.requests.pause(False)
    elif by == 'deactivation':
        desk.requests.active = False
        desk.requests.active = True
    elif by == 'disarm':
        desk.requests.arm(False)
        desk.bench.loop.armed = False
        desk.bench.loop.armed = True
    desk.inputs = READY
    assert desk.run(2.0).state == 'ready' and desk.bench.commands == []
    assert desk.requests.start().success, 'one that is asked for now begins'


def test_a_start_by_instruction_does_not_begin_where_the_arm_was_moved_meanwhile(desk, caplog):
    desk = desk(start_on_instruction=True)
    desk.run(0.5)
    desk.inputs = InputStatus(False, 'image: nothing received yet')
    desk.run(0.2)
    desk.requests.instruct('go')
    desk.run(1.0)
    desk.bench.robot.push(np.array([0.5]))
    desk.run(1.0)
    desk.inputs = READY
    assert desk.run(6.0).state == 'ready' and desk.bench.commands == []
    assert 'from where it was when it was asked for' in caplog.text
    assert desk.requests.start().success and desk.run(1.0).state == 'running'


def test_a_simulated_arm_is_waited_for_however_late_it_comes_up(desk):
    desk = desk(start_on_instruction=True, simulator='sim_arm')
    desk.inputs = InputStatus(False, 'image: nothing received yet')
    desk.run(0.2)
    desk.requests.instruct('go')
    desk.run(30.0)
    desk.inputs = READY
    assert desk.run(1.0).state == 'running'


def test_a_stop_that_comes_while_an_instruction_begins_wins(desk):
    desk = desk(start_on_instruction=True).run(0.3)
    loop, start = desk.bench.loop, desk.bench.loop.start

    def late(now, *asked):  # the command thread loses the processor here
        desk.requests.stop()
        return start(now, *asked)

    loop.start = late
    desk.requests.instruct('go')
    assert desk.run(1.0).state == 'ready' and desk.bench.commands == []
    assert loop.reason == 'stopped by ~/stop'


# ---- the e-stop is a level ----------------------------------------------------------------------


def test_while_the_estop_is_down_no_reset_is_taken_and_after_it_a_start_is_needed(desk):
    desk = desk().running()
    desk.requests.estop(True)
    assert desk.run(0.8).state == 'e-stop' and desk.bench.loop.reason == 'estop topic'
    refused(desk.requests.reset_estop(), PRESSED)
    desk.requests.estop(False)
    assert desk.run(0.5).state == 'e-stop' and desk.rests
    assert desk.requests.reset_estop().success
    assert desk.run(0.5).state == 'ready' and desk.rests
    assert desk.requests.start().success
    assert desk.run(1.0).state == 'running'


def test_an_estop_that_was_down_before_the_arm_is_known_counts(desk):
    desk = desk(loop=False)
    desk.requests.estop(True)
    assert desk.estops == ['estop topic']
    loop = desk.bench.loop
    loop.estop(desk.bench.now, 'estop topic')  # as the session does when the arm is described
    desk.session.loop = loop
    desk.run(0.8)
    refused(desk.requests.reset_estop(), PRESSED)


def test_a_reset_is_refused_while_inputs_are_missing(desk):
    desk = desk().running()
    desk.requests.estop(True)
    desk.requests.estop(False)
    desk.run(0.8)
    desk.inputs = InputStatus(False, 'image: 9 s old')
    refused(desk.requests.reset_estop(), 'inputs are not ready: image: 9 s old')


# ---- the dead-man switch is a level -------------------------------------------------------------


def test_while_the_switch_is_not_held_nothing_moves_whatever_is_asked_for(desk):
    desk = desk(deadman_timeout_s=0.3, start_on_instruction=True)
    desk.requests.instruct('go')
    desk.run(0.5)
    assert desk.bench.commands == [] and desk.bench.loop.reason == DEADMAN
    refused(desk.requests.start(), DEADMAN)
    for ask in (
        desk.requests.stop,
        lambda: desk.requests.instruct('other'),
        lambda: desk.requests.pause(True),
        lambda: desk.requests.pause(False),
    ):
        ask()
        desk.requests.start()
        assert desk.run(0.4).bench.commands == []
    desk.held = True
    desk.run(0.2)
    assert desk.requests.start().success and desk.run(1.0).state == 'running'


@pytest.mark.parametrize('release', ['false', 'silence'])
def test_a_switch_that_is_released_or_falls_silent_stops_the_arm(desk, release):
    desk = desk(deadman_timeout_s=0.3)
    desk.held = True
    desk.run(0.1)
    desk.running()
    desk.held = False
    if release == 'false':
        desk.requests.enable(False)
        desk.run(2 * TICK)
    else:
        assert desk.run(0.2).state == 'running'
        desk.run(0.2)
    assert desk.state == 'paused' and desk.bench.loop.reason == DEADMAN
    assert desk.rests
    refused(desk.requests.pause(False), f'still paused: {DEADMAN}')
    desk.held = True
    assert desk.run(1.0).state == 'running'


def test_without_a_timeout_the_switch_is_not_asked_for(desk):
    desk = desk().running()
    desk.requests.enable(False)
    assert desk.run(0.5).state == 'running'


# ---- pause --------------------------------------------------------------------------------------


def test_a_pause_holds_until_it_is_ended(desk):
    desk = desk().running()
    answer = desk.requests.pause(True)
    assert answer.success and answer.message == 'paused: nothing moves until ~/pause is false'
    assert desk.run(0.5).state == 'paused' and desk.rests
    assert desk.bench.loop.reason == 'paused by ~/pause'
    answer = desk.requests.pause(False)
    assert (answer.success, answer.message) == (True, 'resumed')
    assert desk.run(1.0).state == 'running'


@pytest.mark.parametrize('by', ['stop', 'empty', 'rearm', 'estop', 'nobody'])
def test_only_the_end_of_a_pause_ends_it(desk, by):
    desk = desk().running()
    desk.requests.pause(True)
    desk.run(1.0)
    if by == 'stop':
        assert desk.requests.stop().message == 'stopped; paused by ~/pause, until that is false'
    elif by == 'empty':
        answer = desk.requests.instruct('')
        assert answer.message.endswith('is empty; paused by ~/pause, until that is false')
        desk.requests.instruct('another')
    elif by == 'rearm':
        answer = desk.requests.arm(False)
        assert answer.message == 'disarmed; paused by ~/pause, until that is false'
        desk.run(0.2)
        assert not desk.requests.arm(True).success
    elif by == 'nobody':
        desk.session.publishers.listeners = 0
        desk.run(0.2)
        desk.session.publishers.listeners = 1
    else:
        desk.requests.estop(True)
        desk.requests.estop(False)
        desk.run(1.0)
        released = desk.requests.reset_estop()
        assert released.message.endswith('again; paused by ~/pause, until that is false')
    assert desk.run(1.0).state == 'paused'
    refused(desk.requests.start(), 'paused by ~/pause: resume it first')
    assert desk.requests.pause(False).message in ('resumed: ~/start begins', 'resumed')
    sent = len(desk.bench.commands)
    assert desk.run(1.0).state == 'ready' and len(desk.bench.commands) == sent


@pytest.mark.parametrize('loop', [True, False])
def test_a_pause_of_an_inactive_node_or_of_one_without_an_arm_is_kept(desk, loop):
    desk = desk(active=False, loop=loop)
    assert desk.requests.pause(True).success
    desk.requests.instruct('go')
    desk.bench.run(0.2)
    desk.requests.active, desk.session.loop = True, desk.bench.loop
    refused(desk.requests.start(), 'paused by ~/pause: resume it first')
    assert desk.run(0.5).state == 'paused'
    desk.requests.pause(False)
    assert desk.run(0.5).state == 'ready' and desk.requests.start().success


def test_an_end_of_no_pause_says_so(desk):
    desk = desk().running()
    assert desk.requests.pause(False).message == 'not paused by ~/pause; the state is running'
    assert desk.run(0.5).state == 'running'


# ---- arming -------------------------------------------------------------------------------------


def test_arming_what_is_armed_and_moves_says_that_it_moves(desk):
    desk = desk().running()
    assert desk.requests.arm(True).message == 'armed already; the state is running'
    assert desk.run(0.5).state == 'running'


def test_arming_ends_the_shadow_s_motion_and_the_arm_waits_for_a_start(desk):
    desk = desk(armed=False).running()
    assert desk.requests.arm(True).message == 'armed: ~/start moves the arm'
    assert desk.bench.loop.armed
    sent = len(desk.bench.commands)
    assert desk.run(1.0).state == 'ready' and len(desk.bench.commands) == sent


def test_arming_is_refused_by_what_is_wrong_around_the_arm_and_in_other_states(desk):
    desk = desk(armed=False).running()
    desk.problem = '/other publishes too'
    refused(desk.requests.arm(True), '/other publishes too')
    desk.problem, desk.session.publishers.listeners = '', 0
    refused(desk.requests.arm(True), 'nobody listens')
    desk.session.publishers.listeners = 1
    desk.session.reason = 'paused by ~/pause'
    desk.requests.pause(True)
    desk.run(0.2)
    refused(desk.requests.arm(True), 'state is paused (paused by ~/pause): expected ready')
    assert not desk.bench.loop.armed


def test_disarming_brakes_first_and_only_then_leaves_the_arm_alone(desk):
    desk = desk().running()
    assert abs(desk.bench.commands[-1].velocities[0]) > 0.1
    assert desk.requests.arm(False).message == 'disarmed'
    desk.run(TICK)
    assert desk.bench.loop.armed  # the brake still goes to the arm
    desk.run(1.0)
    assert not desk.bench.loop.armed and desk.state == 'ready'
    last = desk.bench.commands[-1]
    assert not last.window_velocities[-1].any() and desk.rests


def test_disarming_what_is_not_armed_stops_no_shadow(desk):
    desk = desk(armed=False).running()
    assert desk.requests.arm(False).success
    assert desk.run(0.5).state == 'running'


def test_arming_again_before_it_rests_takes_the_disarming_back(desk):
    desk = desk().running()
    desk.requests.arm(False)
    desk.run(TICK)
    assert desk.requests.arm(True).success
    assert desk.run(1.0).bench.loop.armed


# ---- the controller -----------------------------------------------------------------------------


def test_a_controller_that_stopped_is_not_commanded_until_it_runs_and_a_start_comes(desk):
    desk = desk().running()
    seen = desk.session.around.newest
    seen.controller_problem = 'the controller does not run: /c is inactive; expected active'
    assert desk.run(0.3).state == 'ready'
    assert desk.bench.loop.reason == f'stopped: {seen.controller_problem}' and desk.rests
    seen.controller_problem = ''
    assert desk.run(0.5).state == 'ready'
    assert desk.requests.start().success and desk.run(0.5).state == 'running'


def test_a_controller_that_was_started_again_in_motion_is_not_commanded_until_a_start(desk):
    desk = desk().running()
    desk.session.around.newest.restarted_at = 3.5
    assert desk.run(0.3).state == 'ready' and desk.rests
    assert desk.bench.loop.reason == (
        'the controller was started again; ~/start begins from where it is'
    )
    assert desk.requests.start().success
    assert desk.run(1.0).state == 'running'  # it was one restart, not one per tick


@pytest.mark.parametrize('meanwhile', ['stale', 'paused', 'interlock'])
def test_a_controller_that_was_started_again_while_the_arm_waited_is_commanded_after_a_start(
    desk, meanwhile
):
    """It knows no last command, and holds the arm wherever that had sunk to."""
    desk = desk().running()
    bench = desk.bench
    if meanwhile == 'stale':
        desk.inputs = InputStatus(False, 'joint_states: old')
    elif meanwhile == 'paused':
        desk.requests.pause(True)
    else:
        desk.session.speed.problem = 'speed factor: old'
    desk.run(1.0)
    bench.robot.push(-0.05)
    desk.session.around.newest.restarted_at = 3.5
    desk.run(0.3)
    sent = len(bench.commands)
    desk.inputs, desk.session.speed.problem = READY, ''
    desk.requests.pause(False)
    desk.run(2.0)
    assert desk.state == 'ready' and len(bench.commands) == sent
    held = float(bench.arm[0])
    assert desk.requests.start().success and desk.run(1.0).state == 'running'
    assert bench.commands[sent].positions[0] == pytest.approx(held, abs=1e-6)


def test_a_start_at_once_after_a_controllers_restart_begins_where_that_holds_the_arm(desk):
    desk = desk().running()
    bench = desk.bench
    desk.session.around.newest.restarted_at = 3.5
    desk.run(TICK)
    assert desk.requests.start().success
    while desk.session.last_command is not None:
        desk.run(TICK)
    bench.robot.push(-0.05)
    held, sent = float(bench.arm[0]), len(bench.commands)
    assert desk.run(2.0).state == 'running'
    assert bench.commands[sent].positions[0] == pytest.approx(held, abs=1e-6)


@pytest.mark.parametrize('ask', ['start', 'home'])
def test_a_start_that_comes_after_a_restart_is_not_stopped_by_it(desk, ask):
    desk = desk(**HOME).run(0.3)
    desk.requests.instruct('go')
    desk.session.around.newest.restarted_at = 3.5
    assert getattr(desk.requests, ask)().success
    assert desk.run(1.0).state == ('running' if ask == 'start' else 'homing')


def test_a_restart_while_nothing_moves_or_in_shadow_stops_nothing(desk):
    at_rest = desk()
    at_rest.run(0.2)
    at_rest.session.around.newest.restarted_at = 0.1
    at_rest.run(0.2)
    at_rest.running()
    shadow = desk(armed=False).running()
    shadow.session.around.newest.restarted_at = 3.5
    shadow.session.around.newest.controller_problem = 'does not run'
    assert shadow.run(0.5).state == 'running'


def test_while_the_speed_factor_is_a_problem_nothing_plays_and_then_it_goes_on(monkeypatch):
    desk = Desk(monkeypatch).running()
    desk.session.speed.problem = 'speed factor: old'
    desk.run(1.0)
    assert desk.state == 'paused' and desk.bench.loop.reason == 'speed factor: old'
    desk.session.speed.problem = ''
    desk.run(1.0)
    assert desk.state == 'running'


@pytest.mark.parametrize('armed', [True, False])
def test_while_commands_might_reach_another_arm_nothing_plays_unless_in_shadow(monkeypatch, armed):
    desk = Desk(monkeypatch, armed=armed).running()
    desk.stranger = 'somebody new receives the commands'
    desk.run(1.0)
    assert desk.state == ('paused' if armed else 'running')
    desk.stranger = ''
    desk.run(1.0)
    assert desk.state == 'running'


def test_clocks_that_differ_much_refuse_to_arm_and_to_start_and_a_little_does_not(monkeypatch):
    desk = Desk(monkeypatch)
    desk.requests.instruct('go')
    desk.run(0.3)
    desk.clocks = ('the clocks differ', True)
    assert desk.requests.arm(True).message == 'the clocks differ'
    assert desk.requests.start().message == 'the clocks differ'
    desk.clocks = ('the clocks differ', False)
    assert desk.requests.arm(True).success and desk.requests.start().success
