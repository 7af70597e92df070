"""One episode in closed loop: the robot's own control loop, the simulated arm, no ROS.

Time is the simulation's. A pass takes as long as ``Latency`` says: while it runs, the arm goes on
moving, exactly as on a robot whose policy is that slow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from dysl_vla_ros.bundle.manifest import ActionSpec
from dysl_vla_ros.collision import ArmCollision
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.core.gripper_filter import GripperFilter
from dysl_vla_ros.core.run_state import InputStatus
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import Command, FloatArray, ImageArray, Observation
from dysl_vla_ros.errors import InputError, LinkError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.lab.evaluation.link_weather import WeatherLink
from dysl_vla_ros.lab.evaluation.smoothness import AT_REST, smoothness
from dysl_vla_ros.lab.evaluation.tally import Tally
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import Pass, Policy
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.goals import Family, Split
from dysl_vla_ros.sim.observer import PHASES
from dysl_vla_ros.sim.request import find_episode
from dysl_vla_ros.sim.robot_description import urdf
from dysl_vla_ros.sim.world import World

_READY = InputStatus(True)
SUCCESS_HELD_S = 0.5
"""An episode ends once its success has lasted this long."""
_MAX_CALLS = 3
_RETRY_S = 0.1
"""As the node's worker, after a request without an answer."""

ImageFilter = Callable[[str, ImageArray], ImageArray]


@dataclass(frozen=True)
class EpisodeSpec:
    """Which episode to run; the same spec gives the same layout.

    Attributes:
        seed: Of the layout.
        family: Of the goal.
        split: Phrasings and objects.
        instruction: Replaces what the policy is told, not the goal; '' = the episode's own.
        time_limit: Longest episode [s].
        request: What a person asks for: the first layout from ``seed`` on that holds it, and its
            goal, whatever ``family`` and ``split`` say; '' = the seed's own.
    """

    seed: int
    family: Family
    split: Split = 'train'
    instruction: str = ''
    time_limit: float = 30.0
    request: str = ''


@dataclass(frozen=True)
class SeenState:
    """A state in which every exit was tried.

    Attributes:
        phase: What the arm was doing.
        distance: To the goal of the moment [m].
        errors: Per exit layer from 1 on, the root mean square of the difference to dense.
    """

    phase: str
    distance: float
    errors: tuple[float, ...]


@dataclass(frozen=True)
class EpisodeResult:
    """What happened in one episode.

    Attributes:
        spec: The episode.
        instruction: What the policy was told.
        success: Judged by the simulator from the final state.
        seconds: Simulated duration [s].
        actions: Actions played.
        chunks: Accepted chunks.
        reruns: Passes run again in full.
        layers_run: Layers executed, re-runs included, all passes.
        controllers: Controllers evaluated, all passes.
        layers_total: Depth of the backbone.
        static_layers: How many of them always run.
        phase_layers: Phase -> (layers executed, accepted chunks) of passes observed in it.
        pass_seconds: Wall time of each accepted chunk's passes, re-runs included [s].
        backbone_seconds: The backbone's part of them [s]; none where nobody told it.
        holds: Commands that held while running.
        commands: Commands while running; of an arm without the control loop, action periods, with
            those in which it had no target, which are its ``holds``.
        limited: Commands changed by a limit.
        depth_trace: (time [s], layers executed for the chunk, continuity, phase) per chunk.
        refused: Why the policy does not take the instruction: the arm never moved, as a robot
            would not, and the episode is lost.
        seen: What the exits of its passes would have done, where they were tried.
        lost: Requests to a policy server that got no answer.
        unsafe: Commands whose window leaves the limits of position or speed.
        resting: Whether the arm stood still at the end.
        longest_still_s: Longest time without motion between two motions.
        jerk_rms: Of the measured joint that jerked most [rad/s^3].
        jerk_peak: Largest of any measured joint [rad/s^3].
        way: Length of the measured path through the space of all joints [rad].
    """

    spec: EpisodeSpec
    instruction: str
    success: bool
    seconds: float
    actions: int
    chunks: int
    reruns: int
    layers_run: int
    controllers: int
    layers_total: int
    static_layers: int
    phase_layers: dict[str, tuple[int, int]]
    pass_seconds: tuple[float, ...]
    backbone_seconds: tuple[float, ...]
    holds: int
    commands: int
    limited: int
    depth_trace: tuple[tuple[float, int, float | None, str], ...] = ()
    refused: str = ''
    seen: tuple[SeenState, ...] = ()
    lost: int = 0
    unsafe: int = 0
    resting: bool = False
    longest_still_s: float = 0.0
    jerk_rms: float = 0.0
    jerk_peak: float = 0.0
    way: float = 0.0


@dataclass
class _Noted:
    cost: Tally = field(default_factory=Tally)
    unsafe: int = 0
    phase_layers: dict[str, list[int]] = field(default_factory=lambda: {p: [0, 0] for p in PHASES})
    trace: list[tuple[float, int, float | None, str]] = field(default_factory=list)


