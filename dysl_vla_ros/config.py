"""Every parameter of the node: one frozen, validated dataclass per area.

The field is the only place where a default, a range and a description stand. The ROS node
declares its parameters from here (``parameters()``), and the same flat YAML that the node
takes is read without ROS (``node_parameters.load_yaml``).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

from dysl_vla_ros.camera_entries import fits, regions
from dysl_vla_ros.data_types import ACTION_SPACES, COMMAND_TOPICS, SKIP_MODES
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.ros_names import is_topic

_SHORTEST_NORMAL = 1e-6


def _parameter(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    dynamic: bool = False,
    key: str = '',
) -> Any:
    """A dataclass field that is also a ROS parameter.

    Args:
        default: The one default; ``0``, ``''`` or ``()`` mean "the bundle's" where text says so.
        text: Description, with the unit.
        low: Smallest legal number, inclusive.
        high: Largest legal number, inclusive.
        choices: Legal strings; ``...:NAME`` takes any name.
        dynamic: Whether it may change while the node is active.
        key: Full parameter name where it is not ``<group prefix><field name>``.
    """
    metadata = {
        'text': text, 'low': low, 'high': high, 'choices': choices, 'dynamic': dynamic, 'key': key,
    }  # fmt: skip
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class EngineConfig:
    """Which bundle runs, and where."""

    path: str = _parameter('', 'Folder of the bundle, "fake", or empty for the bundled model')
    backend: str = _parameter(
        'auto',
        'Back end; auto = TensorRT when plans were built (an error if they do not fit this GPU), '
        'cuda when only its pieces were, else ONNX Runtime; remote = a policy server; '
        'package:NAME = an engine that another package brings',
        choices=('auto', 'onnxruntime', 'tensorrt', 'cuda', 'fake', 'remote', 'package:NAME'),
    )
    plans: str = _parameter(
        '', 'Folder of compiled plans, as given to dysl build; empty = plans/ in the bundle'
    )
    warmup_runs: int = _parameter(
        3, 'Passes run at configure, before the first is timed', low=0, high=100
    )
    threads: int = _parameter(1, 'CPU threads of ONNX Runtime', low=1, high=64)
    in_process: bool = _parameter(
        False,
        'Run the model inside the node, to debug it: a crash or a hang of it is then one of the '
        'node',
    )
    pass_timeout_s: float = _parameter(
        5.0, "A pass without an answer for this long: the model's process is killed [s]",
        low=0.05, high=600,
    )  # fmt: skip
    restarts: int = _parameter(
        3, "Restarts of the model's process within 10 minutes; beyond them a fault",
        low=0, high=100,
    )  # fmt: skip
    remote_url: str = _parameter(
        '', 'Policy server of the back end remote, or of rerun.where = remote: ws://host:port or '
        'wss:// for TLS', key='remote.url',
    )  # fmt: skip
    remote_contract: str = _parameter(
        '', 'What that server reads and answers: a YAML file, or the folder of a bundle; empty = '
        "engine.path's bundle", key='remote.contract',
    )  # fmt: skip
    remote_deadline_s: float = _parameter(
        1.0, 'Longest time for one request to it; then the arm holds and the connection is made '
        'anew [s]', low=0.05, high=60, key='remote.deadline_s',
    )  # fmt: skip
    remote_open_timeout_s: float = _parameter(
        60.0, 'Longest time for its first answer, at configure: some compile their model then [s]',
        low=0.1, high=280, key='remote.open_timeout_s',
    )  # fmt: skip
    remote_max_message_mb: int = _parameter(
        16, 'Largest message to or from it [MB]', low=1, high=64, key='remote.max_message_mb'
    )
    remote_token_file: str = _parameter(
        '', "File with the token that it asks for (openpi's api_key); empty = none",
        key='remote.token_file',
    )  # fmt: skip
    remote_ca_file: str = _parameter(
        '', "File of certificates that a wss:// server may be signed by; empty = the system's",
        key='remote.ca_file',
    )  # fmt: skip
    rerun_where: str = _parameter(
        'local', 'Where a skipped pass is run again in full: on this machine, or by the policy '
        'server, and here only while that is away', choices=('local', 'remote'), key='rerun.where',
    )  # fmt: skip
    rerun_deadline_s: float = _parameter(
        0.4, 'With rerun.where = remote: after this long without an answer the full pass runs '
        'here [s]', low=0.05, high=10, key='rerun.deadline_s',
    )  # fmt: skip


@dataclass(frozen=True)
class TimingConfig:
    """Rates of the two loops."""

    command_rate_hz: float = _parameter(30.0, 'Commands sent to the arm [Hz]', low=20, high=500)
    action_period_s: float = _parameter(
        0.0, 'How long one action lasts [s]; 0 = from the bundle', low=0, high=1
    )
    request_threshold: float = _parameter(
        0.5, 'Ask for a pass when this share of the chunk is left', low=0.05, high=1
    )
    realtime: bool = _parameter(
        True,
        'Run the command thread with SCHED_FIFO and keep the memory from being paged out, where '
        'the system allows it',
        key='command_thread.realtime',
    )


@dataclass(frozen=True)
class ChunkConfig:
    """How chunks become motion."""

    strategy: str = _parameter(
        'async',
        'async: infer while moving; sync: infer when the chunk has been played, holding meanwhile',
        choices=('async', 'sync'),
        key='chunk.strategy',
    )
    command_window_s: float = _parameter(
        0.2, 'Look-ahead of each joint trajectory before its braking tail [s]', low=0.05, high=0.4
    )
    seam_method: str = _parameter(
        'hermite',
        'How the offset at a chunk seam fades: hermite (position and velocity), or none',
        choices=('hermite', 'none'),
        key='seam.method',
    )
    seam_fade_s: float = _parameter(
        0.2, 'Time in which a seam offset fades [s]', low=0, high=2, key='seam.fade_s'
    )
    max_time_stretch: float = _parameter(
        2.0, 'Slowest playback when passes are late, as a factor; beyond it the arm holds',
        low=1, high=10,
    )  # fmt: skip


@dataclass(frozen=True)
class SkipConfig:
    """When layers may be skipped (before a pass)."""

    mode: str = _parameter(
        '',
        'auto, full, max_skip, fixed (every pass leaves at skip.exit_layer), by_instruction '
        '(where the bundle says for the instruction), or compare (a full and an auto pass on one '
        "frame, commands from the full); empty = the bundle's",
        choices=(*SKIP_MODES, ''),
        dynamic=True,
    )
    exit_layer: int = _parameter(
        0, "Mode fixed: layers 0 to this less 1 run, then the last; 0 = the bundle's. Mode "
        'by_instruction: for words that the bundle does not name',
        low=0, high=998,
    )  # fmt: skip
    rule: str = _parameter(
        '',
        "ceil, level, or printed (ceil with the paper's sign, to compare with); empty = the "
        "bundle's",
        choices=('', 'ceil', 'level', 'printed'),
    )
    eta: float = _parameter(
        0.0, "Continuity change per layer of the ceil rule; 0 = the bundle's", low=0
    )
    tau: float = _parameter(
        0.5, 'A controller opens when its score is greater; lower skips more', low=0, high=1
    )
    expected_min: float = _parameter(0.0, 'WARN when the skip ratio falls below', low=0, high=1)
    expected_max: float = _parameter(1.0, 'WARN when the skip ratio rises above', low=0, high=1)
    window_chunks: int = _parameter(
        50, 'Chunks over which the skip ratio is averaged', low=1, high=10000
    )


@dataclass(frozen=True)
class ContinuityConfig:
    """How smoothness is measured; zero or empty takes the bundle's calibration."""

    window: int = _parameter(0, "k, steps averaged; 0 = the bundle's (5)", low=0, high=100)
    threshold: float = _parameter(
        0.0, "Fall of continuity that counts as a drop; 0 = the bundle's", low=0
    )
    hysteresis: float = _parameter(
        0.0, "Rise above the drop level that ends it; 0 = the bundle's", low=0
    )
    weights: tuple[float, ...] = _parameter(
        (), "Weight per action dimension; empty = the bundle's"
    )


