"""launch_testing: the launch file brings the node to commands, and everything ends with code 0.

Run by test_ros2_launch.py, or by hand: launch_test test/launch/manipulation_smoke.py
"""

from __future__ import annotations

import time
import unittest
from pathlib import Path

import launch_testing
import launch_testing.actions
import launch_testing.asserts
import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from launch import LaunchDescription

LAUNCH = Path(__file__).resolve().parents[2] / 'launch' / 'manipulation.launch.py'


def generate_test_description():
    """The simulated arm, without a model."""
    source = PythonLaunchDescriptionSource(str(LAUNCH))
    return LaunchDescription([
        IncludeLaunchDescription(source, launch_arguments={'engine': 'fake'}.items()),
        launch_testing.actions.ReadyToTest(),
    ])  # fmt: skip


class Runs(unittest.TestCase):
    """While it runs."""

    def test_commands_arrive_and_the_state_says_so(self):
        """At their rate, in a state that plays."""
        rclpy.init()
        node = rclpy.create_node('listens')
        states, commands = [], []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        node.create_subscription(String, 'vla_node/state', states.append, latched)
        node.create_subscription(JointTrajectory, 'joint_trajectory', commands.append, 10)
        until = time.monotonic() + 60
        while time.monotonic() < until and len(commands) < 60:
            rclpy.spin_once(node, timeout_sec=0.1)
        node.destroy_node()
        rclpy.shutdown()
        self.assertGreaterEqual(len(commands), 60)
        self.assertTrue({state.data for state in states} & {'running', 'holding', 'verifying'})
        self.assertTrue(all(len(command.joint_names) == 6 for command in commands))


@launch_testing.post_shutdown_test()
class Ended(unittest.TestCase):
    """After it was shut down."""

    def test_every_process_ended_with_code_0(self, proc_info):
        """No traceback, no signal."""
        launch_testing.asserts.assertExitCodes(proc_info)