@dataclass
class _InFlight:
    """A pass whose result exists but has not arrived yet, in simulated time.

    Where a policy server did not answer there is no result, but a problem.
    """

    epoch: int
    result: Pass | None
    arrives: float
    seconds: float
    backbone: float
    layers: int
    controllers: int
    phase: str
    began: float
    problem: str = ''


def arm_limits(config: NodeConfig) -> MotionLimits:
    """The simulated arm's limits, tightened by the parameters."""
    margin = config.safety.position_margin
    return MotionLimits(
        names=arm.JOINT_NAMES,
        lower=np.array([joint.lower + margin for joint in arm.JOINTS]),
        upper=np.array([joint.upper - margin for joint in arm.JOINTS]),
        velocity=np.array([joint.velocity for joint in arm.JOINTS]) * config.safety.velocity_scale,
        acceleration=np.full(len(arm.JOINTS), config.safety.acceleration),
        max_lead=np.full(len(arm.JOINTS), config.safety.max_lead),
        rated=np.array([joint.velocity for joint in arm.JOINTS]),
    )


def arm_planner(action: ActionSpec, config: NodeConfig) -> MotionPlanner:
    """What turns a bundle's actions into joint targets of the simulated arm."""
    description, safety = urdf(), config.safety
    kinematics = ArmKinematics(description, arm.JOINT_NAMES, action.tip_link, action.frame_id)
    collision = ArmCollision(
        description, arm.JOINT_NAMES, action.frame_id, safety.planes, safety.self_collision
    )
    return MotionPlanner(action, arm_limits(config), kinematics, collision=collision)


def run_episode(
    world: World,
    policy: Policy,
    planner: MotionPlanner,
    config: NodeConfig,
    spec: EpisodeSpec,
    *,
    latency: float | None = None,
    image_filter: ImageFilter | None = None,
    on_delivery: Callable[[Delivery], None] | None = None,
    link: WeatherLink | None = None,
    due: Callable[[float], bool] | None = None,
) -> EpisodeResult:
    """Run one episode to success or to its time limit.

    Args:
        world: Reused between episodes; reset here.
        policy: Opened and warmed up.
        planner: Of the same bundle.
        config: Parameters of the control loop.
        spec: Seed, family, split, and an instruction that replaces the episode's.
        latency: Seconds that every pass takes in simulated time; None takes what it measured.
        image_filter: Changes each image before the policy sees it (blank images, say).
        on_delivery: Told what became of every pass: for recordings.
        link: To the policy's server, where it has one.
        due: Whether a pass that the loop would want may begin at a time; None: every one.
    """
    if spec.request:
        episode = world.lay_out(find_episode(spec.request, spec.seed))
    else:
        episode = world.reset(spec.seed, spec.family, spec.split)
    instruction = spec.instruction or episode.instruction
    refused = _refusal(policy, instruction)
    config = with_bundle(config, policy.manifest)
    limits = arm_limits(config)
    loop = ControlLoop(policy, config, limits, planner, armed=True)
    gripper = GripperFilter(config.gripper)
    tick = 1.0 / config.timing.command_rate_hz
    noted, pending, succeeded_at, retry = _Noted(), None, None, 0.0
    path = [world.joint_positions]
    loop.tick(world.time, world.joint_positions, _READY)
    loop.start(world.time)
    while world.time < spec.time_limit and not refused:
        now = world.time
        command = loop.tick(now, world.joint_positions, _READY)
        if command is not None:
            noted.unsafe += not within(command, limits)
            world.command_trajectory(
                command.window_times, command.window_positions, command.window_velocities
            )
            opening = gripper.update(command.gripper, not command.hold, now)
            if opening is not None:
                world.command_gripper(opening)
        for _ in range(_MAX_CALLS):
            may = pending is None and now >= retry and (due is None or due(now))
            if may and loop.wants_pass(now):
                observation = _observe(world, policy, instruction, image_filter)
                pending = _begin(loop, observation, world.phase(), latency, link)
            if pending is None or pending.arrives > now:
                break
            if pending.problem:
                loop.abandon(pending.problem)
                pending, retry = None, now + _RETRY_S
                break
            pending = _arrive(loop, pending, noted, latency, on_delivery, link)
        world.advance(tick)
        path.append(world.joint_positions)
        succeeded_at = (succeeded_at or world.time) if world.success() else None
        if succeeded_at is not None and world.time - succeeded_at >= SUCCESS_HELD_S:
            break
        if loop.state in ('e-stop', 'fault'):
            break
    if loop.state in ('e-stop', 'fault'):  # it brakes along its path: until then it moves
        speed = _brake(loop, world, limits, tick, noted)
    else:
        speed = last_speed(path, tick)
    status = loop.status()
    return EpisodeResult(
        spec=spec,
        instruction=instruction,
        success=world.success(),
        seconds=world.time,
        actions=status.actions_played,
        chunks=status.chunks,
        reruns=status.reruns,
        layers_run=noted.cost.layers,
        controllers=noted.cost.controllers,
        layers_total=policy.manifest.layers_total,
        static_layers=len(policy.manifest.static_layers),
        phase_layers={name: (a, b) for name, (a, b) in noted.phase_layers.items()},
        pass_seconds=tuple(noted.cost.pass_seconds),
        backbone_seconds=tuple(noted.cost.backbone_seconds),
        holds=status.holds,
        commands=status.commands,
        limited=status.limited,
        depth_trace=tuple(noted.trace),
        refused=refused,
        lost=0 if link is None else link.lost,
        unsafe=noted.unsafe,
        resting=speed < AT_REST,
        **asdict(smoothness(path, tick)),
    )


