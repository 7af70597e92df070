"""``dysl doctor --cameras``: what the cameras send, and whether it is what training saw."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dysl_vla_ros.cli.finding import Finding
from dysl_vla_ros.errors import BundleError, ConfigError, DyslError
from dysl_vla_ros.ros_names import is_name

if TYPE_CHECKING:
    from dysl_vla_ros.bundle.manifest import Manifest
    from dysl_vla_ros.config import EngineConfig, NodeConfig

_NEEDED = 'the policy'
_OURS = 'overlay_'
_FIX = 'doc/cameras.md'


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that go with ``--cameras``."""
    parser.add_argument('--cameras', action='store_true',
                        help="listen to the bundle's cameras, and lay each picture over the one "
                        'of training')  # fmt: skip
    parser.add_argument('--camera', action='append', default=[], metavar='CAMERA=TOPIC',
                        help='where a camera publishes, if not on its own name')  # fmt: skip
    parser.add_argument('--params-file', type=Path,
                        help="the node's: it is judged, and image.fit, image.roi and the like "
                        'hold for what is seen')  # fmt: skip
    parser.add_argument('--seconds', type=float, default=5.0,
                        help='how long to listen, from the first picture of each one')  # fmt: skip
    parser.add_argument('--overlays', type=Path, default=Path('camera_check'),
                        help='folder for training, now, and both over each other')  # fmt: skip


def findings(given: argparse.Namespace, config: NodeConfig | None) -> list[Finding]:
    """Listen and compare; one finding per camera.

    Args:
        given: The command line.
        config: Of the parameter file that it names; None without one.

    Raises:
        ConfigError: An option is wrong, or the folder of the overlays holds something else.
    """
    from dysl_vla_ros.config import EngineConfig, NodeConfig
    from dysl_vla_ros.contract import engine_of
    from dysl_vla_ros.targets import folder_target

    if not 0.5 <= given.seconds <= 600:
        raise ConfigError('--seconds', given.seconds, 'within [0.5, 600]')
    folder = folder_target('--overlays', given.overlays, _is_own, 'one with overlays of dysl')
    try:
        from dysl_vla_ros.ros.camera_survey import survey
        from dysl_vla_ros.ros.references import read_references
    except ImportError as error:
        fix = 'source /opt/ros/<distro>/setup.bash'
        return [Finding('cameras', 'broken', f'cannot be listened to: {error}', _NEEDED, fix)]
    if config is None:
        config = NodeConfig(engine=EngineConfig(path=given.engine))
    manifest = _manifest(engine_of(config))
    topics = _topics(given.camera, [camera.name for camera in manifest.cameras])
    found = []
    try:
        references = read_references(config.engine.path, manifest)
    except DyslError as error:
        found.append(Finding('reference pictures', 'missing', str(error), 'comparing', _FIX))
        references = {}
    for report in survey(manifest, references, config.inputs, given.seconds, topics):
        overlay = '' if report.comparison is None else _write(folder, report)
        text = '; '.join(part for part in (report.problem or report.warning, report.text) if part)
        state = 'broken' if report.problem else 'missing' if report.warning else 'ok'
        found.append(Finding(f'camera {report.camera} on {report.topic}', state, text, _NEEDED,
                             overlay or _FIX))  # fmt: skip
    return found


def _write(folder: Path, report: Any) -> str:
    """Training, now, and both over each other, side by side; says where."""
    import numpy as np

    from dysl_vla_ros.pictures.files import encode_png
    from dysl_vla_ros.targets import write_whole

    compared = report.comparison
    tiles = [compared.seen]
    if compared.reference is not None:
        tiles = [compared.reference, compared.seen, compared.overlay]
    path = folder / f'{_OURS}{report.camera}.png'
    write_whole(path, encode_png(np.concatenate(tiles, axis=1)))
    return f'look at {path}'


def _manifest(engine: EngineConfig) -> Manifest:
    from dysl_vla_ros.remote_policy import manifest_of

    manifest = manifest_of(engine)
    if not manifest.cameras:
        raise BundleError(f'{manifest.name} has no cameras')
    return manifest


def _topics(entries: list[str], cameras: list[str]) -> dict[str, str]:
    found = {}
    for entry in entries:
        camera, equals, topic = entry.partition('=')
        if not equals or not is_name(topic) or camera not in cameras:
            raise ConfigError('--camera', entry, f'CAMERA=TOPIC, of {", ".join(cameras)}')
        found[camera] = topic
    return found


def _is_own(folder: Path) -> bool:
    return all(path.name.startswith(_OURS) and path.suffix == '.png' for path in folder.iterdir())