@dataclass(frozen=True)
class RerunConfig:
    """What happens when a skipped chunk turns out to contain a drop (after a pass)."""

    enabled: bool = _parameter(True, 'Run a skipped pass again in full when continuity drops')
    max_consecutive: int = _parameter(
        2, 'Re-runs in a row before passes stay full', low=1, high=100
    )
    prefix_policy: str = _parameter(
        'hold', 'While verifying: hold, or play the smooth prefix', choices=('hold', 'prefix')
    )
    stay_full_chunks: int = _parameter(
        1, 'Full passes after a critical phase ended', low=0, high=100
    )


@dataclass(frozen=True)
class InputConfig:
    """When an input is too old or does not fit."""

    image_timeout_s: float = _parameter(
        0.5, 'Camera silent for this long: stale [s]', low=0.05, high=10, key='timeout.image_s'
    )
    joint_states_timeout_s: float = _parameter(
        0.2, 'Joint states silent for this long: stale [s]',
        low=0.02, high=10, key='timeout.joint_states_s',
    )  # fmt: skip
    max_camera_skew_s: float = _parameter(
        0.1,
        'Largest difference between camera stamps [s]; beyond it earlier pictures are '
        'paired, then the arm holds',
        low=0.001,
        high=10,
    )
    max_observation_age_s: float = _parameter(
        1.0, 'Oldest observation a pass may use [s]', low=0.05, high=10
    )
    image_fit: tuple[str, ...] = _parameter(
        (), 'How a picture of another shape is brought in: squash, crop or pad, of every camera; '
        'or CAMERA=pad, of one; empty = as the bundle was trained', key='image.fit',
    )  # fmt: skip
    image_roi: tuple[str, ...] = _parameter(
        (), 'What of the picture is used: CAMERA=left,top,width,height as shares, like '
        'image=0.125,0,0.75,1; empty = all of it', key='image.roi',
    )  # fmt: skip
    image_transport: str = _parameter(
        'auto', 'Subscribe to raw pictures, to <camera>/compressed, or to what comes',
        choices=('auto', 'raw', 'compressed'), key='image.transport',
    )  # fmt: skip
    image_use_arrival_time: bool = _parameter(
        False, 'Take the time of arrival instead of the stamp: for cameras whose clock cannot be '
        'trusted', key='image.use_arrival_time',
    )  # fmt: skip
    image_expected_rate_hz: float = _parameter(
        0.0, 'Fewer pictures than 90 % of this are a warning [Hz]; 0 = only lost ones are',
        low=0, high=1000, key='image.expected_rate_hz',
    )  # fmt: skip


