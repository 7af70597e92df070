"""What the vendors' public files say of the arms in ``config/robots``, in our words.

Read in 2026 in the repositories that ``sources`` names; the pages in ``doc/robots`` name them too.
Nothing here was measured on an arm.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TURN = 2 * math.pi
JTC = 'joint_trajectory_controller/JointTrajectoryController'
FORWARD = 'forward_command_controller/ForwardCommandController'
GROUP = 'position_controllers/JointGroupPositionController'
OLD, NEW = 'GripperCommand', 'ParallelGripperCommand'


@dataclass(frozen=True)
class Joint:
    """One joint of the published description; a continuous one has no positions."""

    name: str
    lower: float
    upper: float
    velocity: float


@dataclass(frozen=True)
class Controller:
    """One controller as the vendor's file sets it up.

    Attributes:
        name: With its namespace.
        type: As pluginlib knows it.
        parameters: What was set, beside the joints.
        joints: In the file's order; None = the arm's.
        changes: Parameters that a preset needs beside its own to be this controller's.
        source: Repository and file.
    """

    name: str
    type: str
    parameters: Mapping[str, Any]
    source: str
    joints: tuple[str, ...] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def command_type(self) -> str:
        return 'joint_trajectory' if self.type == JTC else 'joint_commands'

    @property
    def topic(self) -> str:
        return f'{self.name}/{"joint_trajectory" if self.type == JTC else "commands"}'


@dataclass(frozen=True)
class Gripper:
    """The gripper that the vendor's files know.

    Attributes:
        joint: That measures it in joint_states.
        lower: Of the joint in the description.
        upper: Likewise.
        open_at_upper: Which end is open.
        action: Full name; '' where the arm's controller carries it.
        types: That servers of that name offer, in the distributions that are supported.
        ships: Whether it comes with the arm; otherwise it is the one most often mounted.
        sources: Repositories and files.
    """

    joint: str
    lower: float
    upper: float
    open_at_upper: bool
    sources: tuple[str, ...]
    action: str = ''
    types: tuple[str, ...] = ()
    ships: bool = True


@dataclass(frozen=True)
class Arm:
    """One arm with all that its vendor published of it.

    Attributes:
        joints: Of the arm, in the description's order.
        base: First link of the chain.
        tip: Link at its end, that policies mean.
        controllers: The preset's own first.
        gripper: Its gripper.
        description: Repository and file of the description.
        home: Where the stand-in robot begins [rad].
        joint_states: Topic that carries the arm's joints and the gripper's.
    """

    joints: tuple[Joint, ...]
    base: str
    tip: str
    controllers: tuple[Controller, ...]
    gripper: Gripper
    description: str
    home: tuple[float, ...]
    joint_states: str = '/joint_states'

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    @property
    def sources(self) -> tuple[str, ...]:
        return (
            self.description, *(c.source for c in self.controllers), *self.gripper.sources
        )  # fmt: skip


def row(prefix: str, lower: str, upper: str, velocity: str, suffix: str = '') -> tuple[Joint, ...]:
    """Joints ``<prefix>1`` and on, from columns of numbers."""
    columns = ([float(word) for word in text.split()] for text in (lower, upper, velocity))
    return tuple(
        Joint(f'{prefix}{number}{suffix}', *values)
        for number, values in enumerate(zip(*columns, strict=True), 1)
    )


POSITION = {'command_interfaces': ['position']}
UR = 'UniversalRobots/Universal_Robots_ROS2_Driver: ur_robot_driver/config/ur_controllers.yaml'
UR_NAMES = (
    'shoulder_pan_joint', 'shoulder_lift_joint', 'elbow_joint', 'wrist_1_joint', 'wrist_2_joint',
    'wrist_3_joint',
)  # fmt: skip
UR_TOLERANCES = {
    **POSITION, 'allow_partial_joints_goal': False, 'constraints.stopped_velocity_tolerance': 0.2,
    **{f'constraints.{name}.trajectory': 0.2 for name in UR_NAMES},
}  # fmt: skip
ROBOTIQ = (
    'PickNikRobotics/ros2_robotiq_gripper: robotiq_description/config/robotiq_controllers.yaml',
    'PickNikRobotics/ros2_robotiq_gripper: '
    'robotiq_description/urdf/robotiq_2f_85_macro.urdf.xacro',
)
ROBOTIQ_ACTION = {
    'gripper.interface': 'action', 'gripper.opening_source': 'measured',
    'gripper.action_name': 'robotiq_gripper_controller/gripper_cmd', 'gripper.max_effort': 50.0,
}  # fmt: skip
"""As the page says it; the effort is what the gripper's controllers file sets."""
UR5E = Arm(
    joints=tuple(
        Joint(name, -reach, reach, math.pi)
        for name, reach in zip(UR_NAMES, (TURN, TURN, math.pi, TURN, TURN, TURN), strict=True)
    ),
    base='base_link', tip='tool0',
    controllers=(
        Controller('/scaled_joint_trajectory_controller',  # Humble, Jazzy, Kilted
                   JTC, UR_TOLERANCES, UR),
        Controller('/scaled_joint_trajectory_controller', JTC, UR_TOLERANCES, UR,
                   changes=ROBOTIQ_ACTION),
        Controller('/joint_trajectory_controller', JTC, UR_TOLERANCES, UR),
        Controller('/forward_position_controller', FORWARD, {'interface_name': 'position'}, UR,
                   changes={'command_type': 'joint_commands'}),
    ),
    gripper=Gripper(
        'robotiq_85_left_knuckle_joint', 0.0, 0.8, False, ROBOTIQ,
        '/robotiq_gripper_controller/gripper_cmd', (OLD, NEW), ships=False,
    ),
    description='UniversalRobots/Universal_Robots_ROS2_Description: config/ur5e/joint_limits.yaml',
    home=(0.3, -1.6, 1.5, -1.5, -1.5, 0.0),
)  # fmt: skip


