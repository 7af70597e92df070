"""The values that cross module borders: frozen, with shape and unit beside each field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.errors import EngineError, KinematicsError

FloatArray = NDArray[np.float64]
ImageArray = NDArray[np.uint8]

ActionSpace = Literal['joint_position', 'joint_delta', 'eef_delta', 'eef_pose']
ACTION_SPACES: tuple[ActionSpace, ...] = (
    'joint_position',
    'joint_delta',
    'eef_delta',
    'eef_pose',
)
COMMAND_TOPICS = {
    'joint_trajectory': 'joint_trajectory',
    'joint_commands': 'joint_commands',
    'joint_state': 'joint_command',
    'twist': 'twist_commands',
    'pose': 'pose_target',
}
"""``command_type`` -> the topic it goes to."""
SkipMode = Literal['auto', 'full', 'max_skip', 'fixed', 'by_instruction', 'compare']
SKIP_MODES: tuple[SkipMode, ...] = get_args(SkipMode)
PassMode = Literal['full', 'skipped', 'rerun']
Fit = Literal['squash', 'crop', 'pad']
"""How a picture of another shape is brought in."""
FITS: tuple[Fit, ...] = get_args(Fit)


def plain_words(instruction: str) -> str:
    """An instruction in lower case, with single blanks: what two spellings have in common."""
    return ' '.join(instruction.lower().split())


def frozen_array(values: Any, dtype: Any = np.float64) -> NDArray[Any]:
    """Return a read-only copy of ``values``: shared arrays cannot be changed by accident."""
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class Observation:
    """What the policy sees at one instant.

    Attributes:
        stamp: When the newest camera image was taken, on the loop's clock [s].
        images: Camera name -> RGB image, shape (height, width, 3), uint8.
        joints: Measured joint positions in the bundle's joint order, shape (n,) [rad or m].
        gripper: Measured opening, 0.0 closed .. 1.0 open; None when the arm has no gripper.
        instruction: What to do, as the user wrote it.
        seen: Camera name -> what a model saw of it, turned, cropped and resized already, shape
            (height, width, 3), 0 to 255: of recordings, in place of ``images``.
    """

    stamp: float
    images: Mapping[str, ImageArray]
    joints: FloatArray
    gripper: float | None
    instruction: str
    seen: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


MotionSince = tuple[FloatArray | None, ...]
"""What a skip policy heard since it was last asked: executed displacements, shape (action_dim,)
each, and None where it forgot the motion."""
SKIP_THRESHOLD = 0.5
"""tau, unless a plan says otherwise."""


@dataclass(frozen=True)
class SkipPlan:
    """Which layers a pass *may* skip.

    Attributes:
        allow: One allow point per segment, in depth order; controllers of dynamic layers
            before it are not evaluated. ``allow[i] == end of segment i`` keeps it dense.
        controllers: ``'live'`` obeys the scores; ``'closed'`` evaluates them and never jumps
            (measures their overhead); ``'open'`` jumps at the allow point without asking.
        threshold: tau: a live controller opens iff its score is greater.
        exit_layer: A fixed exit: the state entering this layer goes straight to the last one, no
            controller is asked and no adapter used; ``allow`` says nothing then. None: no exit.
        since: What moved the allow points since the last look, for those who record it.
    """

    allow: tuple[int, ...]
    controllers: Literal['live', 'closed', 'open'] = 'live'
    threshold: float = SKIP_THRESHOLD
    exit_layer: int | None = None
    since: MotionSince = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class LayerLayout:
    """Depth of the backbone and its split into static layers and segments.

    Attributes:
        layers_total: Number of decoder layers.
        static_layers: Layers that always run, ascending; the first and the last among them.
    """

    layers_total: int
    static_layers: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that every dynamic layer has a static layer on both sides."""
        static = self.static_layers
        if self.layers_total < 1:
            raise EngineError(f'layers_total = {self.layers_total}: expected at least 1')
        if list(static) != sorted(set(static)):
            raise EngineError(f'static_layers = {static}: expected ascending, no repeats')
        if not static or static[0] != 0 or static[-1] != self.layers_total - 1:
            raise EngineError(
                f'static_layers = {static}: expected to begin with 0 and to end with '
                f'{self.layers_total - 1}, so that each dynamic layer lies between two static'
            )

    @property
    def segments(self) -> tuple[tuple[int, int], ...]:
        """(first layer, end) of each segment, ``end`` being the next static layer.

        A segment between two neighbouring static layers is empty: ``first == end``.
        """
        pairs = zip(self.static_layers[:-1], self.static_layers[1:], strict=True)
        return tuple((left + 1, right) for left, right in pairs)

    @property
    def dynamic_layers(self) -> tuple[int, ...]:
        """Layers that may be skipped, ascending."""
        return tuple(layer for first, end in self.segments for layer in range(first, end))

    def full_plan(self) -> SkipPlan:
        """The plan that runs every layer and evaluates no controller."""
        return SkipPlan(allow=tuple(end for _, end in self.segments))

    def exit_plan(self, exit_layer: int) -> SkipPlan:
        """The plan that runs layers 0 to ``exit_layer - 1``, then the last one."""
        return SkipPlan(self.full_plan().allow, exit_layer=exit_layer)

    @property
    def exit_layers(self) -> range:
        """Where a pass may leave for the last layer; empty where nothing lies between."""
        return range(1, self.layers_total - 1)

    def open_plan(self) -> SkipPlan:
        """The plan in which every controller is live."""
        return SkipPlan(allow=tuple(first for first, _ in self.segments))

    def watched_plan(self) -> SkipPlan:
        """The plan that evaluates every controller and obeys none."""
        return SkipPlan(self.open_plan().allow, 'closed')


