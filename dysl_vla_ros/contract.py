"""The parameters against the bundle: what is left open is filled in, contradictions are refused.

Called where the two meet, before anything is built from them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

from dysl_vla_ros.action_columns import action_columns
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.camera_entries import fits, regions
from dysl_vla_ros.config import EngineConfig, InputConfig, NodeConfig, SkipConfig
from dysl_vla_ros.engines.fake.arm import FAKE, FakeArm, is_fake_path
from dysl_vla_ros.engines.fake.bundle import is_fake
from dysl_vla_ros.engines.image_tensor import View
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.joint_limits import GivenLimits, check_accelerations, check_home_length
from dysl_vla_ros.loop_settings import calibrated, filled

_FRAMES = ('frame_id', 'tip_link')


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
    _check_reach(config, manifest)
    _check_joints(config, manifest)
    _check_opening(config, manifest)
    if config.arms.names:
        _check_arms(config, manifest)
    camera_views(config.inputs, manifest)
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
    of_action: tuple[str, ...] = ('space', 'joint_names', 'delta_reference', *_FRAMES)
    if config.arms.names:
        of_action = ('space', 'delta_reference')  # each arm has its joints, and none one frame
    config = calibrated(config, manifest.calibration)
    _check_exit(config.skip, manifest)
    period = {'action_period_s': action.period_s}
    config = replace(
        config,
        timing=filled(config.timing, tuple(period), period),
        action=filled(given, of_action, vars(action)),
    )
    _check_lists(config)
    return config


def _check_lists(config: NodeConfig) -> None:
    """Lists of a number per joint, said before there is a robot description to read them by."""
    count = len(config.arms.joint_names or config.action.joint_names)
    if not count:
        return
    safety = config.safety
    GivenLimits(safety.lower, safety.upper, safety.velocity).check(count)
    check_accelerations(safety.accelerations, count)
    check_home_length(config.home.positions, count)


def _check_exit(skip: SkipConfig, manifest: Manifest) -> None:
    """Refuse an exit that the bundle does not have."""
    if skip.mode == 'by_instruction' and not manifest.calibration.exit_by_instruction:
        raise ConfigError(
            'skip.mode', skip.mode, f'another one: {manifest.name} names no exits by instruction; '
            'dysl calibrate BUNDLE --by-instruction REPORT chooses them',
        )  # fmt: skip
    given, exits = skip.exit_layer, manifest.layout.exit_layers
    if given in exits or (given == 0 and skip.mode != 'fixed'):
        return
    if not exits:
        right = f'0 and another skip.mode: {manifest.name} has too few layers for an exit'
    else:
        right = (
            f'within [1, {exits[-1]}] for {manifest.name} of {manifest.layers_total} layers'
            + (': skip.mode = fixed needs one, and the bundle names none' if given == 0 else '')
        )
    raise ConfigError('skip.exit_layer', given, right)


def engine_of(config: NodeConfig) -> EngineConfig:
    """The engine's parameters; the policy without a model is told which arm it moves.

    A bundle brings its joints. Without a model they are those of the parameters, so that any arm
    can be tried; where they name none, it stays what it pretends to be by itself, and so it does
    behind a server, which knows no parameters.
    """
    engine, names = config.engine, config.arms.joint_names or config.action.joint_names
    pretends = engine.backend == FAKE or is_fake_path(engine.path)
    if not names or not pretends or engine.backend == 'remote':
        return engine
    gripper = any(gripper.interface != 'none' for gripper in config.grippers)
    arm = FakeArm(names, gripper, config.arms.sizes)
    return replace(engine, path=arm.path)


def _check_reach(config: NodeConfig, manifest: Manifest) -> None:
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


def camera_views(limits: InputConfig, manifest: Manifest) -> dict[str, View]:
    """What of each camera's picture is used: the bundle's cameras, as the parameters say.

    Args:
        limits: With ``image.fit`` and ``image.roi``.
        manifest: Names the cameras.

    Raises:
        ConfigError: A camera is unknown or stands twice, or a value is wrong.
    """
    views = {camera.name: View() for camera in manifest.cameras}
    for camera, fit in fits(limits.image_fit):
        for name in [_known_camera('image.fit', camera, views)] if camera else views:
            views[name] = replace(views[name], fit=fit)
    for camera, region in regions(limits.image_roi):
        name = _known_camera('image.roi', camera, views)
        views[name] = replace(views[name], region=region)
    return views


def _known_camera(parameter: str, camera: str, views: dict[str, View]) -> str:
    if camera not in views:
        raise ConfigError(parameter, camera, f'a camera of the bundle: {", ".join(views)}')
    return camera


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


def _check_joints(config: NodeConfig, manifest: Manifest) -> None:
    """As many joints as the bundle reads and moves, said before a pass needs them."""
    names, action, read = config.action.joint_names, manifest.action, manifest.proprioception
    wanted = {} if action.space.startswith('eef') else {'moves': action.dim - int(action.gripper)}
    if read.dim and read.source == 'joints':
        wanted['reads'] = read.body
    for does, number in wanted.items():
        if names and len(names) != number:
            raise ConfigError(
                'action.joint_names', names,
                f'{number} joints, as the bundle {manifest.name} {does}',
            )  # fmt: skip
    own = () if is_fake(manifest) else action.joint_names
    if _matched(names, own) not in (own, None):
        raise ConfigError(
            'action.joint_names', names, f'the order of the bundle {manifest.name}, {own}: its '
            'numbers are taken one by one; home.positions and the lists of limits follow it, too',
        )  # fmt: skip


def joint_doubt(config: NodeConfig, manifest: Manifest) -> str:
    """In a sentence, joints that the bundle calls something else; '' where names agree.

    They are taken one by one, which nobody can check but who knows both arms.
    """
    names, own = config.action.joint_names, manifest.action.joint_names
    if is_fake(manifest) or not own or not names or _matched(names, own) is not None:
        return ''
    pairs = ', '.join(f'{mine} for {theirs}' for mine, theirs in zip(names, own, strict=False))
    return f'joints are taken one by one, {pairs}: the bundle has other names for them'


def _matched(names: tuple[str, ...], own: tuple[str, ...]) -> tuple[str, ...] | None:
    """The bundle's names in the order of the parameters'; None where they are no such names.

    What all names of one arm begin with, a prefix, tells no joint from another.
    """
    bare, mine = _without_prefix(own), _without_prefix(names)
    known = dict(zip(bare, own, strict=True))
    if len(known) != len(own) or set(mine) != set(bare) or len(mine) != len(bare):
        return None
    return tuple(known[name] for name in mine)


def _without_prefix(names: tuple[str, ...]) -> list[str]:
    first, last = min(names, default=''), max(names, default='')
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1],
                                      zip(first, last, strict=False)))  # fmt: skip
    return [name[shared:] for name in names]


def _check_opening(config: NodeConfig, manifest: Manifest) -> None:
    """A bundle that reads an opening needs one; only an arm with a gripper measures it."""
    if not manifest.proprioception.gripper:
        return
    for index, gripper in enumerate(config.grippers):
        if gripper.interface != 'none' or gripper.opening_source != 'measured':
            continue
        arm = f'arms.{config.arms.names[index]}.' if config.arms.names else ''
        raise ConfigError(
            f'{arm}gripper.opening_source', gripper.opening_source,
            f"'commanded' with gripper.interface = 'none': the bundle {manifest.name} reads the "
            "gripper's opening, and is then told the one it commanded last; or another "
            'gripper.interface and gripper.joint for an arm that measures it',
        )  # fmt: skip


def _check_arms(config: NodeConfig, manifest: Manifest) -> None:
    """Several arms need a policy of joints, with so many joints and one opening per arm."""
    names, sizes, action = config.arms.names, config.arms.sizes, manifest.action
    if not action.space.startswith('joint'):
        raise ConfigError(
            'arms.names', names, f'one arm, since the bundle {manifest.name} acts on an end '
            f'effector ({action.space}); several arms take a policy of joints',
        )  # fmt: skip
    own, given = action.joint_names, config.arms.joint_names
    if sorted(own) == sorted(given) and own != given:
        raise ConfigError(
            f'arms.{names[0]}.joint_names', config.arms.each[0].joint_names,
            f'joints in the order of the bundle {manifest.name}, arm by arm: {own}',
        )  # fmt: skip
    read = manifest.proprioception
    for what, dim, gripper in (
        ('actions', action.dim, action.gripper), ('readings', read.dim, read.gripper)
    ):  # fmt: skip
        columns = action_columns(gripper, sizes)
        wanted = len(columns.motion) + len(columns.grippers)
        if dim != wanted and not (what == 'readings' and dim == 0):
            raise ConfigError(
                'arms.names', names,
                f'arms with {dim} numbers in all, as the {what} of the bundle {manifest.name} '
                f'have: these have {wanted}, {" + ".join(map(str, sizes))} joints and '
                f'{len(columns.grippers)} openings, one at the end of each arm',
            )  # fmt: skip
