"""What `record:=true` records: the node's topics by name, and nothing else of the graph.

Names are relative to the namespace and follow the launch arguments' remappings, as the node's do.
Pictures are not among them: what the model saw is `~/seen/<camera>`, named by the policy's
metadata; the cameras' own streams are `record_video:=true`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseArray, PoseStamped, TwistStamped, WrenchStamped
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64, Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.pass_record import PASS_TOPIC
from dysl_vla_ros.ros.message_text import type_name

NODE = 'vla_node'
_DEPTH = 200


@dataclass(frozen=True)
class Recorded:
    """One topic.

    Attributes:
        name: Relative, or from the root.
        kind: Message class.
        reliable: Whether the recorder asks for what it missed. Where the arm is commanded it does
            not: nobody waits for a recorder.
        said_once: Whether late joiners get it.
    """

    name: str
    kind: Any
    reliable: bool = False
    said_once: bool = False

    @property
    def profile(self) -> QoSProfile:
        """How it is subscribed to."""
        return QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if self.reliable
            else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if self.said_once
            else DurabilityPolicy.VOLATILE,
        )  # fmt: skip


COMMANDS = {
    'joint_trajectory': JointTrajectory,
    'joint_commands': Float64MultiArray,
    'joint_command': JointState,
    'twist_commands': TwistStamped,
    'pose_target': PoseStamped,
    'gripper_command': Float64MultiArray,
}
METADATA = Recorded(f'{NODE}/policy_metadata', String, reliable=True, said_once=True)
TOPICS = (
    Recorded('instruction', String),
    Recorded('joint_states', JointState),
    Recorded('robot_description', String, reliable=True, said_once=True),
    Recorded('estop', Bool),
    Recorded('enable', Bool),
    *(Recorded(name, kind) for name, kind in COMMANDS.items()),
    *(Recorded(f'{NODE}/shadow/{name}', kind) for name, kind in COMMANDS.items()),
    METADATA,
    Recorded(f'{NODE}/state', String, reliable=True, said_once=True),
    Recorded(f'{NODE}/{PASS_TOPIC}', String, reliable=True),
    Recorded(f'{NODE}/label', String, reliable=True),
    Recorded(f'{NODE}/action_chunk', JointTrajectory),
    Recorded(f'{NODE}/chunk_info', DiagnosticStatus),
    Recorded(f'{NODE}/path', PoseArray),
    Recorded(f'{NODE}/continuity', Float64),
    Recorded(f'{NODE}/skip_ratio', Float64),
    Recorded(f'{NODE}/skip_ratio_pass', Float64),
    *(
        Recorded(f'{NODE}/{name}', Float64)
        for name in ('layers_run', 'inference_ms', 'command_rate_hz')
    ),
    Recorded(f'{NODE}/stage_ms', Float64MultiArray),
    Recorded('sim_arm/episode', DiagnosticStatus),
    Recorded('/diagnostics', DiagnosticArray),
)
TYPES = {
    type_name(kind): kind
    for kind in (
        *COMMANDS.values(), Bool, DiagnosticArray, DiagnosticStatus, Float64, PoseArray, String,
        WrenchStamped,
    )
}  # fmt: skip


def further(entries: tuple[str, ...]) -> tuple[Recorded, ...]:
    """More topics: of several arms, or a user's own.

    Args:
        entries: ``NAME=TYPE`` each, ``/wrench=geometry_msgs/msg/WrenchStamped``.

    Raises:
        ConfigError: Not written so, or of a type that the recorder does not know.
    """
    found = []
    for entry in entries:
        name, equals, kind = entry.partition('=')
        if not name or not equals or kind not in TYPES:
            known = ', '.join(sorted(TYPES))
            raise ConfigError('topics', entry, f'NAME=TYPE, with one of {known}')
        found.append(Recorded(name, TYPES[kind]))
    return tuple(found)