def within(command: Command, limits: MotionLimits) -> bool:
    """Whether a command's window keeps to the limits of position and speed."""
    return window_within(command.window_positions, command.window_velocities, limits)


def window_within(positions: FloatArray, velocities: FloatArray, limits: MotionLimits) -> bool:
    """Whether points, one a row, keep to the limits of position and speed."""
    slack = 1e-6
    speeds = np.abs(velocities)
    return bool(
        np.isfinite(positions).all()
        and (positions >= limits.lower - slack).all()
        and (positions <= limits.upper + slack).all()
        and (speeds <= limits.velocity * (1 + slack)).all()
    )


def _brake(
    loop: ControlLoop, world: World, limits: MotionLimits, tick: float, noted: _Noted
) -> float:
    """Let a latched loop come to rest; the speed that is left [rad/s]."""
    path = [world.joint_positions]
    for _ in range(int(1.0 / tick)):
        command = loop.tick(world.time, world.joint_positions, _READY)
        if command is not None:
            noted.unsafe += not within(command, limits)
            world.command_trajectory(
                command.window_times, command.window_positions, command.window_velocities
            )
        world.advance(tick)
        path.append(world.joint_positions)
    return last_speed(path, tick)


def last_speed(path: Sequence[FloatArray], tick: float) -> float:
    """Of the fastest joint between the last two ticks [rad/s]; 0 where there was one only."""
    two = path[-2:]
    return float(np.max(np.abs(two[-1] - two[0]))) / tick


def _refusal(policy: Policy, instruction: str) -> str:
    try:
        policy.tokens(instruction)
    except InputError as error:
        return str(error)
    return ''


def _observe(
    world: World, policy: Policy, instruction: str, image_filter: ImageFilter | None
) -> Observation:
    images = {}
    for camera in policy.manifest.cameras:
        image = world.render(camera.name, camera.height)
        images[camera.name] = image if image_filter is None else image_filter(camera.name, image)
    return Observation(
        stamp=world.time,
        images=images,
        joints=world.joint_positions,
        gripper=world.gripper_opening,
        instruction=instruction,
    )


def _begin(
    loop: ControlLoop, observation: Observation, phase: str, latency: float | None,
    link: WeatherLink | None,
) -> _InFlight:  # fmt: skip
    began, epoch, result, problem = time.perf_counter(), 0, None, ''
    try:
        epoch, result = loop.predict(observation)
    except LinkError as error:
        problem = str(error)
    seconds = time.perf_counter() - began
    taken = (seconds if latency is None else latency) + (0.0 if link is None else link.take())
    return _InFlight(
        epoch=epoch,
        result=result,
        arrives=observation.stamp + taken,
        seconds=seconds,
        backbone=0.0 if result is None else result.stage_seconds.get('backbone', 0.0),
        layers=0 if result is None else len(result.trace.layers_run),
        controllers=0 if result is None else len(result.trace.scores),
        phase=phase,
        began=observation.stamp,
        problem=problem,
    )


def _arrive(
    loop: ControlLoop, pending: _InFlight, noted: _Noted, latency: float | None,
    on_delivery: Callable[[Delivery], None] | None, link: WeatherLink | None,
) -> _InFlight | None:  # fmt: skip
    assert pending.result is not None
    delivery = loop.deliver(pending.epoch, pending.result, pending.arrives)
    if on_delivery is not None:
        on_delivery(delivery)
    if not delivery.rerun:
        _count(pending, delivery, noted)
        return None
    began = time.perf_counter()
    result = loop.rerun(pending.result)
    seconds = time.perf_counter() - began
    taken = (seconds if latency is None else latency) + (0.0 if link is None else link.take())
    return _InFlight(
        epoch=pending.epoch,
        result=result,
        arrives=pending.arrives + taken,
        seconds=pending.seconds + seconds,
        backbone=pending.backbone + result.stage_seconds.get('backbone', 0.0),
        layers=pending.layers + len(result.trace.layers_run),
        controllers=pending.controllers,
        phase=pending.phase,
        began=pending.began,
    )


def _count(pending: _InFlight, delivery: Delivery, noted: _Noted) -> None:
    noted.cost.spent(pending.layers, pending.controllers)
    if not delivery.accepted:
        return
    noted.cost.accepted(pending.seconds, pending.backbone)
    entry = noted.phase_layers[pending.phase]
    entry[0] += pending.layers
    entry[1] += 1
    first = delivery.continuity[0] if delivery.continuity else None
    noted.trace.append((pending.began, pending.layers, first, pending.phase))
