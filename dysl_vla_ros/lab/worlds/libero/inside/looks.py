"""Other colours for the things of a scene, so that a policy does not know them by colour alone."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.worlds.libero.colours import recoloured
from dysl_vla_ros.lab.worlds.libero.inside.world import LiberoWorld
from dysl_vla_ros.lab.worlds.libero.suites import RECOLOURED


class Looks:
    """Changes and restores the textures of one scene."""

    def __init__(self, world: LiberoWorld) -> None:
        """Find the textures of what may be seen lying or standing about."""
        model = self._model = world.model
        self._context = world.inner.sim._render_context_offscreen.con
        roots = {int(model.body_rootid[body]) for body in world.inner.obj_body_id.values()}
        self._textures = sorted({
            int(model.mat_texid[material])
            for body, material in zip(model.geom_bodyid, model.geom_matid)  # noqa: B905
            if material >= 0 and int(model.body_rootid[body]) in roots
            and model.mat_texid[material] >= 0
        })  # fmt: skip
        self._kept: dict[int, NDArray[np.uint8]] = {}

    def draw(self, generator: np.random.Generator) -> None:
        """In some episodes, change some things."""
        episodes, things = RECOLOURED
        if generator.random() >= episodes:
            return
        for texture in self._textures:
            if generator.random() < things:
                pixels = self._pixels(texture)
                self._kept[texture] = pixels.copy()
                self._show(texture, recoloured(pixels, generator))

    def restore(self) -> None:
        """The benchmark's own colours again."""
        for texture, pixels in self._kept.items():
            self._show(texture, pixels)
        self._kept.clear()

    def _show(self, texture: int, pixels: NDArray[np.uint8]) -> None:
        self._pixels(texture)[:] = pixels
        mujoco.mjr_uploadTexture(self._model, self._context, texture)

    def _pixels(self, texture: int) -> Any:
        """A view of a texture in the model, (height, width, 3)."""
        model = self._model
        height, width = int(model.tex_height[texture]), int(model.tex_width[texture])
        first = int(model.tex_adr[texture])
        return model.tex_rgb[first : first + 3 * height * width].reshape(height, width, 3)
