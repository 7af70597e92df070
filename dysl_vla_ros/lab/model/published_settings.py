"""What the folder of an OpenVLA-OFT does not say and its statistics' key does: data set and robot.

Upstream picks these numbers by the words of the command line and falls back to LIBERO's
(``prismatic/vla/constants.py`` of moojink/openvla-oft: chunks of 8, 25 and 5 actions, quantiles or
extremes; ``prismatic/vla/datasets/rlds/oxe/configs.py``: pictures, states and rates). Here the key
decides, and what no key says is asked for: all of it at once.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from dysl_vla_ros.bundle.manifest import StateSource
from dysl_vla_ros.data_types import ActionSpace
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.published_statistics import LIBERO_UNITS, Bounds


@dataclass(frozen=True)
class OftSettings:
    """How a data set was recorded, and how its pictures were prepared.

    Attributes:
        cameras: Names of the pictures, in the order of training.
        horizon: Actions per chunk.
        bounds: What -1 and 1 stand for in the statistics.
        units: What an action of 1.0 is [m, rad], per number; empty for as it is.
        space: Of the actions.
        period_s: How long one action lasts [s].
        source: What the proprioception is made of.
        fingers: Positions of each finger that it reads, closed and open; empty where it reads
            joints, or the opening as it is.
        state_gripper: Whether the proprioception ends with a gripper; None where it has none, or
            the joints' names tell.
        action_gripper: Whether an action ends with an opening; None where the mask tells: of an
            arm's own numbers all but the opening are normalised.
        rotate_180: Pictures were turned.
        crop_area: Share of a picture kept by the centre crop.
        delta_reference: What increments add to.
    """

    cameras: tuple[str, ...]
    horizon: int
    bounds: Bounds
    units: tuple[float, ...]
    space: ActionSpace
    period_s: float
    source: StateSource
    fingers: tuple[tuple[float, float], ...] = ()
    state_gripper: bool | None = None
    action_gripper: bool | None = None
    rotate_180: bool = False
    crop_area: float = 0.9
    delta_reference: Literal['commanded', 'measured'] = 'commanded'


NO_STATE = 'none'
"""In place of a source: the model was trained without proprioception."""
KNOWN: dict[str, OftSettings] = {
    # LIBERO's Panda: pose of the gripper as position and rotation vector, two finger joints of
    # 0 to 4 cm, the second one counted backwards; 20 Hz.
    'libero': OftSettings(
        ('image', 'wrist_image'), 8, 'quantiles', LIBERO_UNITS, 'eef_delta', 0.05,
        'eef_axis_angle', ((0.0, 0.04), (0.0, -0.04)), True, rotate_180=True,
    ),
    # BridgeData V2: a WidowX, position, roll, pitch, yaw and the opening, 0 to 1; 5 Hz.
    'bridge': OftSettings(
        ('image_0',), 5, 'quantiles', (), 'eef_delta', 0.2, 'eef_rpy', ((0.0, 1.0),), True,
    ),
    # ALOHA: two arms of six joints and an opening (0 to 1) each, absolute positions; 25 Hz. All
    # fourteen are normalised.
    'aloha': OftSettings(
        ('image', 'left_wrist_image', 'right_wrist_image'), 25, 'extremes', (),
        'joint_position', 0.04, 'joints', (), True, action_gripper=True,
    ),
}  # fmt: skip
"""By what the name of a data set contains."""

_ASKED = {
    'cameras': '--cameras NAME ... (its pictures, in the order of training, third person first)',
    'horizon': '--horizon N (actions per chunk: NUM_ACTIONS_CHUNK of the fine-tuning)',
    'bounds': '--bounds quantiles|extremes (BOUNDS_Q99 or BOUNDS in the fine-tuning)',
    'space': '--action-space SPACE (what its actions mean)',
    'period_s': '--period SECONDS (of one action: 1 / rate of the data set)',
    'source': '--proprioception joints|eef_axis_angle|eef_rpy (what its state is made of)',
    'rotate_180': '--rotate-180 or --no-rotate-180 (whether its pictures were turned)',
    'crop_area': '--crop-area SHARE (0.9 after training with random crops, 1.0 without)',
    'units': '--libero-units or --no-libero-units (whether 1.0 is 5 cm or 0.5 rad)',
}
_LEAST_STROKE = 1e-6


def known_robot(unnorm_key: str) -> str:
    """Which of ``KNOWN`` a data set's name belongs to; '' for none."""
    name = unnorm_key.lower()
    return next((robot for robot in KNOWN if robot in name), '')