def effort_gains(prefix: str) -> dict[str, Any]:
    """Of Franka's trajectory controllers, which command torques."""
    gains: dict[str, Any] = {'command_interfaces': ['effort']}
    stiffness = (600.0, 600.0, 600.0, 600.0, 250.0, 150.0, 50.0)
    for number, value in enumerate(stiffness, 1):
        gains[f'gains.{prefix}_joint{number}.p'] = value
    return gains


FRANKA_HOME = (0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785)
HAND = 'end_effectors/common/franka_hand.xacro'
SERVER = 'franka_gripper/src/gripper_action_server.cpp'
FR3 = Arm(
    joints=row(
        'fr3_joint', '-2.7437 -1.7837 -2.9007 -3.0421 -2.8065 0.5445 -3.0159',
        '2.7437 1.7837 2.9007 -0.1518 2.8065 4.5169 3.0159', '2.62 2.62 2.62 2.62 5.26 4.18 5.26',
    ),
    base='fr3_link0', tip='fr3_hand_tcp',
    controllers=(
        Controller('/fr3_arm_controller', JTC, effort_gains('fr3'),
                   'frankarobotics/franka_ros2: '
                   'franka_fr3_moveit_config/config/fr3_ros_controllers.yaml'),
    ),
    gripper=Gripper(
        'fr3_finger_joint1', 0.0, 0.04, True,
        (f'frankarobotics/franka_description: {HAND}', f'frankarobotics/franka_ros2: {SERVER}'),
        '/franka_gripper/gripper_action', (OLD,),
    ),
    description='frankarobotics/franka_description: robots/fr3/joint_limits.yaml',
    home=FRANKA_HOME,
)  # fmt: skip
PANDA = Arm(
    joints=row(
        'panda_joint', '-2.8973 -1.7628 -2.8973 -3.0718 -2.8973 -0.0175 -2.8973',
        '2.8973 1.7628 2.8973 -0.0698 2.8973 3.7525 2.8973',
        '2.175 2.175 2.175 2.175 2.61 2.61 2.61',
    ),
    base='panda_link0', tip='panda_hand_tcp',
    controllers=(
        Controller('/panda_arm_controller', JTC, effort_gains('panda'),
                   'frankarobotics/franka_ros2: '
                   'franka_moveit_config/config/panda_ros_controllers.yaml'),
    ),
    gripper=Gripper(
        'panda_finger_joint1', 0.0, 0.04, True,
        (f'frankarobotics/franka_description: {HAND}', f'frankarobotics/franka_ros2: {SERVER}'),
        '/panda_gripper/gripper_action', (OLD,),
    ),
    description='frankarobotics/franka_description: robots/fer/joint_limits.yaml',
    home=FRANKA_HOME,
)  # fmt: skip
XARM7 = Arm(
    joints=row(
        'joint', f'{-TURN} -2.059 {-TURN} -0.19198 {-TURN} -1.69297 {-TURN}',
        f'{TURN} 2.0944 {TURN} 3.927 {TURN} {math.pi} {TURN}',
        '3.14 3.14 3.14 3.14 3.14 3.14 3.14',
    ),
    base='link_base', tip='link_tcp',
    controllers=(
        Controller(
            '/xarm7_traj_controller', JTC,
            {'command_interfaces': ['position', 'velocity'], 'constraints.goal_time': 0.5,
             **{f'constraints.joint{number}.trajectory': 1.0 for number in range(1, 7)}},
            'xArm-Developer/xarm_ros2: xarm_controller/config/xarm7_controllers.yaml',
        ),
    ),
    gripper=Gripper(
        'drive_joint', 0.0, 0.85, False,
        ('xArm-Developer/xarm_ros2: xarm_description/urdf/gripper/xarm_gripper.urdf.xacro',
         'xArm-Developer/xarm_ros2: xarm_api/src/xarm_driver.cpp'),
        '/xarm_gripper/gripper_action', (OLD,),
    ),
    description='xArm-Developer/xarm_ros2: xarm_description/urdf/xarm7/xarm7.urdf.xacro',
    home=(0.0, -0.4, 0.0, 0.8, 0.0, 1.2, 0.0),
    joint_states='/xarm/joint_states',
)  # fmt: skip
GEN3 = Arm(
    joints=row(
        'joint_', '-inf -2.24 -inf -2.57 -inf -2.09 -inf', 'inf 2.24 inf 2.57 inf 2.09 inf',
        '1.3963 1.3963 1.3963 1.3963 1.2218 1.2218 1.2218',
    ),
    base='base_link', tip='end_effector_link',
    controllers=(
        Controller(
            '/joint_trajectory_controller', JTC,
            {**POSITION, 'allow_partial_joints_goal': False,
             'constraints.stopped_velocity_tolerance': 0.0},
            'Kinovarobotics/ros2_kortex: '
            'kortex_description/arms/gen3/7dof/config/ros2_controllers.yaml',
        ),
    ),
    gripper=Gripper(
        'robotiq_85_left_knuckle_joint', 0.0, 0.8, False,
        ('Kinovarobotics/ros2_kortex: README.md', *ROBOTIQ[1:]),
        '/robotiq_gripper_controller/gripper_cmd', (OLD, NEW),
    ),
    description='Kinovarobotics/ros2_kortex: '
                'kortex_description/arms/gen3/7dof/urdf/gen3_macro.xacro',
    home=(0.0, 0.262, 3.142, -2.269, 0.0, 0.96, 1.571),
)  # fmt: skip
SO101_FILES = 'legalaspro/so101-ros-physical-ai: so101_bringup/config/ros2_control'
SO101_NAMES = ('shoulder_pan', 'shoulder_lift', 'elbow_flex', 'wrist_flex', 'wrist_roll')
SO101 = Arm(
    joints=tuple(
        Joint(name, lower, upper, 10.0)
        for name, lower, upper in zip(
            SO101_NAMES, (-1.91986, -1.74533, -1.69, -1.65806, -2.74385),
            (1.91986, 1.74533, 1.69, 1.65806, 2.84121), strict=True,
        )
    ),
    base='base_link', tip='gripper_frame_link',
    controllers=(
        Controller('/follower/trajectory_controller', JTC,
                   {**POSITION, 'allow_partial_joints_goal': False, 'open_loop_control': False},
                   f'{SO101_FILES}/follower_controllers.yaml', (*SO101_NAMES, 'gripper')),
        Controller('/follower/forward_controller', FORWARD, {'interface_name': 'position'},
                   f'{SO101_FILES}/follower_controllers.yaml', (*SO101_NAMES, 'gripper'),
                   {'command_type': 'joint_commands', 'gripper.interface': 'forward'}),
        Controller('/follower/arm_trajectory_controller', JTC,
                   {**POSITION, 'allow_partial_joints_goal': False, 'open_loop_control': False},
                   f'{SO101_FILES}/follower_split_controllers.yaml',
                   changes={'gripper.interface': 'action',
                            'gripper.action_name': 'gripper_controller/gripper_cmd'}),
    ),
    gripper=Gripper(
        'gripper', -0.174533, 1.74533, True,
        ('legalaspro/so101-ros-physical-ai: so101_moveit_config/config/so101_arm.srdf',
         'legalaspro/so101-ros-physical-ai: so101_moveit_config/config/moveit_controllers.yaml'),
        '/follower/gripper_controller/gripper_cmd', (NEW,),
    ),
    description='TheRobotStudio/SO-ARM100: Simulation/SO101/so101_new_calib.urdf',
    home=(0.0, -0.8, 0.8, 0.6, 0.0),
    joint_states='/follower/joint_states',
)  # fmt: skip
SO100_FILES = 'JafarAbdi/ros2_so_arm100: so_arm100_description'
SO100_NAMES = tuple(f'{name}_joint' for name in SO101_NAMES)
SO100 = Arm(
    joints=tuple(
        Joint(name, lower, upper, 1.0)
        for name, lower, upper in zip(
            SO100_NAMES, (-2.0, -1.75, -1.575, -3.5, -1.0), (2.0, 1.75, 1.57, 0.2, 4.0),
            strict=True,
        )
    ),
    base='base_link', tip='gripper_link',
    controllers=(
        Controller('/joint_trajectory_controller', JTC, POSITION,
                   f'{SO100_FILES}/control/ros2_controllers.yaml'),
        Controller('/forward_position_controller', GROUP, {'interface_name': 'position'},
                   f'{SO100_FILES}/control/ros2_controllers.yaml',
                   changes={'command_type': 'joint_commands'}),
    ),
    gripper=Gripper(
        'gripper_joint', -0.2, 2.0, True,
        ('JafarAbdi/ros2_so_arm100: so_arm100_moveit_config/config/so_arm100.srdf',),
        '/gripper_controller/gripper_cmd', (NEW,),
    ),
    description=f'{SO100_FILES}/urdf/so_arm100_macro.xacro',
    home=(0.0, -0.8, 0.8, -0.6, 0.5),
)  # fmt: skip

ARMS = {
    'fr3': FR3, 'gen3': GEN3, 'panda': PANDA, 'so100': SO100, 'so101': SO101, 'ur5e': UR5E,
    'xarm7': XARM7,
}  # fmt: skip
"""Preset -> its arm; ``sim`` is our own."""


def page(robot: str) -> str:
    """Text of an arm's page."""
    return (ROOT / 'doc' / 'robots' / f'{robot}.md').read_text(encoding='utf-8')


def launch_arguments(robot: str) -> dict[str, str]:
    """Of our launch line on the arm's page."""
    (line,) = re.findall(
        r'^ros2 launch dysl_vla_ros manipulation\.launch\.py((?:[^\n]*\\\n)*[^\n]*)', page(robot),
        re.MULTILINE,
    )  # fmt: skip
    words = shlex.split(line.replace('\\\n', ' '))
    return dict(word.split(':=', 1) for word in words)


def resolved(name: str, arguments: Mapping[str, str]) -> str:
    """A topic or service in the namespace of a launch."""
    prefix = f'/{arguments["namespace"]}' if 'namespace' in arguments else ''
    return name if name.startswith('/') else f'{prefix}/{name}'
