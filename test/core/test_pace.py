"""A controller's speed factor: in percent or not, too old, out of range, standing."""

from __future__ import annotations

import pytest

from dysl_vla_ros.core.pace import Override


def heard(value, per_unit=1.0, at=5.0):
    override = Override('/scaling', per_unit)
    override.take(value, at)
    return override


@pytest.mark.parametrize(
    ('value', 'per_unit', 'factor'), [(1.0, 1.0, 1.0), (0.3, 1.0, 0.3), (30.0, 100.0, 0.3),
                                      (100.4, 100.0, 1.0)],
)  # fmt: skip
def test_a_factor_is_what_is_published_over_its_unit(value, per_unit, factor):
    assert heard(value, per_unit).factor(5.4) == (pytest.approx(factor), '')


@pytest.mark.parametrize('value', [0.0, 0.005])
def test_a_controller_that_stands_is_a_reason_to_hold(value):
    factor, reason = heard(value).factor(5.1)
    assert factor == 0.0
    assert reason == f'speed factor: /scaling says {value:g}: the controller stands'


@pytest.mark.parametrize('value', [-0.1, 1.5, 30.0, float('nan'), float('inf')])
def test_out_of_range_is_a_reason_and_the_last_factor_stays(value):
    override = heard(0.4)
    assert override.factor(5.0)[0] == 0.4
    override.take(value, 5.1)
    factor, reason = override.factor(5.1)
    assert factor == 0.4
    assert reason == (f'speed factor: /scaling says {value:g}, expected 0 to 1 (speed.unit)')


def test_a_factor_older_than_half_a_second_is_a_reason():
    override = heard(0.4)
    assert override.factor(5.5) == (0.4, '')
    assert override.factor(5.6) == (
        0.4, 'speed factor: the newest of /scaling is 0.60 s old, expected at most 0.5 s'
    )  # fmt: skip


def test_before_the_first_factor_nothing_plays():
    assert Override('/x').factor(1.0) == (1.0, 'speed factor: nothing received yet on /x')