@dataclass(frozen=True)
class SafetyConfig:
    """Limits and stops. A software stop is not a safety-rated stop."""

    velocity_scale: float = _parameter(
        1.0, 'Share of the joint velocity limits that may be used', low=0.01, high=1,
        key='limits.velocity_scale', dynamic=True,
    )  # fmt: skip
    acceleration: float = _parameter(
        10.0, 'Joint acceleration, speeding up and braking [rad/s^2]', low=0.1, high=100,
        key='limits.acceleration',
    )  # fmt: skip
    accelerations: tuple[float, ...] = _parameter(
        (), 'Acceleration of each joint, in their order [rad/s^2 or m/s^2]; empty = '
        'limits.acceleration and limits.acceleration_m',
        key='limits.accelerations',
    )  # fmt: skip
    acceleration_m: float = _parameter(
        3.0, 'As limits.acceleration, of a joint that slides [m/s^2]', low=0.01, high=100,
        key='limits.acceleration_m',
    )  # fmt: skip
    lower: tuple[float, ...] = _parameter(
        (), "Lowest position of each joint [rad or m]; narrows the robot description's, or "
        'settles a joint without; the same number in lower and upper leaves a joint as described',
        key='limits.lower',
    )  # fmt: skip
    upper: tuple[float, ...] = _parameter(
        (), 'Highest position of each joint, beside limits.lower [rad or m]', key='limits.upper'
    )
    velocity: tuple[float, ...] = _parameter(
        (), "Speed of each joint, or one for all [rad/s or m/s]; narrows the robot description's, "
        'or settles a joint without',
        key='limits.velocity',
    )  # fmt: skip
    position_margin: float = _parameter(
        0.02, 'Distance kept from the joint limits [rad]', low=0, high=1,
        key='limits.position_margin',
    )  # fmt: skip
    position_margin_m: float = _parameter(
        0.001, 'Distance kept from the limits of a joint that slides [m]', low=0, high=1,
        key='limits.position_margin_m',
    )  # fmt: skip
    max_lead: float = _parameter(
        0.12, 'Largest distance of the command from the measured joint [rad]', low=0.01, high=3,
        key='limits.max_lead',
    )  # fmt: skip
    max_lead_m: float = _parameter(
        0.01, 'As limits.max_lead, of a joint that slides [m]', low=0.001, high=1,
        key='limits.max_lead_m',
    )  # fmt: skip
    start_max_jump_rad: float = _parameter(
        0.1,
        'An arm farther from its last command is not moved until ~/start [rad]',
        low=0.001,
        high=3,
    )
    start_max_jump_m: float = _parameter(
        0.01, 'As start_max_jump_rad, of a joint that slides [m]', low=0.0001, high=1
    )
    start_on_instruction: bool = _parameter(
        False, 'Start when an instruction arrives (set in simulation)'
    )
    armed: bool = _parameter(False, 'Armed from the start; otherwise commands go to ~/shadow')
    brake_s: float = _parameter(
        0.1, 'Time from rest to full playback speed, where the limits allow it [s]; with slow '
        'passes 0.2 is much smoother, and slower',
        low=0.02, high=1, key='stop.brake_s',
    )  # fmt: skip
    deadman_timeout_s: float = _parameter(
        0.0, '`enable` must be newer than this [s]; 0 = off', low=0, high=10
    )
    rest_s: float = _parameter(
        0.5, 'Every command window comes to rest by itself within this [s]', low=0.1, high=2,
        key='stop.rest_s',
    )  # fmt: skip
    follow_fault_s: float = _parameter(
        2.0, 'A command that waits for a blocked arm this long is a fault [s]', low=0.1, high=60
    )
    stamped: bool = _parameter(
        True, 'Stamp trajectories with their tick; false: stamp 0, begin on arrival',
        key='trajectory.stamped',
    )  # fmt: skip
    contact_effort: float = _parameter(
        0.0, 'Joint effort beyond which contact is a fault [N m or N]; 0 = off', low=0, high=1e4,
        key='contact.effort',
    )  # fmt: skip
    allow_other_commanders: bool = _parameter(
        False, 'Arm although somebody else publishes on the command topic'
    )
    simulator: str = _parameter(
        '', 'Node that simulates the arm: nothing is sent while another one publishes joints, or '
        'is new among those who receive commands; empty = a real arm',
    )  # fmt: skip
    starvation_hold_s: float = _parameter(
        0.5, 'Holding without a chunk for this long counts as starvation [s]', low=0, high=60
    )
    starvation_fault_s: float = _parameter(
        10.0, 'Holding without a chunk, or standing with actions left, for this long is a fault '
        '[s]', low=0.1, high=600,
    )  # fmt: skip
    workspace_min: tuple[float, ...] = _parameter(
        (), 'Lowest x, y, z of the tip in the base frame [m]; empty = off', key='workspace.min'
    )
    workspace_max: tuple[float, ...] = _parameter(
        (), 'Highest x, y, z of the tip in the base frame [m]; empty = off', key='workspace.max'
    )
    planes: tuple[float, ...] = _parameter(
        (), 'Planes that no link may pass, four numbers each: nx, ny, nz, d in the base frame '
        '[m]; links stay where n.x >= d; a table is [0.0, 0.0, 1.0, 0.0]; empty = off',
        key='workspace.planes',
    )  # fmt: skip
    self_collision: bool = _parameter(
        True, 'Refuse chunks that move the arm into itself', key='workspace.self_collision'
    )


