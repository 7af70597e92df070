"""Whether a bundle can be played in the bundled simulation, said before it is."""

from __future__ import annotations

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim import arm
from dysl_vla_ros.sim.camera import CAMERAS


def check_simulated(field: str, value: object, manifest: Manifest) -> None:
    """Refuse a bundle that sees or moves what the simulation does not have.

    Args:
        field: The option that names the bundle.
        value: As the user gave it.
        manifest: Of the bundle.

    Raises:
        ConfigError: It has other cameras or joints; says which, and what can be done with it.
    """
    cameras = [camera.name for camera in manifest.cameras if camera.name not in CAMERAS]
    names, state = manifest.action.joint_names, manifest.proprioception
    other = ''
    if cameras:
        other = f'it sees {", ".join(cameras)}, and the simulation has {", ".join(CAMERAS)}'
    elif names and names != arm.JOINT_NAMES:
        other = f'it moves {", ".join(names)}, and the simulation {", ".join(arm.JOINT_NAMES)}'
    elif state.source == 'joints' and state.dim and state.body != len(arm.JOINT_NAMES):
        other = f'it reads {state.body} joints, and the simulation has {len(arm.JOINT_NAMES)}'
    if other:
        raise ConfigError(
            field, value, f'a bundle for the simulated arm: {other}. Of your own arm: dysl replay '
            'RECORDING, dysl film --bag RECORDING, or a world of yours (doc/worlds.md)',
        )  # fmt: skip
