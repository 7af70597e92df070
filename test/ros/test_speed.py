"""The arm's own speed override, speed.scale, and a simulation's clock, with the real node."""

from __future__ import annotations

import time

import numpy as np
import pytest
from conftest import wait_for

from dysl_vla_ros.config import from_flat
from dysl_vla_ros.errors import ConfigError

pytestmark = pytest.mark.ros

FULL = 0.1
"""Of the fake policy: half a step of 0.01 rad every 0.05 s [rad/s]."""
PERCENT = {'speed.source': 'topic', 'speed.topic': '/slider', 'speed.unit': 'percent'}


class Slider:
    """Publishes a factor at 20 Hz, as a robot's driver does; None is silence."""

    def __init__(self, graph, value=None):
        from rclpy.node import Node
        from rclpy.qos import qos_profile_system_default
        from std_msgs.msg import Float64

        self.value = value
        node = graph.add(Node('slider', context=graph.context))
        publisher = node.create_publisher(Float64, '/slider', qos_profile_system_default)

        def publish():
            if self.value is not None:
                publisher.publish(Float64(data=float(self.value)))

        node.create_timer(0.05, publish)


def seconds(stamp):
    return stamp.sec + 1e-9 * stamp.nanosec


def speed_of(rig, over=1.0):
    """Of the first points of what is sent, to and fro [rad/s]."""
    since = len(rig.robot.trajectories)
    time.sleep(over)
    sent = rig.robot.trajectories[since:]
    if len(sent) < 2:
        return 0.0
    way = np.abs(np.diff([message.points[0].positions[0] for _, message in sent])).sum()
    return way / (sent[-1][0] - sent[0][0])


def moves_at(rig, speed):
    """It comes to move at this speed [rad/s]; a loaded machine may need more than one look."""
    found = []

    def look():
        found.append(speed_of(rig, 2.0))
        return found[-1] == pytest.approx(speed, rel=0.25)

    wait_for(look, 30.0, f'{speed} rad/s, found {found}')


def in_the_controllers_seconds(rig):
    """What was sent is judged by a receiver that obeys: see test_control_loop_pace."""
    for checks in rig.robot.checks.values():
        checks.wrong.clear()


def test_the_robots_slider_in_percent_slows_the_arm_and_at_0_it_holds_with_the_reason(rig, graph):
    rig = rig(**PERCENT)
    slider = Slider(graph)
    rig.up()
    rig.instruct('go')
    rig.wait_reason('speed factor: nothing received yet on /slider')
    assert not rig.ask('start').success
    slider.value = 100.0
    rig.wait_reason('not started')
    rig.start()
    rig.wait_state('running')
    slider.value = 30.0
    wait_for(lambda: rig.session.speed.factor == pytest.approx(0.3), what='the factor')
    time.sleep(0.3)
    moves_at(rig, 0.3 * FULL)
    message = rig.robot.trajectories[-1][1]
    assert seconds(message.header.stamp) == 0.0  # begins on arrival
    assert seconds(message.points[0].time_from_start) == 0.0
    slider.value = 0.0
    rig.wait_state('paused')
    rig.wait_reason('speed factor: /slider says 0: the controller stands')
    last = rig.robot.trajectories[-1][1]
    wait_for(lambda: not any(any(p.velocities) for p in rig.robot.trajectories[-1][1].points),
             what='a window at rest')  # fmt: skip
    assert rig.robot.trajectories[-1][1].points[0].positions == pytest.approx(
        last.points[0].positions, abs=0.01
    )
    slider.value = 100.0
    rig.wait_state('running')
    in_the_controllers_seconds(rig)


@pytest.mark.parametrize(
    ('value', 'words'),
    [(None, 'expected at most 0.5 s'), (150.0, '/slider says 150, expected 0 to 100'),
     (float('nan'), '/slider says nan')],
    ids=['silent', 'too large', 'nan'],
)  # fmt: skip
def test_a_factor_that_is_silent_or_out_of_range_holds_and_goes_on_by_itself(
    rig, graph, value, words
):
    slider = Slider(graph, 100.0)
    rig = rig(**PERCENT).run()
    slider.value = value
    rig.wait_state('paused')
    rig.wait_reason('speed factor: ', words)
    wait_for(rig.at_rest, what='rest')
    slider.value = 100.0
    rig.wait_state('running')