@dataclass(frozen=True)
class SpeedConfig:
    """How fast the path is played: never where it leads, nor what the limits allow."""

    scale: float = _parameter(
        1.0, 'Share of the playback speed; 0 holds', low=0, high=1, dynamic=True
    )
    source: str = _parameter(
        'none',
        "Who tells the arm's speed override: controller_state (of the trajectory controller, with "
        'control_msgs), topic (std_msgs/Float64), or none',
        choices=('none', 'controller_state', 'topic'),
    )
    topic: str = _parameter(
        '', 'Where the factor comes; empty = controller_state beside the command topic'
    )
    unit: str = _parameter(
        'fraction', 'Of the factor on speed.topic', choices=('fraction', 'percent')
    )
    obeyed: bool = _parameter(
        True,
        'The trajectory controller runs its own clock at the factor, as '
        "joint_trajectory_controller and UR's scaled one do; false: playback alone is slowed",
    )


@dataclass(frozen=True)
class ActionConfig:
    """The action contract; empty takes the bundle's, and a contradiction is an error."""

    space: str = _parameter('', "Action space; empty = the bundle's", choices=('', *ACTION_SPACES))
    joint_names: tuple[str, ...] = _parameter((), "Joints of the arm, in the bundle's order")
    frame_id: str = _parameter(
        '', "Frame of end-effector actions, and of the workspace; empty = the bundle's"
    )
    tip_link: str = _parameter(
        '', "Link that end-effector actions move, and the workspace holds; empty = the bundle's"
    )
    orientation: str = _parameter(
        'full', 'Of the orientation in end-effector actions: full (needs six joints), nearest '
        '(the position, and as much of it as the joints reach), or free (the position alone)',
        choices=('full', 'nearest', 'free'),
    )  # fmt: skip
    scale: float = _parameter(1.0, 'Factor on every displacement', low=0.01, high=10)
    delta_reference: str = _parameter(
        '', 'Deltas add to the commanded or the measured pose; empty = the bundle\'s',
        choices=('', 'commanded', 'measured'),
    )  # fmt: skip
    command_type: str = _parameter(
        'joint_trajectory',
        'What is published to the arm',
        choices=tuple(COMMAND_TOPICS),
        key='command_type',
    )
    unsupported: str = _parameter(
        '', 'Why these parameters must not be used; not empty = the node refuses to start',
        key='unsupported',
    )  # fmt: skip


@dataclass(frozen=True)
class GripperConfig:
    """How the gripper is commanded."""

    interface: str = _parameter(
        'topic',
        'topic (gripper_command), joint (one more of the trajectory), forward (the last value of '
        'joint_commands), action (control_msgs), or none',
        choices=('topic', 'joint', 'forward', 'action', 'none'),
    )
    joint: str = _parameter('gripper_joint', 'Joint that measures the opening in joint_states')
    opening_source: str = _parameter(
        'measured',
        'Where the opening that the policy reads comes from: gripper.joint in joint_states, or, '
        'where nothing measures it, the opening commanded last (open before the first)',
        choices=('measured', 'commanded'),
    )
    action_name: str = _parameter(
        'gripper_command_action',
        "Name of the gripper's action (interface = action); relative to the node's namespace: "
        'Humble and Jazzy cannot remap it',
    )
    action_type: str = _parameter(
        'auto', "Of control_msgs; auto = what the action's server offers",
        choices=('auto', 'gripper_command', 'parallel_gripper_command'),
    )  # fmt: skip
    max_effort: float = _parameter(
        0.0, "Effort of an action's goals [N or N m]; 0 = none said, the server's own",
        low=0, high=1e4,
    )  # fmt: skip
    open_value: float = _parameter(1.0, 'Joint value when open')
    closed_value: float = _parameter(0.0, 'Joint value when closed')
    hysteresis: float = _parameter(
        0.1, 'Change of opening that makes a new command', low=0, high=1
    )
    stroke_s: float = _parameter(
        0.5, 'Shortest full stroke where the gripper is commanded as a joint: joint, forward [s]',
        low=0.02, high=10,
    )  # fmt: skip
    dwell_s: float = _parameter(0.2, 'Shortest time between two reversals [s]', low=0, high=5)
    timeout_s: float = _parameter(
        1.0,
        'Gripper silent in joint_states for this long: reported; its last value is used [s]; '
        '0 = never, for one that speaks only while it moves',
        low=0, high=60, key='timeout.gripper_s',
    )  # fmt: skip


@dataclass(frozen=True)
class ArmConfig:
    """One of several arms that one policy moves.

    Attributes:
        name: As in ``arms.names``.
        joint_names: Its joints, in the bundle's order.
        command_topic: Where its commands go.
        gripper: Its gripper.
    """

    name: str
    joint_names: tuple[str, ...] = _parameter((), "Joints of this arm, in the bundle's order")
    command_topic: str = _parameter(
        '', "Topic of this arm's commands: its controller's, relative to the namespace, or from /"
    )
    gripper: GripperConfig = field(default_factory=GripperConfig)


