"""What a page asks of a simulated arm reaches it, in order, and its answer comes back."""

from __future__ import annotations

import pytest
from conftest import wait_for

pytestmark = pytest.mark.ros


@pytest.fixture
def page(graph):
    """Requests of a page beside a stand-in for ``sim_arm``; ``laid_out``: what each reset saw."""
    from rclpy.node import Node
    from std_srvs.srv import Trigger

    from dysl_vla_ros.ros.view_requests import ViewRequests

    arm = Node('sim_arm', context=graph.context)
    arm.declare_parameter('seed', 0)
    arm.declare_parameter('episodes.instruction', '')
    laid_out = []

    def reset(request, response):
        names = ('seed', 'episodes.instruction')
        laid_out.append(tuple(arm.get_parameter(name).value for name in names))
        response.success, response.message = True, f'scene {len(laid_out)}'
        return response

    arm.create_service(Trigger, '~/reset', reset)
    graph.add(arm)
    node = graph.add(Node('page', context=graph.context))
    made = graph.call(lambda: ViewRequests(node, '/vla_node'))
    made.laid_out = laid_out
    return made


def test_a_scene_is_set_by_its_seed_then_laid_out_and_the_arm_answers(page):
    wait_for(lambda: page.simulated, what='the simulated arm')
    answer = page.ask('scene', 7).result(30)
    assert (answer.success, answer.message) == (True, 'scene 1')
    answer = page.ask('instruct', ' put it there ').result(30)
    assert (answer.success, answer.message) == (True, 'scene 2')
    assert page.laid_out == [(7, ''), (7, 'put it there')]


def test_of_a_node_that_is_not_there_nothing_is_asked(page):
    answer = page.ask('start', None).result(30)
    assert not answer.success
    assert answer.message == 'nobody answers /vla_node/start: is the node configured?'
