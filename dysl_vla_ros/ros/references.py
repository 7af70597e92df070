"""Reference pictures of a bundle, and how a live picture differs from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.data_types import ImageArray
from dysl_vla_ros.engines.fake.bundle import is_fake
from dysl_vla_ros.engines.open_engine import folder_of
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.pictures.files import decode_file

_LARGEST = 8 << 20
MOST_BRIGHTNESS = 50.0
"""Mean difference of brightness, of 255, beyond which a camera shows another light than training
did, or another thing."""


def read_references(path: str, manifest: Manifest) -> dict[str, ImageArray]:
    """Camera -> what the model saw in training, (height, width, 3); only of cameras with one.

    Args:
        path: As ``engine.path``.
        manifest: Of the bundle that lies there.

    Raises:
        BundleError: A file is missing, altered, or of another size than the camera's.
        InputError: It is no PNG, or Pillow is not installed.
    """
    if is_fake(manifest) or not any(camera.reference for camera in manifest.cameras):
        return {}
    bundle = Bundle(folder_of(path), manifest)
    found = {}
    for camera in manifest.cameras:
        if not camera.reference:
            continue
        image = decode_file(camera.reference, bundle.read(camera.reference, _LARGEST))
        if image.shape[:2] != (camera.height, camera.width):
            raise BundleError(
                f'{camera.reference}: {image.shape[1]}x{image.shape[0]} pixels: expected '
                f'{camera.width}x{camera.height}, what {camera.name} gives the model'
            )
        found[camera.name] = image
    return found


@dataclass(frozen=True)
class Comparison:
    """A live picture beside its reference, both as the model sees them.

    Attributes:
        seen: The live one, (height, width, 3).
        reference: The same shape; None where the bundle has none.
    """

    seen: ImageArray
    reference: ImageArray | None

    @property
    def overlay(self) -> ImageArray:
        """Half of each; the live picture alone where there is no reference."""
        if self.reference is None:
            return self.seen
        return ((self.seen.astype(np.uint16) + self.reference + 1) // 2).astype(np.uint8)

    @property
    def brightness(self) -> float | None:
        """How much brighter the live picture is in the mean, of 255; None without a reference."""
        if self.reference is None:
            return None
        return float(self.seen.mean() - self.reference.mean())

    @property
    def problem(self) -> str:
        """That the light is another; '' when it is not, or unknown."""
        difference = self.brightness
        if difference is None or abs(difference) <= MOST_BRIGHTNESS:
            return ''
        word = 'brighter' if difference > 0 else 'darker'
        return (
            f'{abs(difference):.0f} of 255 {word} than in training: expected at most '
            f'{MOST_BRIGHTNESS:.0f}'
        )
