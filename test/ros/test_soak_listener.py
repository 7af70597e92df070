"""The soak's listener: what it counts, and that it resets a fault as a person would."""

from __future__ import annotations

import os

import pytest
from conftest import DOMAIN, wait_for

pytestmark = pytest.mark.ros


def test_a_fault_is_reset_and_its_reason_kept_and_an_estop_is_left_alone(graph, monkeypatch):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
    from rclpy.node import Node
    from std_msgs.msg import String
    from std_srvs.srv import Trigger

    from dysl_vla_ros.ros import qos
    from dysl_vla_ros.ros.chaos import listener as module
    from dysl_vla_ros.ros.chaos.endurance import Run

    monkeypatch.setattr(module, '_PATIENCE_S', 0.2)
    node = graph.add(Node('vla_node', context=graph.context))
    state = node.create_publisher(String, '~/state', qos.LATCHED)
    said = node.create_publisher(DiagnosticArray, '/diagnostics', qos.REPORT)
    asked = []

    def on_reset(request, response):
        asked.append(request)
        state.publish(String(data='ready'))
        return response

    node.create_service(Trigger, '~/estop_reset', on_reset)
    run = Run()
    with module.Listener({**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN)}, run) as listener:

        def heard(what):
            listener.spin(0.1)
            return what()

        state.publish(String(data='e-stop'))
        wait_for(lambda: heard(lambda: run.states), what='a state')
        listener.spin(1.0)
        assert asked == []
        state.publish(String(data='fault'))
        status = DiagnosticStatus(name='/vla_node: commands', message='fault: elbow slipped')
        said.publish(DiagnosticArray(status=[status]))
        wait_for(lambda: heard(lambda: asked and run.states[-1][1] == 'ready'), what='a reset')
    assert len(asked) == 1
    assert [text for _, text in run.faults] == ['fault: elbow slipped']