def settle_openvla(unnorm_key: str, given: dict[str, Any], action_dim: int) -> OftSettings:
    """As ``settle``, of a plain OpenVLA: one picture, one action at a time, no proprioception.

    Its statistics are always read as quantiles. Fine-tunings for LIBERO were trained with random
    crops and its base model was not, so that whether to crop is asked for under any other key.

    Raises:
        ConfigError: As ``settle``; or several cameras, or several actions, were given.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    robot = known_robot(unnorm_key)
    if robot and 'cameras' not in chosen:
        chosen['cameras'] = KNOWN[robot].cameras[:1]
    settings = settle(unnorm_key, {'horizon': 1, 'bounds': 'quantiles', **chosen}, action_dim, 0,
                      () if robot == 'libero' else ('crop_area',))  # fmt: skip
    if settings.horizon != 1:
        raise ConfigError('horizon', settings.horizon, '1: OpenVLA writes one action at a time')
    if len(settings.cameras) != 1:
        raise ConfigError('cameras', settings.cameras, 'one: OpenVLA sees one picture')
    return settings


def settle(
    unnorm_key: str, given: dict[str, Any], action_dim: int, state_dim: int,
    uncertain: tuple[str, ...] = (),
) -> OftSettings:  # fmt: skip
    """The settings of a data set: what was given, else what its key says.

    Args:
        unnorm_key: Name of the data set.
        given: By the names of ``OftSettings``; None and absent leave it to the key.
        action_dim: Numbers per action, from the weights.
        state_dim: Numbers of the proprioception; 0 for a model without.
        uncertain: What its key does not say of this model.

    Raises:
        ConfigError: Neither says it: lists every option that is missing. Or what they say does
            not fit the weights.
    """
    robot = known_robot(unnorm_key)
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen.get('source') == NO_STATE:
        if state_dim:
            raise ConfigError(
                'proprioception', NO_STATE, 'another one: the folder has a projector of '
                f'{state_dim} numbers, with which the model reads them',
            )  # fmt: skip
        del chosen['source']
    base = vars(KNOWN[robot]) if robot else {'fingers': (), 'delta_reference': 'commanded'}
    base = {name: value for name, value in base.items() if name not in uncertain}
    if 'source' in chosen and chosen['source'] != base.get('source'):
        base = {**base, 'fingers': (), 'state_gripper': None}
    if not state_dim:
        base = {**base, 'source': 'joints', 'fingers': (), 'state_gripper': None}
    found = {**base, **chosen}
    missing = [words for name, words in _ASKED.items() if name not in found]
    if missing:
        raise ConfigError(
            'unnorm_key', unnorm_key, f'a data set of {", ".join(KNOWN)} whose settings are '
            f'known, or these options, which the folder does not say: {"; ".join(missing)}',
        )  # fmt: skip
    names = {field.name for field in fields(OftSettings)}
    settings = OftSettings(**{name: found[name] for name in names & found.keys()})
    return _fitting(settings, action_dim, state_dim)


def _fitting(settings: OftSettings, action_dim: int, state_dim: int) -> OftSettings:
    """Units and fingers as long as the vectors that they belong to."""
    if settings.units and len(settings.units) != action_dim:
        raise ConfigError(
            'action numbers', action_dim, f'{len(settings.units)}, as an action in the units '
            f'{settings.units} has; of another action give --no-libero-units',
        )  # fmt: skip
    for number, (closed, opened) in enumerate(settings.fingers):
        if abs(opened - closed) < _LEAST_STROKE:
            raise ConfigError('fingers', (closed, opened), f'for finger {number} a closed and an '
                              'open position that differ')  # fmt: skip
    if state_dim and settings.source != 'joints':
        rest = state_dim - 6
        if rest not in (0, 1, 2):
            raise ConfigError(
                'proprioception', settings.source, f'--proprioception joints: the state of this '
                f'model has {state_dim} numbers, a pose 6 and at most two fingers',
            )  # fmt: skip
        fingers = settings.fingers[:rest]
        if rest and len(fingers) < rest:
            raise ConfigError(
                'fingers', settings.fingers, f'--fingers CLOSED OPEN for each of {rest}: what '
                'the last numbers of the state are with the gripper closed and open',
            )  # fmt: skip
        changed = {'fingers': fingers, 'state_gripper': bool(rest)}
        return OftSettings(**{**vars(settings), **changed})
    return settings
