"""The gripper's client over the real actions of control_msgs, where that is installed.

The servers here do as ros2_controllers' do: a new goal ends the one before, a cancelled goal
leaves the gripper where it is, and one that stalls is aborted or succeeds.
"""

from __future__ import annotations

import time

import pytest
from conftest import wait_for

pytest.importorskip('control_msgs', reason='control_msgs has no wheel; part of ROS')
pytestmark = pytest.mark.ros

SPEED = 4.0
OLD, NEW = 'GripperCommand', 'ParallelGripperCommand'


class Hand:
    """A server over a gripper that travels, and stops at what it grasps."""

    def __init__(self, graph, kind, name='hand', accepts=True, allow_stalling=False):
        import control_msgs.action as actions
        from rclpy.action import ActionServer, CancelResponse, GoalResponse
        from rclpy.node import Node

        self.kind, self.type = kind, getattr(actions, kind)
        self.position, self.goal, self.object_at = 0.8, None, None
        self.target, self.active, self.accepts = 0.8, None, accepts
        self.allow_stalling = allow_stalling
        self.told, self.cancels = [], 0
        self.graph = graph
        self.node = graph.add(Node('hand', context=graph.context))
        answer = {True: GoalResponse.ACCEPT, False: GoalResponse.REJECT}
        self.make = lambda: ActionServer(
            self.node, self.type, name, lambda handle: None,
            goal_callback=lambda goal: answer[self.accepts],
            cancel_callback=self.cancel(CancelResponse), handle_accepted_callback=self.take,
        )  # fmt: skip
        self.server = graph.call(self.make)
        self.moved_at = time.monotonic()
        self.node.create_timer(0.02, self.move)

    def take(self, handle):
        self.end('canceled')
        goal = handle.request.command
        if self.kind == NEW:
            self.told.append((list(goal.name), list(goal.position), list(goal.effort)))
            self.target = goal.position[0]
        else:
            self.told.append((goal.position, goal.max_effort))
            self.target = goal.position
        self.active, self.moved_at = handle, time.monotonic()

    def cancel(self, answers):
        def decide(handle):
            self.cancels += 1
            self.target = self.position
            return answers.ACCEPT

        return decide

    def move(self):
        way = max(-SPEED * 0.02, min(SPEED * 0.02, self.target - self.position))
        position = self.position + way
        if self.object_at is not None:
            position = max(position, self.object_at)
        if abs(position - self.position) > 1e-6:
            self.moved_at = time.monotonic()
        self.position = position
        if self.active is None:
            return
        if self.active.is_cancel_requested:
            self.end('canceled')
        elif abs(self.position - self.target) < 1e-3:
            self.end('succeed', reached=True)
        elif time.monotonic() - self.moved_at > 0.1:
            self.end('succeed' if self.allow_stalling else 'abort', stalled=True)

    def end(self, how, stalled=False, reached=False):
        handle, self.active = self.active, None
        if handle is None:
            return
        result = self.type.Result(stalled=stalled, reached_goal=reached)
        if self.kind == NEW:
            result.state.position = [self.position]
        else:
            result.position = self.position

        def finish(running):
            if how == 'canceled' and not running.is_cancel_requested:
                running.abort()  # rclpy cancels only what was asked to be
            else:
                getattr(running, how)()
            return result

        handle.execute(finish)

    def restart(self):
        def again():
            self.server.destroy()
            self.active = None
            self.server = self.make()

        self.graph.call(again)


@pytest.fixture
def client(graph):
    from rclpy.node import Node

    from dysl_vla_ros.config import GripperConfig
    from dysl_vla_ros.ros.gripper_action import GripperAction

    node = graph.add(Node('vla_node', context=graph.context))
    made = []

    def make(**config):
        settings = {'interface': 'action', 'joint': 'finger', 'action_name': 'hand', **config}
        made.append(graph.call(lambda: GripperAction(node, GripperConfig(**settings))))
        return made[-1]

    yield make
    for action in made:
        graph.call(action.destroy)


def says(action, *words):
    wait_for(lambda: all(word in action.report for word in words), what=f'{words}')


@pytest.mark.parametrize('kind', [OLD, NEW])
def test_it_closes_and_opens_and_says_where_it_got(graph, client, kind):
    action = client(max_effort=20.0)
    action.send(0.0, 0.0)  # before there is a server
    hand = Hand(graph, kind)
    says(action, 'reached at 0.00')
    action.send(1.0, 0.8)
    says(action, 'reached at 0.80')
    if kind == OLD:
        assert hand.told == [(0.0, 20.0), (0.8, 20.0)]
    else:
        assert hand.told == [(['finger'], [0.0], [20.0]), (['finger'], [0.8], [20.0])]
    assert action.problem == '' and hand.cancels == 0


@pytest.mark.parametrize('kind', [OLD, NEW])
@pytest.mark.parametrize('allow_stalling', [True, False])
def test_a_grasped_object_is_held_and_no_problem(graph, client, kind, allow_stalling):
    hand = Hand(graph, kind, allow_stalling=allow_stalling)
    hand.object_at = 0.31
    action = client()
    action.send(0.0, 0.0)
    says(action, 'stalled at 0.31 (held)')
    assert action.problem == '' and len(hand.told) == 1


def test_a_close_on_the_way_to_open_is_the_last_word(graph, client):
    hand = Hand(graph, OLD)
    hand.position = hand.target = -40.0  # a long way: it cannot have arrived
    action = client()
    action.send(1.0, 0.8)
    says(action, 'opening')
    wait_for(lambda: hand.active is not None, what='the first goal')
    action.send(0.0, -40.0)
    says(action, 'reached at -40.00')
    assert [position for position, _ in hand.told] == [0.8, -40.0] and hand.cancels == 1


def test_a_refusal_is_repeated_until_it_is_taken(graph, client):
    hand = Hand(graph, OLD, accepts=False)
    action = client()
    action.send(0.0, 0.0)
    says(action, 'refused')
    hand.accepts = True
    says(action, 'reached at 0.00')


def test_a_server_that_was_made_anew_is_told_again(graph, client):
    hand = Hand(graph, OLD)
    action = client()
    action.send(0.0, 0.0)
    says(action, 'reached at 0.00')
    hand.position = hand.target = 0.8  # its controller holds what it measures when it begins
    hand.restart()
    wait_for(lambda: len(hand.told) == 2 and hand.position < 0.01, what='the wish again')


def test_a_server_of_the_other_type_is_said(graph, client):
    Hand(graph, NEW)
    action = client(action_type='gripper_command')
    action.send(0.0, 0.0)
    says(action, 'hand offers control_msgs/action/ParallelGripperCommand')


def test_in_the_whole_node_the_gripper_follows_the_policy(graph, rig):
    hand = Hand(graph, OLD)
    rig = rig(gripper__interface='action', gripper__action_name='hand', gripper__dwell_s=0.0)
    rig.policy.direction = -1.0  # on its way back it closes
    rig.run()
    wait_for(lambda: hand.told == [(0.0, 0.0)], what='a close')
    wait_for(lambda: rig.session.publishers.gripper_report() == 'reached at 0.00', what='it')
    rig.ask('stop')
    hand.restart()
    time.sleep(1.0)
    assert len(hand.told) == 1  # stopped: nobody moves a gripper