@dataclass(frozen=True)
class ArmsConfig:
    """Several arms under one policy; ``each`` has one entry per name, in their order."""

    names: tuple[str, ...] = _parameter(
        (),
        "Names of the arms that one policy moves, in the bundle's order; empty = one arm, of "
        'action.joint_names and gripper.*',
    )
    each: tuple[ArmConfig, ...] = ()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Of all arms, one after the other."""
        return tuple(joint for arm in self.each for joint in arm.joint_names)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Joints of each arm."""
        return tuple(len(arm.joint_names) for arm in self.each)


@dataclass(frozen=True)
class HomeConfig:
    """Where ``~/home`` leads."""

    positions: tuple[float, ...] = _parameter(
        (), 'Positions of the joints that ~/home moves to, in their order [rad or m]; empty = '
        'it is refused',
    )  # fmt: skip
    velocity_scale: float = _parameter(
        0.1, 'Share of the joint velocity limits on the way home, beside limits.velocity_scale',
        low=0.01, high=1,
    )  # fmt: skip


@dataclass(frozen=True)
class NodeConfig:
    """All areas together."""

    engine: EngineConfig = field(default_factory=EngineConfig)
    timing: TimingConfig = field(default_factory=TimingConfig)
    chunk: ChunkConfig = field(default_factory=ChunkConfig)
    skip: SkipConfig = field(default_factory=SkipConfig)
    continuity: ContinuityConfig = field(default_factory=ContinuityConfig)
    rerun: RerunConfig = field(default_factory=RerunConfig)
    inputs: InputConfig = field(default_factory=InputConfig)
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    action: ActionConfig = field(default_factory=ActionConfig)
    gripper: GripperConfig = field(default_factory=GripperConfig)
    arms: ArmsConfig = field(default_factory=ArmsConfig)
    home: HomeConfig = field(default_factory=HomeConfig)

    @property
    def grippers(self) -> tuple[GripperConfig, ...]:
        """One per arm."""
        return tuple(arm.gripper for arm in self.arms.each) or (self.gripper,)

    def __post_init__(self) -> None:
        """Check every value against its type, range and choices, then across fields."""
        for parameter in parameters(self.arms.names):
            parameter.check(value_of(self, parameter))
        chunk, safety = self.chunk, self.safety
        if len(safety.workspace_min) not in (0, 3):
            raise ConfigError('workspace.min', safety.workspace_min, '3 numbers or none')
        if len(safety.workspace_max) != len(safety.workspace_min):
            raise ConfigError(
                'workspace.max',
                safety.workspace_max,
                f'{len(safety.workspace_min)} numbers, as workspace.min has',
            )
        for low, high in zip(safety.workspace_min, safety.workspace_max, strict=True):
            if low >= high:
                raise ConfigError('workspace.min', low, f'less than workspace.max = {high}')
        planes = safety.planes
        if len(planes) % 4:
            raise ConfigError('workspace.planes', planes, 'four numbers per plane: nx, ny, nz, d')
        for start in range(0, len(planes), 4):
            if math.hypot(*planes[start : start + 3]) < _SHORTEST_NORMAL:
                raise ConfigError(
                    'workspace.planes', planes, f'a normal, not {planes[start : start + 3]}'
                )
        inputs = self.inputs
        fits(inputs.image_fit)
        regions(inputs.image_roi)
        if inputs.image_timeout_s > inputs.max_observation_age_s:
            raise ConfigError(
                'timeout.image_s', inputs.image_timeout_s,
                f'at most max_observation_age_s = {inputs.max_observation_age_s}: a camera that '
                'is gone would be told as a model that is slow',
            )  # fmt: skip
        if self.skip.expected_min > self.skip.expected_max:
            raise ConfigError(
                'skip.expected_min',
                self.skip.expected_min,
                f'at most skip.expected_max = {self.skip.expected_max}',
            )
        if safety.starvation_hold_s > safety.starvation_fault_s:
            raise ConfigError(
                'starvation_hold_s',
                safety.starvation_hold_s,
                f'at most starvation_fault_s = {safety.starvation_fault_s}',
            )
        if chunk.command_window_s < 1.0 / self.timing.command_rate_hz:
            raise ConfigError(
                'command_window_s',
                chunk.command_window_s,
                f'at least one command period, {1 / self.timing.command_rate_hz:g}',
            )
        if self.arms.names:
            _check_arms(self)
        else:
            _check_gripper(self.gripper, self.action.command_type, self.action.joint_names)
        _check_remote(self)
        continuity = self.continuity
        if 0 < continuity.threshold < continuity.hysteresis:
            raise ConfigError(
                'continuity.threshold', continuity.threshold,
                f'at least continuity.hysteresis = {continuity.hysteresis}',
            )  # fmt: skip
        speed = self.speed
        if speed.source == 'topic' and not speed.topic:
            raise ConfigError('speed.topic', '', "a topic, with speed.source = 'topic'")
        kind = self.action.command_type
        if speed.source == 'controller_state' and kind != 'joint_trajectory':
            raise ConfigError(
                'speed.source', speed.source,
                f"'topic' or 'none' with command_type = {kind!r}: only a trajectory controller "
                'publishes its state',
            )  # fmt: skip
        if self.action.unsupported:
            raise ConfigError(
                'unsupported', self.action.unsupported,
                "'': mend what it says in a params_file, and set unsupported: '' there",
            )  # fmt: skip
        if any(weight < 0 for weight in self.continuity.weights):
            raise ConfigError('continuity.weights', self.continuity.weights, 'no negative weight')


