"""The parameters against the bundle: what is left open is filled in, contradictions are refused.

Called where the two meet, before anything is built from them.
"""

from __future__ import annotations

from dataclasses import replace

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.engines.fake.bundle import is_fake
from dysl_vla_ros.errors import ConfigError

_FRAMES = ('frame_id', 'tip_link')


def with_bundle(config: NodeConfig, manifest: Manifest) -> NodeConfig:
    """The configuration with the bundle's frames, checked against the bundle.

    A policy that acts on joints, and the fake one, were trained in no frame: there the parameters
    say which frame the workspace and Cartesian commands are meant in.

    Args:
        config: Validated by itself.
        manifest: Of the bundle that will run under it.

    Raises:
        ConfigError: A parameter contradicts the bundle; names both values.
    """
    _check_continuity(config, manifest)
    _check_joints(config, manifest)
    given, action = config.action, manifest.action
    trained = action.space.startswith('eef') and not is_fake(manifest)
    for name in _FRAMES:
        value, own = getattr(given, name), getattr(action, name)
        if trained and value not in ('', own):
            raise ConfigError(
                f'action.{name}', value, f"'' or {own!r}, in which the bundle {manifest.name} was "
                'trained; where the arm only has another name for it, export with that name',
            )  # fmt: skip
    frames = {name: getattr(given, name) or getattr(action, name) for name in _FRAMES}
    return replace(config, action=replace(given, **frames))


def _check_joints(config: NodeConfig, manifest: Manifest) -> None:
    """Six numbers of a pose need six joints; a position needs three."""
    names = manifest.action.joint_names or config.action.joint_names
    orientation = config.action.orientation
    needed = 6 if orientation == 'full' else 3
    if not names or not manifest.action.space.startswith('eef') or len(names) >= needed:
        return
    ways = (
        "'nearest' (the position, and as much of the orientation as they reach) or 'free' (the "
        'position alone)'
    )
    if orientation != 'full':
        raise ConfigError(
            'action.joint_names', names, f'at least 3 joints: {manifest.name} acts on the end '
            f'effector ({manifest.action.space})',
        )  # fmt: skip
    raise ConfigError(
        'action.orientation', orientation, f'{ways}, since {len(names)} joints cannot follow '
        f'position and orientation of {manifest.name} ({manifest.action.space})',
    )  # fmt: skip


def _check_continuity(config: NodeConfig, manifest: Manifest) -> None:
    given, found = config.continuity, manifest.calibration
    dim = manifest.action.dim
    if given.weights and len(given.weights) != dim:
        raise ConfigError(
            'continuity.weights', given.weights, f'{dim} numbers, one per dimension of an action '
            f'of {manifest.name}, or none',
        )  # fmt: skip
    threshold = given.threshold or found.threshold
    hysteresis = given.hysteresis or found.hysteresis
    if threshold < hysteresis:
        raise ConfigError(
            'continuity.threshold', threshold, f'at least continuity.hysteresis = {hysteresis}'
            f'{"" if given.hysteresis else " of the bundle"}; set both, or neither',
        )  # fmt: skip
