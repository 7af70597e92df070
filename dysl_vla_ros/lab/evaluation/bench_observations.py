"""Observations to bench a policy on: recorded by the user, from the simulator, or made up."""

from __future__ import annotations

import zlib
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.lab.evaluation.observation_arrays import check_arrays
from dysl_vla_ros.lab.evaluation.observed import Observed, chunk_lasts, in_turn, of_recording

_RECORDINGS = ('.mcap', '.db3', '.zstd', '.yaml')


def is_recording(path: Path) -> bool:
    """Whether a path is named as a bag is: a folder, or one of its files."""
    return path.expanduser().is_dir() or path.suffix in _RECORDINGS


def load_recorded(path: Path, manifest: Manifest) -> list[Observation]:
    """The observations of ``load_observed``, for those to whom each stands for itself."""
    return list(load_observed(path, manifest).observations)


def load_observed(path: Path, manifest: Manifest) -> Observed:
    """Read observations from a recording, or from a ``.npz`` file.

    Args:
        path: A bag of ``record:=true``. Of a ``.npz``, arrays by name: one per camera of the
            bundle, uint8 (n, height, width, 3), RGB;
            ``joints`` (n, joints) in the bundle's order [rad]; ``gripper`` (n,) opening 0..1,
            where the bundle has one; ``instruction``, one text or n; and, so that it is known
            which are of passes in turn, ``stamp`` (n,) in seconds and ``episode`` (n,). Without
            ``stamp`` those of one episode and of the same words are taken to be.
        manifest: Of the bundle that is to see them.

    Raises:
        InputError: The file cannot be read, or an array is missing, has another length, or a
            number that no arm has.
        ConfigError: The bag lacks what the bundle needs.
    """
    if is_recording(path):
        from dysl_vla_ros.lab.replay.sources import passes_of

        return of_recording(passes_of(path.expanduser()))
    try:
        if path.is_file() and not is_zipfile(path):  # numpy would advise to unpickle it
            raise InputError(f'{path}: not a .npz file: expected one of plain arrays')
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, AttributeError, BadZipFile, zlib.error) as error:
        raise InputError(f'{path}: {error}; expected a .npz file of plain arrays, whole') from None
    gripper = manifest.proprioception.gripper
    cameras = [camera.name for camera in manifest.cameras]
    wanted = [*cameras, 'joints', 'instruction', *(['gripper'] if gripper else [])]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise InputError(f'{path}: arrays {sorted(arrays)}: expected {missing} too')
    count = check_arrays(path, arrays, manifest)
    texts = np.broadcast_to(arrays['instruction'].reshape(-1), (count,))
    stamps = arrays.get('stamp', _apart(manifest) * np.arange(count))
    found = [
        Observation(
            stamp=float(stamps[index]),
            images={name: arrays[name][index] for name in cameras},
            joints=np.asarray(arrays['joints'][index], dtype=np.float64),
            gripper=float(arrays['gripper'][index]) if gripper else None,
            instruction=str(texts[index]),
        )
        for index in range(count)
    ]
    episodes = arrays['episode'].tolist() if 'episode' in arrays else None
    return in_turn(found, manifest, episodes, assumed='stamp' not in arrays)


def _apart(manifest: Manifest) -> float:
    """Seconds between two passes, each asked for at half of a chunk, as by default."""
    return 0.5 * chunk_lasts(manifest.action)


def fits_the_simulator(manifest: Manifest) -> bool:
    """Whether the simulator is installed, and has the joints and cameras of a bundle."""
    try:
        from dysl_vla_ros.sim import arm
        from dysl_vla_ros.sim.camera import CAMERAS
    except ImportError:
        return False
    names = {camera.name for camera in manifest.cameras}
    return manifest.action.joint_names == arm.JOINT_NAMES and names <= set(CAMERAS)


def simulated(manifest: Manifest, count: int, seed: int = 1_000_000) -> list[Observation] | None:
    """Observations of scripted episodes in the bundled simulator.

    Args:
        manifest: Of the bundle that is to see them.
        count: How many.
        seed: Of the first episode.

    Returns:
        None where the simulator is not installed or the bundle is for another robot.
    """
    if not fits_the_simulator(manifest):
        return None
    from dysl_vla_ros.sim.rollout import expert_episode
    from dysl_vla_ros.sim.world import World

    sizes = {camera.name: camera.height for camera in manifest.cameras}
    stride = max(1, manifest.action.horizon // 2)
    world, found = World(), list[Observation]()
    while len(found) < count:
        frames = expert_episode(seed + len(found), cameras=sizes, world=world)
        for index, frame in enumerate(frames):
            if index % stride == 0 and len(found) < count:
                found.append(
                    Observation(
                        stamp=frame.time,
                        images=frame.images,
                        joints=frame.joints,
                        gripper=frame.opening if manifest.proprioception.gripper else None,
                        instruction=frame.instruction,
                    )
                )
    return found


def made_up(manifest: Manifest, count: int, seed: int = 0) -> list[Observation]:
    """Coarse coloured patterns that drift: the right shapes and types, but no scene.

    Latencies of fixed depths do not depend on what is seen; what controllers decide does.
    """
    random = np.random.default_rng(seed)
    found = []
    patterns = {
        camera.name: random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        for camera in manifest.cameras
    }
    joints = random.uniform(-1.0, 1.0, manifest.proprioception.dim)
    joints = joints[: manifest.proprioception.body]
    for index in range(count):
        images = {}
        for camera in manifest.cameras:
            rows = -(-camera.height // 8)
            columns = -(-camera.width // 8)
            wide = np.kron(patterns[camera.name], np.ones((rows, columns, 1), np.uint8))
            drifted = np.roll(wide, index, axis=1)
            images[camera.name] = np.ascontiguousarray(drifted[: camera.height, : camera.width])
        found.append(
            Observation(
                stamp=index * _apart(manifest),
                images=images,
                joints=joints + 0.01 * index,
                gripper=1.0 if manifest.proprioception.gripper else None,
                instruction='pick up the red cube',
            )
        )
    return found