def _check_remote(config: NodeConfig) -> None:
    """Refuse what a policy server cannot be asked for, or would be killed for."""
    engine = config.engine
    remote = engine.backend == 'remote'
    if not remote and engine.rerun_where != 'remote':
        return
    if not engine.remote_url:
        why = "engine.backend = 'remote'" if remote else "rerun.where = 'remote'"
        raise ConfigError('remote.url', '', f"the policy server, 'ws://host:port', with {why}")
    name, deadline = 'remote.deadline_s', engine.remote_deadline_s
    if not remote:
        name, deadline = 'rerun.deadline_s', engine.rerun_deadline_s
    # Beyond it the model's process counts as hung, though it only waits for the server.
    if deadline >= engine.pass_timeout_s:
        raise ConfigError(name, deadline, f'less than engine.pass_timeout_s = '
                          f'{engine.pass_timeout_s:g}')  # fmt: skip
    if remote and engine.rerun_where == 'remote':
        raise ConfigError('rerun.where', 'remote', "'local' with engine.backend = 'remote': the "
                          'server decides what it skips')  # fmt: skip
    if remote and config.skip.mode == 'compare':
        raise ConfigError('skip.mode', 'compare', "another mode with engine.backend = 'remote': "
                          'a policy server makes one pass for one request')  # fmt: skip


CARRIES_GRIPPER = {
    'joint': ('joint_trajectory', 'joint_state'),
    'forward': ('joint_commands',),
}
"""``gripper.interface`` -> the command types whose messages have room for the gripper."""
_ARM_NAME = re.compile('[A-Za-z_][A-Za-z0-9_]*')
_OF_ONE_TIP = ('twist', 'pose')


def _check_gripper(
    gripper: GripperConfig, kind: str, joint_names: tuple[str, ...], where: str = 'gripper'
) -> None:
    """Refuse what would never reach the gripper, or would make it jump.

    Args:
        gripper: To be checked.
        kind: The command type.
        joint_names: Of its arm, and of all others beside it.
        where: What its parameters' names begin with.
    """
    if gripper.open_value == gripper.closed_value:
        raise ConfigError(
            f'{where}.open_value', gripper.open_value,
            f'another value than {where}.closed_value = {gripper.closed_value}',
        )  # fmt: skip
    interface = gripper.interface
    if kind not in CARRIES_GRIPPER.get(interface, (kind,)):
        fits = [repr(name) for name, kinds in CARRIES_GRIPPER.items() if kind in kinds]
        raise ConfigError(
            f'{where}.interface', interface,
            f"{', '.join([*fits, repr('topic'), repr('action')])} or 'none' with command_type = "
            f'{kind!r}: {interface!r} goes with {" or ".join(CARRIES_GRIPPER[interface])} alone, '
            'so that the gripper is never reached',
        )  # fmt: skip
    if interface in CARRIES_GRIPPER and gripper.joint in ('', *joint_names):
        raise ConfigError(
            f'{where}.joint', gripper.joint,
            f'the name of a joint that is none of the joint_names, as {where}.interface = '
            f'{interface!r} commands it beside them',
        )  # fmt: skip
    if interface in CARRIES_GRIPPER and gripper.opening_source != 'measured':
        raise ConfigError(
            f'{where}.opening_source', gripper.opening_source,
            f"'measured' with {where}.interface = {interface!r}: the first value commanded must "
            'be where the gripper is, or it jumps',
        )  # fmt: skip
    if interface == 'action' and not is_topic(gripper.action_name):
        raise ConfigError(
            f'{where}.action_name', gripper.action_name,
            "the name of an action, 'robotiq_gripper_controller/gripper_cmd'",
        )  # fmt: skip


def _check_arms(config: NodeConfig) -> None:
    """Refuse what several arms cannot share."""
    names, each = config.arms.names, config.arms.each
    if len(names) < 2 or len(set(names)) != len(names) or not all(map(_ARM_NAME.fullmatch, names)):
        raise ConfigError(
            'arms.names', names, 'two names or more, each once, of letters, digits and _; one '
            'arm is action.joint_names and gripper.*',
        )  # fmt: skip
    action, space = config.action, config.action.space
    if action.joint_names or config.gripper != GripperConfig(timeout_s=config.gripper.timeout_s):
        wrong = 'action.joint_names' if action.joint_names else 'gripper'
        value = action.joint_names or config.gripper.interface
        raise ConfigError(
            wrong, value, f'nothing with arms.names = {names}: each arm has its own, '
            f'arms.{names[0]}.{wrong.removeprefix("action.")}',
        )  # fmt: skip
    if space.startswith('eef') or action.command_type in _OF_ONE_TIP:
        wrong, value = ('action.space', space) if space else ('command_type', action.command_type)
        raise ConfigError(
            wrong, value, f'joints with arms.names = {names}: an end effector is one of one arm'
        )
    if config.safety.workspace_min:
        raise ConfigError(
            'workspace.min', config.safety.workspace_min,
            f'none with arms.names = {names}: the box holds one tip; planes hold every link',
        )  # fmt: skip
    speed = config.speed
    if speed.source == 'controller_state' or (speed.source == 'topic' and not speed.topic):
        raise ConfigError(
            'speed.source', speed.source,
            f"'none', or 'topic' with a speed.topic, with arms.names = {names}: each arm's "
            'controller has a state of its own, and one override must hold for all',
        )  # fmt: skip
    for arm in each:
        _check_arm(arm, action.command_type, config.arms.joint_names)
    for what, given in (
        ('joint_names', [joint for arm in each for joint in arm.joint_names]),
        ('command_topic', [arm.command_topic for arm in each]),
        ('gripper.joint', [arm.gripper.joint for arm in each if arm.gripper.interface != 'none']),
        ('gripper.action_name', [
            arm.gripper.action_name for arm in each if arm.gripper.interface == 'action'
        ]),
    ):  # fmt: skip
        twice = sorted({value for value in given if given.count(value) > 1})
        if twice:
            raise ConfigError(
                f'arms.{names[-1]}.{what}', twice[0], 'another one than the other arm has'
            )


