"""One simulated world for all tests here: a reset makes it new, building it takes longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dysl_vla_ros.sim.world import World


@pytest.fixture(scope='session')
def _built_world() -> World:
    from dysl_vla_ros.sim.world import World

    return World()


@pytest.fixture
def world(_built_world: World) -> World:
    _built_world.controller.interpolate_from_desired_state = True
    _built_world.reset(0)
    return _built_world
