"""Pictures of a scene, and where something shows in them.

Lighting a million vertices is what a picture costs in a software rasteriser: geoms out of view are
not drawn (nothing changes), and visual meshes may be thinned (two levels of difference).
"""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.lab.worlds.libero.inside.world import Floats, LiberoWorld

_HIDDEN = 5
"""A group of geoms that is never drawn."""
_PARTS = ('mesh_face', 'mesh_facenormal', 'mesh_facetexcoord')
_CELLS = (10, 14, 20, 28, 40, 56, 80, 112, 160)
_MESH = 7
_FEW = 500


class Camera:
    """Draws one world."""

    def __init__(self, world: LiberoWorld, keep: float = 1.0) -> None:
        """Take a world that draws.

        Args:
            world: Built with ``draws``.
            keep: Share of the triangles of visual meshes; 1 is the benchmark as it is.
        """
        self._world, self._model = world, world.model
        # Neither costs anything here that is seen at 96 pixels; shadows cost five times on a GPU.
        self._model.vis.quality.offsamples = 0
        self._model.light_castshadow[:] = 0
        if keep < 1.0:
            _thin(self._model, keep)
            context = world.inner.sim._render_context_offscreen
            for mesh in range(self._model.nmesh):
                mujoco.mjr_uploadMesh(self._model, context.con, mesh)
        self._groups = self._model.geom_group.copy()

    def picture(self, name: str, size: int) -> NDArray[np.uint8]:
        """Upright, (size, size, 3)."""
        self._model.geom_group[self._unseen(name)] = _HIDDEN
        image = self._world.inner.sim.render(camera_name=name, width=size, height=size)[::-1]
        self._model.geom_group[:] = self._groups
        return np.ascontiguousarray(image)

    def pixel(self, name: str, place: Floats) -> tuple[float, float] | None:
        """Column and row, 0 to 1, of a place (3,) [m]; None outside the picture."""
        number = self._model.camera(name).id
        data = self._world.data
        away = (place - data.cam_xpos[number]) @ data.cam_xmat[number].reshape(3, 3)
        half = np.tan(np.radians(self._model.cam_fovy[number]) / 2)
        if away[2] >= 0:
            return None
        column, row = (1 - away[0] / away[2] / half) / 2, (1 + away[1] / away[2] / half) / 2
        inside = 0 <= column < 1 and 0 <= row < 1
        return (float(column), float(row)) if inside else None

    def _unseen(self, name: str) -> NDArray[np.bool_]:
        """Geoms whose bounding sphere lies outside of a camera's square view."""
        number, data = self._model.camera(name).id, self._world.data
        matrix = data.cam_xmat[number].reshape(3, 3)
        seen = (data.geom_xpos - data.cam_xpos[number]) @ matrix  # x right, y up, -z ahead
        radius, ahead = self._model.geom_rbound, -seen[:, 2]
        half = np.radians(self._model.cam_fovy[number]) / 2
        sides = np.abs(seen[:, :2]).max(1) * np.cos(half) - ahead * np.sin(half)
        found: NDArray[np.bool_] = (radius > 0) & ((sides > radius) | (ahead < -radius))
        return found


def _thin(model: Any, keep: float) -> None:
    """Merge vertices on a grid and drop what vanishes; what collides is left alone."""
    touching = {int(model.geom_dataid[geom]) for geom in range(model.ngeom)
                if model.geom_type[geom] == _MESH
                and model.geom_contype[geom] + model.geom_conaffinity[geom] > 0}  # fmt: skip
    for mesh in range(model.nmesh):
        count = int(model.mesh_facenum[mesh])
        if count < _FEW or mesh in touching:
            continue
        first, vertex = model.mesh_faceadr[mesh], model.mesh_vertadr[mesh]
        end = vertex + model.mesh_vertnum[mesh]
        faces = model.mesh_face[first : first + count].copy()
        points = model.mesh_vert[vertex:end].copy()
        for cells in _CELLS:
            thin, anchor = _clustered(points, faces, cells)
            if len(thin) >= keep * count:
                break
        if len(thin) < 0.9 * count:
            for name in _PARTS:
                part = getattr(model, name)
                part[first : first + len(thin)] = part[first + thin]
            model.mesh_facenum[mesh] = len(thin)
            model.mesh_vert[vertex:end] = points[anchor]


def _clustered(points: Any, faces: Any, cells: int) -> tuple[Any, Any]:
    """Faces whose corners fall into three cells of a grid, one of equals; a vertex's stand-in."""
    low, high = points.min(0), points.max(0)
    cell = np.floor((points - low) / max((high - low).max() / cells, 1e-9)).astype(np.int64)
    key = cell[:, 0] * 73856093 + cell[:, 1] * 19349663 + cell[:, 2] * 83492791
    corner = np.sort(key[faces], 1)
    good = (corner[:, 0] != corner[:, 1]) & (corner[:, 1] != corner[:, 2])
    _, kept = np.unique(corner, axis=0, return_index=True)
    mask = np.zeros(len(faces), bool)
    mask[kept] = True
    # Every vertex moves to the first of its cell, so that no cracks open.
    _, anchor, inverse = np.unique(key, return_index=True, return_inverse=True)
    return np.flatnonzero(good & mask), anchor[inverse]
