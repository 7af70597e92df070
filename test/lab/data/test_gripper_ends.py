"""Where a gripper is closed and open: what the set shows of it is told, and the rest is asked."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from robot_files import robot_set

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.robot_samples import read_set
from dysl_vla_ros.lab.data.set_choice import SetChoice

NAMES = ('j1', 'j2', 'j3', 'gripper')


def read(folder, **choice):
    _, reading, rows = read_set(str(folder), SetChoice(**choice))
    numbers = rows[0].numbers
    return reading, reading.state.read(numbers), reading.action.read(numbers)


def openings(*kinds, change):
    """Replaces the openings of the state, of the action, or of both."""

    def edit(kind, values):
        values = values.copy()
        if kind in kinds:
            values[:, -1] = change(values[:, -1])
        return values

    return edit


@pytest.mark.parametrize('kinds', [('state',), ('action',), ('state', 'action')])
@pytest.mark.parametrize('noise', [0.0, 0.002])
def test_ends_of_a_gripper_that_never_moves_are_asked_for_and_not_guessed(tmp_path, kinds, noise):
    edit = openings(*kinds, change=lambda found: 0.9 + noise * found)
    folder = robot_set(tmp_path / 'set', NAMES, edit=edit)
    with pytest.raises(ConfigError, match='gripper-range') as found:
        read(folder)
    text = str(found.value)
    assert all(f'gripper ({kind}) at 0.9' in text for kind in kinds), text
    assert '--gripper-range CLOSED OPEN' in text and '--only' in text
    _, stood, said = read(folder, gripper_range=(0.0, 1.0))
    for kind, values in (('state', stood), ('action', said)):
        if kind in kinds:
            np.testing.assert_allclose(values[:, -1], 0.9, atol=0.01)
    left, _, _ = read(folder, only=NAMES[:3])
    assert left.state.gripper == left.action.gripper == ()


def test_the_ends_that_are_told_are_the_ones_that_are_used(tmp_path):
    # Measured from 0.02 up to 0.07, commanded from 0.00 to 0.08: one gripper, and one range.
    def edit(kind, values):
        values = values.copy()
        low, high = (0.02, 0.07) if kind == 'state' else (0.0, 0.08)
        values[:, -1] = low + (high - low) * values[:, -1]
        return values

    reading, _, _ = read(robot_set(tmp_path / 'set', NAMES, edit=edit))
    for kind, numbers in (('state', reading.state), ('action', reading.action)):
        closed = -numbers.offset[-1] / numbers.gain[-1]
        opened = closed + 1.0 / numbers.gain[-1]
        (line,) = (line for line in reading.told if line.startswith(f'gripper ({kind})'))
        assert f'closed at {closed:.4g}, open at {opened:.4g}' in line
        assert f'--gripper-range {opened:.4g} {closed:.4g}' in line  # for the other way round


def test_a_column_that_stands_still_is_read_without_a_warning(tmp_path):
    def edit(kind, values):
        values = values.copy()
        values[:, 1] = 0.7
        return values

    with warnings.catch_warnings():
        warnings.simplefilter('error')
        read(robot_set(tmp_path / 'set', NAMES, edit=edit))
        read(robot_set(tmp_path / 'all', NAMES, edit=lambda kind, values: 0.0 * values + 0.7),
             gripper_range=(0.0, 1.0))  # fmt: skip
