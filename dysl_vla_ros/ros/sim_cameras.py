"""Which cameras the simulated arm has: those that its own parameter or a bundle lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dysl_vla_ros.bundle import MANIFEST_NAME
from dysl_vla_ros.bundle.manifest import manifest_from_dict
from dysl_vla_ros.bundle.strict_json import load
from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.errors import BundleError

SCENE, WRIST = 'image', 'wrist_image'
"""The two views of the scene."""
_OF_THE_HAND = ('wrist', 'hand', 'gripper')
_MOST_RAYS = 20_000
"""Cast for one picture of every camera, 3 ms; so many keep the physics in real time."""

Render = Callable[[str, int, int], ImageArray]
"""Draws a view with so many rows and columns."""


@dataclass(frozen=True)
class SimCamera:
    """One camera to publish.

    Attributes:
        name: Topic.
        view: Of the scene.
        height: Rows.
        width: Columns.
        block: Side of the squares of equal pixels that large pictures are made of.
    """

    name: str
    view: str
    height: int
    width: int
    block: int = 1

    def picture(self, render: Render) -> ImageArray:
        """Shape (height, width, 3), RGB."""
        if self.block == 1:
            return render(self.view, self.height, self.width)
        rows, columns = (-(-size // self.block) for size in (self.height, self.width))
        coarse = render(self.view, rows, columns)
        large = np.repeat(np.repeat(coarse, self.block, axis=0), self.block, axis=1)
        return large[: self.height, : self.width]


def cameras_of(engine: str) -> tuple[SimCamera, ...]:
    """Every camera that a bundle lists, in the size that it asks for.

    A camera whose name says wrist, hand or gripper sees what the gripper sees; others see the
    scene. Where the pictures are too large to be drawn ray by ray in real time, they are coarse.

    Args:
        engine: Folder of a bundle, or ``fake``.

    Raises:
        BundleError: No bundle is there.
    """
    manifest = fake_manifest() if engine == 'fake' else _manifest(Path(engine).expanduser())
    return _drawable(
        SimCamera(camera.name, view_of(camera.name), camera.height, camera.width)
        for camera in manifest.cameras
    )


def view_of(name: str) -> str:
    """The view of the scene that a camera of this name has."""
    return WRIST if any(word in name.lower() for word in _OF_THE_HAND) else SCENE


def _drawable(cameras: Iterable[SimCamera]) -> tuple[SimCamera, ...]:
    wanted = tuple(cameras)
    rays = sum(camera.height * camera.width for camera in wanted)
    block = max(1, int(np.ceil(np.sqrt(rays / _MOST_RAYS))))
    return tuple(
        SimCamera(item.name, item.view, item.height, item.width, block) for item in wanted
    )


def _manifest(folder: Path) -> Any:
    """Only the manifest: the node opens the bundle, and checks every file of it."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise BundleError(
            f'engine = {str(folder)!r}: no {MANIFEST_NAME}; expected a folder of dysl export'
        )
    return manifest_from_dict(load(path))