def _check_arm(arm: ArmConfig, kind: str, joint_names: tuple[str, ...]) -> None:
    """Refuse what one of several arms lacks; its gripper is a joint of none of them."""
    where = f'arms.{arm.name}'
    if not arm.joint_names:
        raise ConfigError(f'{where}.joint_names', arm.joint_names, 'the joints of this arm')
    if not is_topic(arm.command_topic):
        raise ConfigError(
            f'{where}.command_topic', arm.command_topic,
            f"the name of a topic, '{arm.name}_arm/joint_trajectory'",
        )  # fmt: skip
    _check_gripper(arm.gripper, kind, joint_names, f'{where}.gripper')


_PREFIXES = {
    'engine': 'engine.', 'timing': '', 'chunk': '', 'skip': 'skip.', 'continuity': 'continuity.',
    'rerun': 'rerun.', 'inputs': '', 'safety': '', 'speed': 'speed.',
    'action': 'action.', 'gripper': 'gripper.', 'arms': 'arms.', 'home': 'home.',
}  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """One parameter as ROS and YAML see it.

    Attributes:
        name: Full name, ``'skip.mode'``.
        group: Attribute of ``NodeConfig``; ``arms.<name>`` and ``arms.<name>.gripper`` for one of
            several arms.
        field: Attribute of that group.
        kind: ``bool``, ``int``, ``float``, ``str`` or a tuple of one of them.
        default: Its default.
        text: Description with the unit.
        low: Smallest legal value.
        high: Largest legal value.
        choices: Legal strings; empty when free.
        dynamic: Whether it may change while the node is active.
    """

    name: str
    group: str
    field: str
    kind: Any
    default: Any
    text: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    dynamic: bool

    def check(self, value: Any) -> Any:
        """Return ``value`` in its exact type, or raise.

        Raises:
            ConfigError: Wrong type, out of range, not finite, or not one of the choices.
        """
        if self.kind in (tuple[float, ...], tuple[str, ...]):
            inner: Any = float if self.kind == tuple[float, ...] else str
            if isinstance(value, str) or not isinstance(value, (list, tuple)):
                raise ConfigError(self.name, value, f'a list of {inner.__name__}')
            return tuple(self._scalar(item, inner) for item in value)
        return self._scalar(value, self.kind)

    def _scalar(self, value: Any, kind: Any) -> Any:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ConfigError(self.name, value, f'a {kind.__name__}')
        if kind is float and not math.isfinite(value):
            raise ConfigError(self.name, value, 'a finite number')
        if kind in (int, float) and not self._within(value):
            raise ConfigError(self.name, value, self._range_text())
        if self.choices and not self._chosen(value):
            raise ConfigError(self.name, value, 'one of ' + ', '.join(map(repr, self.choices)))
        return value

    def _chosen(self, value: str) -> bool:
        stems = [text.removesuffix('NAME') for text in self.choices if text.endswith(':NAME')]
        return value in self.choices or any(
            value.startswith(stem) and value != stem for stem in stems
        )

    def _within(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (
            self.high is None or value <= self.high
        )

    def _range_text(self) -> str:
        if self.high is None:
            return f'at least {self.low:g}'
        return f'a number within [{self.low:g}, {self.high:g}]'


def parameters(arms: Sequence[str] = ()) -> tuple[Parameter, ...]:
    """Every parameter, group by group.

    Args:
        arms: Names of several arms, each with parameters of its own.
    """
    return _parameters(tuple(arms))


@functools.lru_cache(maxsize=16)
def _parameters(arms: tuple[str, ...]) -> tuple[Parameter, ...]:
    return tuple(_declared(arms))


def _declared(arms: tuple[str, ...]) -> Iterator[Parameter]:
    hints = get_type_hints(NodeConfig)
    for group in dataclasses.fields(NodeConfig):
        yield from _of(hints[group.name], group.name, _PREFIXES[group.name])
    for arm in arms:
        yield from _of(ArmConfig, f'arms.{arm}', f'arms.{arm}.')
        for parameter in _of(GripperConfig, f'arms.{arm}.gripper', f'arms.{arm}.gripper.'):
            if parameter.name.startswith('arms.'):  # timeout.gripper_s is every arm's
                yield parameter


def _of(area: Any, group: str, prefix: str) -> Iterator[Parameter]:
    hints = get_type_hints(area)
    for item in dataclasses.fields(area):
        meta = item.metadata
        if not meta:
            continue  # a part, not a parameter
        yield Parameter(
            name=meta['key'] or prefix + item.name,
            group=group,
            field=item.name,
            kind=hints[item.name],
            default=item.default,
            text=meta['text'],
            low=meta['low'],
            high=meta['high'],
            choices=meta['choices'],
            dynamic=meta['dynamic'],
        )


def value_of(config: NodeConfig, parameter: Parameter) -> Any:
    """The value of a parameter.

    Raises:
        ConfigError: It is of an arm that the configuration does not have.
    """
    area, _, arm = parameter.group.partition('.')
    if not arm:
        return getattr(getattr(config, area), parameter.field)
    name, _, part = arm.partition('.')
    found = next((item for item in config.arms.each if item.name == name), None)
    if found is None:
        raise ConfigError('arms.names', config.arms.names, f'one entry for each, {name!r} too')
    return getattr(found.gripper if part else found, parameter.field)


def from_flat(values: Mapping[str, Any], of_others: Container[str] = ()) -> NodeConfig:
    """Build the configuration from full parameter names.

    Args:
        values: ``{'skip.mode': 'full', ...}``; what is missing keeps its default.
        of_others: Names that may be another node's (section ``/**``): unknown, they are ignored,
            unless one of ours is so near that a limit would be lost to a slip of the pen.

    Raises:
        ConfigError: A key is unknown (the message names the nearest), or a value is wrong.
    """
    named = values.get('arms.names', ())
    arms = tuple(map(str, named)) if isinstance(named, (list, tuple)) else ()
    known = {parameter.name: parameter for parameter in parameters(arms)}
    grouped: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in known:
            if name in of_others and not is_slip(name):
                continue
            raise ConfigError(name, value, _nearest(name, tuple(known)))
        parameter = known[name]
        grouped.setdefault(parameter.group, {})[parameter.field] = parameter.check(value)
    hints = get_type_hints(NodeConfig)
    timeout = grouped.get('gripper', {}).get('timeout_s')
    shared = {} if timeout is None else {'timeout_s': timeout}
    each = []
    for arm in arms:
        gripper = GripperConfig(**shared, **grouped.pop(f'arms.{arm}.gripper', {}))
        each.append(ArmConfig(name=arm, gripper=gripper, **grouped.pop(f'arms.{arm}', {})))
    if each:
        grouped['arms']['each'] = tuple(each)
    return NodeConfig(**{group: hints[group](**fields) for group, fields in grouped.items()})


def changed(config: NodeConfig, values: Mapping[str, Any]) -> NodeConfig:
    """The configuration with some parameters changed; other names are none of its business.

    Args:
        config: As it is.
        values: Full parameter name -> value.

    Raises:
        ConfigError: A value is wrong, or contradicts another.
    """
    for parameter in parameters():
        if parameter.name in values:
            value = parameter.check(values[parameter.name])
            area = replace(getattr(config, parameter.group), **{parameter.field: value})
            config = replace(config, **{parameter.group: area})
    return config


NODE_ONLY: dict[str, tuple[bool | str, str]] = {
    'autostart': (False, 'Configure and activate at once, without a lifecycle manager'),
    'instruction': ('', 'First instruction; the topic replaces it'),
}
"""Of the ROS node alone, which the loop knows nothing of: name -> default and description."""


def of_the_node(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``NODE_ONLY`` among some parameters.

    Raises:
        ConfigError: One is of another type than its default.
    """
    own = {name: values[name] for name in NODE_ONLY if name in values}
    for name, value in own.items():
        kind = type(NODE_ONLY[name][0])
        if not isinstance(value, kind):
            raise ConfigError(name, value, f'a {kind.__name__}')
    return own


def markdown_table() -> str:
    """The parameter reference of the documentation, one row per parameter."""
    lines = ['| parameter | default | legal | meaning |', '| --- | --- | --- | --- |']
    for parameter in (*parameters(), *_of(ArmConfig, '', 'arms.<name>.')):
        if parameter.choices:
            legal = ', '.join(choice or '(empty)' for choice in parameter.choices)
        elif parameter.low is not None or parameter.high is not None:
            legal = f'{parameter.low:g} to {parameter.high:g}' if parameter.high is not None else (
                f'at least {parameter.low:g}')  # fmt: skip
        else:
            legal = ''
        text = parameter.text + (' (may change while active)' if parameter.dynamic else '')
        default = json.dumps(parameter.default)
        lines.append(
            f'| `{parameter.name}` | `{default}` | {legal} | {text} |'.replace('|  |', '| |')
        )
    lines += [f'| `{name}` | `{json.dumps(default)}` | | {text} |'
              for name, (default, text) in NODE_ONLY.items()]  # fmt: skip
    lines.append('| `arms.<name>.gripper.*` | | | As `gripper.*`, of this arm |')
    return '\n'.join(lines) + '\n'


def is_slip(name: str) -> bool:
    """Whether an unknown name was probably meant for one of the parameters."""
    known = [parameter.name for parameter in parameters()]
    group = name.split('.')[0] + '.'
    ours = '.' in name and any(other.startswith(group) for other in known)
    return bool(difflib.get_close_matches(name, known, n=1, cutoff=0.6 if ours else 0.8))


def _nearest(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f'a known parameter; did you mean {close[0]}?' if close else 'a known parameter'


if __name__ == '__main__':
    print(
        '# Parameters of `vla_node`\n\nWritten by `python -m dysl_vla_ros.config`. Those of '
        '`sim_arm`: [reference](reference.md#parameters-of-sim_arm).\n'
    )
    print(markdown_table(), end='')
