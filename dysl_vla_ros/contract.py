"""The parameters against the bundle: what is left open is filled in, contradictions are refused.

Called where the two meet, before anything is built from them.
"""

from __future__ import annotations

from dataclasses import replace

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.config import InputConfig, NodeConfig
from dysl_vla_ros.engines.fake.bundle import is_fake
from dysl_vla_ros.engines.image_tensor import View
from dysl_vla_ros.errors import ConfigError

FITS = ('squash', 'crop', 'pad')
_ROUNDING = 1e-6
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
    camera_views(config.inputs, manifest)
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


def camera_views(limits: InputConfig, manifest: Manifest) -> dict[str, View]:
    """What of each camera's picture is used: the bundle's cameras, as the parameters say.

    Args:
        limits: With ``image.fit`` and ``image.roi``.
        manifest: Names the cameras.

    Raises:
        ConfigError: A camera is unknown or stands twice, or a value is wrong.
    """
    views = {camera.name: View() for camera in manifest.cameras}
    named: set[tuple[str, str]] = set()
    for entry in sorted(limits.image_fit, key=lambda entry: '=' in entry):  # of all comes first
        camera, equals, fit = entry.rpartition('=')
        if fit not in FITS:
            raise ConfigError('image.fit', entry, f'{", ".join(FITS)}, or CAMERA=one of these')
        if not equals and sum('=' not in other for other in limits.image_fit) > 1:
            raise ConfigError('image.fit', limits.image_fit, 'one that is meant for every camera')
        for name in [_known_camera('image.fit', camera, views, named)] if equals else views:
            views[name] = replace(views[name], fit=fit)
    for entry in limits.image_roi:
        camera, _, numbers = entry.partition('=')
        name = _known_camera('image.roi', camera, views, named)
        views[name] = replace(views[name], region=_region(entry, numbers))
    return views


def _known_camera(
    parameter: str, camera: str, views: dict[str, View], named: set[tuple[str, str]]
) -> str:
    if camera not in views:
        raise ConfigError(parameter, camera, f'a camera of the bundle: {", ".join(views)}')
    if (parameter, camera) in named:
        raise ConfigError(parameter, camera, 'every camera once')
    named.add((parameter, camera))
    return camera


def _region(entry: str, numbers: str) -> tuple[float, float, float, float]:
    try:
        left, top, width, height = (float(number) for number in numbers.split(','))
    except ValueError:
        left = top = width = height = -1.0
    inside = 0 <= left < 1 and 0 <= top < 1 and 0 < width <= 1 and 0 < height <= 1
    if not inside or left + width > 1 + _ROUNDING or top + height > 1 + _ROUNDING:
        raise ConfigError(
            'image.roi', entry, 'CAMERA=left,top,width,height as shares of the picture, inside '
            'it: image=0.125,0,0.75,1 is the middle square of 640x480',
        )  # fmt: skip
    return left, top, width, height


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