def test_a_controller_that_does_not_obey_is_slowed_by_the_playback_alone(rig, graph):
    slider = Slider(graph, 100.0)
    rig = rig(**PERCENT, **{'speed.obeyed': False}).run()
    slider.value = 30.0
    time.sleep(0.5)
    moves_at(rig, 0.3 * FULL)
    assert seconds(rig.robot.trajectories[-1][1].header.stamp) > 0
    slider.value = 0.0
    rig.wait_state('paused')
    wait_for(rig.at_rest, what='rest')


def test_speed_scale_is_set_while_it_moves(rig):
    from rclpy.parameter import Parameter

    rig = rig().run()

    def scale(value):
        change = [Parameter('speed.scale', value=value)]
        return rig.graph.call(lambda: rig.node.set_parameters(change))[0].successful

    assert scale(0.3)
    time.sleep(0.3)
    moves_at(rig, 0.3 * FULL)
    assert not scale(1.5) and not scale(-0.1)
    assert scale(0.0)
    rig.wait_state('paused')
    rig.wait_reason('speed.scale = 0')
    wait_for(rig.at_rest, what='rest')
    assert scale(1.0)
    rig.wait_state('running')


@pytest.mark.parametrize(
    ('flat', 'words'),
    [
        ({'speed.source': 'topic'}, "speed.topic = '': expected a topic"),
        ({'speed.source': 'controller_state', 'command_type': 'joint_commands'},
         "speed.source = 'controller_state': expected 'topic' or 'none'"),
        ({'speed.source': 'percent'}, 'expected one of'),
    ],
    ids=['no topic', 'no controller state', 'no source'],
)  # fmt: skip
def test_a_source_that_cannot_work_is_refused_with_what_would(flat, words):
    with pytest.raises(ConfigError) as caught:
        from_flat(flat)
    assert words in str(caught.value)


def test_without_control_msgs_the_controllers_state_is_refused_with_what_to_install(rig):
    try:
        import control_msgs  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip('control_msgs is installed here')
    one = rig(**{'speed.source': 'controller_state'})
    assert one.configure() == 'FAILURE'
    from dysl_vla_ros.ros.speed import controller_state_type

    with pytest.raises(ConfigError, match='control_msgs installed'):
        controller_state_type()


class SimulatedClock:
    """Publishes /clock at 200 Hz, running at ``factor``."""

    def __init__(self, graph, factor=1.0):
        from builtin_interfaces.msg import Time
        from rclpy.clock import Clock, ClockType
        from rclpy.node import Node
        from rosgraph_msgs.msg import Clock as ClockMessage

        self.factor, self.now, self._before = factor, 1000.0, time.monotonic()
        node = graph.add(Node('simulation', context=graph.context))
        publisher = node.create_publisher(ClockMessage, '/clock', 10)

        def publish():
            passed, self._before = time.monotonic() - self._before, time.monotonic()
            self.now += passed * self.factor
            whole = int(self.now)
            stamp = Time(sec=whole, nanosec=int(1e9 * (self.now - whole)))
            publisher.publish(ClockMessage(clock=stamp))

        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(0.005, publish, clock=steady)


@pytest.mark.parametrize('factor', [0.5, 2.0])
def test_playback_follows_a_simulation_and_a_pause_of_it_is_no_jump(
    rig, graph, monkeypatch, factor
):
    from rclpy.parameter import Parameter

    simulation = SimulatedClock(graph)
    rig = rig(use_sim_time=True, request_threshold=0.75)
    rig.robot.node.set_parameters([Parameter('use_sim_time', value=True)])
    rig.run()
    simulation.factor = factor
    time.sleep(0.3)
    moves_at(rig, factor * FULL)
    simulation.factor = 0.0
    rig.wait_state('stale')  # the watchdogs' time goes on
    at = rig.robot.trajectories[-1][1].points[0].positions[0]
    time.sleep(0.5)
    assert rig.robot.trajectories[-1][1].points[0].positions[0] == pytest.approx(at, abs=1e-6)
    simulation.factor = 1.0
    rig.wait_state('running', timeout=8.0)
