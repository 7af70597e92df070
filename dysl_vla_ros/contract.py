"""The parameters against the bundle: what is left open is filled in, contradictions are refused.

Called where the two meet, before anything is built from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.engines.fake.bundle import is_fake
from dysl_vla_ros.errors import ConfigError

_FRAMES = ('frame_id', 'tip_link')
_Area = TypeVar('_Area')


def with_bundle(config: NodeConfig, manifest: Manifest) -> NodeConfig:
    """The configuration as it is in force: what it leaves to the bundle filled in, and checked.

    A policy that acts on joints, and the fake one, were trained in no frame: there the parameters
    say which frame the workspace and Cartesian commands are meant in.

    Args:
        config: Validated by itself.
        manifest: Of the bundle that will run under it.

    Raises:
        ConfigError: A parameter contradicts the bundle; names both values.
    """
    _check_continuity(config, manifest)
    given, action = config.action, manifest.action
    trained = action.space.startswith('eef') and not is_fake(manifest)
    for name in _FRAMES:
        value, own = getattr(given, name), getattr(action, name)
        if trained and not own and not value:
            raise ConfigError(
                f'action.{name}', value, f'a name: the bundle {manifest.name} moves the end '
                'effector, and its model does not say in which frame and by which link; set it, '
                'or export with --frame and --tip',
            )  # fmt: skip
        if trained and own and value not in ('', own):
            raise ConfigError(
                f'action.{name}', value, f"'' or {own!r}, in which the bundle {manifest.name} was "
                'trained; where the arm only has another name for it, export with that name',
            )  # fmt: skip
    of_action = ('space', 'joint_names', 'delta_reference', *_FRAMES)
    return replace(
        config,
        timing=_filled(config.timing, ('action_period_s',), {'action_period_s': action.period_s}),
        skip=_filled(config.skip, ('rule', 'eta'), vars(manifest.calibration)),
        continuity=_filled(
            config.continuity, ('window', 'threshold', 'hysteresis', 'weights'),
            vars(manifest.calibration),
        ),
        action=_filled(given, of_action, vars(action)),
    )  # fmt: skip


def _filled(area: _Area, names: tuple[str, ...], bundle: Mapping[str, Any]) -> _Area:
    """A group of parameters, where what is empty or 0 is the bundle's."""
    empty = {name: bundle[name] for name in names if not getattr(area, name)}
    return replace(area, **empty)  # type: ignore[type-var]


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