@dataclass(frozen=True)
class Jump:
    """One taken jump: from the state entering ``layer`` to the static layer ``target``."""

    layer: int
    target: int


@dataclass(frozen=True)
class LayerTrace:
    """Which layers a pass *did* run.

    Attributes:
        layers_run: Executed layers in order; a resumed re-run lists only what it executed.
        layers_total: Depth of the backbone.
        scores: Dynamic layer -> skip score in [0, 1], for every controller evaluated.
        jumps: The jumps taken, at most one per segment, or the one of a fixed exit.
        resume_layer: Where a re-run may start, i.e. the layer of the first jump; None when
            nothing was skipped, and after a fixed exit, which is not verified.
        resume_state: Engine-owned copy of the hidden state entering ``resume_layer``.
    """

    layers_run: tuple[int, ...]
    layers_total: int
    scores: Mapping[int, float] = field(default_factory=dict)
    jumps: tuple[Jump, ...] = ()
    resume_layer: int | None = None
    resume_state: object | None = field(default=None, repr=False, compare=False)

    @property
    def skip_ratio(self) -> float:
        """Layers not run / all layers, of this pass alone."""
        return 1.0 - len(self.layers_run) / self.layers_total

    @property
    def layer_mask(self) -> str:
        """One character per layer, ``1`` where it ran: ``'110000111'``."""
        ran = set(self.layers_run)
        return ''.join('1' if layer in ran else '0' for layer in range(self.layers_total))


@dataclass(frozen=True)
class ActionChunk:
    """A chunk of predicted actions.

    Attributes:
        chunk_id: Counts up from 0 within one process.
        epoch: The control loop's epoch when the pass began; an older one is dropped.
        stamp: Time of the observation it was predicted from [s].
        actions: In physical units of the action space, shape (action_horizon, action_dim).
        displacements: The same chunk as per-step displacements in the model's normalised
            space, shape (action_horizon, action_dim): what continuity is computed from.
        instruction: The instruction it was predicted for.
        mode: ``full``, ``skipped``, or ``rerun`` for the full pass after a skipped one.
        trace: Layers run, of the pass (for a re-run: of the re-run alone).
        stage_seconds: Seconds by stage: preprocess, encode, backbone, decode.
    """

    chunk_id: int
    epoch: int
    stamp: float
    actions: FloatArray
    displacements: FloatArray
    instruction: str
    mode: PassMode
    trace: LayerTrace
    stage_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """What the arm receives at one tick.

    Attributes:
        stamp: Time of the tick [s].
        positions: Joint positions (n,) [rad], or a pose (x, y, z [m], rotation vector [rad]).
        velocities: Their time derivative, shape (n,) [rad/s, m/s].
        gripper: Opening to command, 0.0 .. 1.0; None to leave the gripper alone.
        hold: True when the command repeats a resting target instead of playing an action.
        reason: Why it holds or was limited; empty while an action plays unchanged.
        action_index: Index of the action being played in its chunk; -1 while holding.
        limited: Which limits changed the command, e.g. ``('velocity:elbow_joint',)``.
        window_times: Seconds after ``stamp`` of the look-ahead points, shape (k,).
        window_positions: Look-ahead with braking tail, shape (k, n); last row is at rest.
        window_velocities: Shape (k, n); last row is zero.
        more_grippers: Openings of further arms, in their order.
        armed: Whether it moves the arm; otherwise it goes to the shadow topics.
    """

    stamp: float
    positions: FloatArray
    velocities: FloatArray
    gripper: float | None
    hold: bool
    reason: str
    action_index: int
    limited: tuple[str, ...]
    window_times: FloatArray
    window_positions: FloatArray
    window_velocities: FloatArray
    more_grippers: tuple[float, ...] = ()
    armed: bool = True


@dataclass(frozen=True)
class JointLimits:
    """What the robot description allows, in the order of ``names``.

    Attributes:
        names: Joint names.
        lower: Lowest position, shape (n,) [rad or m]; minus infinity for a continuous joint.
        upper: Highest position, shape (n,).
        velocity: Largest speed, shape (n,) [rad/s or m/s], more than 0.
        units: ``rad`` or ``m`` per joint; empty = all ``rad``.
    """

    names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    velocity: FloatArray
    units: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Freeze the arrays; refuse a joint that cannot move, naming it."""
        object.__setattr__(self, 'units', self.units or ('rad',) * len(self.names))
        for part in ('lower', 'upper', 'velocity'):
            object.__setattr__(self, part, frozen_array(getattr(self, part)))
        for index, name in enumerate(self.names):
            if not self.lower[index] < self.upper[index]:
                raise KinematicsError(
                    f'joint {name}: limits {self.lower[index]:g} to {self.upper[index]:g}: '
                    'expected lower < upper in robot_description'
                )
            if not self.velocity[index] > 0:
                raise KinematicsError(
                    f'joint {name}: velocity limit {self.velocity[index]:g}: expected more than 0 '
                    'in robot_description'
                )
