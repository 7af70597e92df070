"""The key of the statistics says what data set and robot are, or all that is missing is listed."""

from __future__ import annotations

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.published_settings import known_robot, settle
from dysl_vla_ros.lab.model.published_statistics import LIBERO_UNITS


@pytest.mark.parametrize(
    ('key', 'sizes', 'wanted'),
    [
        ('libero_spatial_no_noops', (7, 8),
         (2, 8, 'quantiles', LIBERO_UNITS, 'eef_delta', 0.05, 'eef_axis_angle', True)),
        ('bridge_orig', (7, 7), (1, 5, 'quantiles', (), 'eef_delta', 0.2, 'eef_rpy', False)),
        ('aloha1_fold_shirt_30_demos', (14, 14),
         (3, 25, 'extremes', (), 'joint_position', 0.04, 'joints', False)),
    ],
)  # fmt: skip
def test_the_key_decides(key, sizes, wanted):
    found = settle(key, {}, *sizes)
    assert (len(found.cameras), found.horizon, found.bounds, found.units, found.space,
            found.period_s, found.source, found.rotate_180) == wanted  # fmt: skip


def test_an_unknown_key_lists_everything_that_is_missing_at_once():
    with pytest.raises(ConfigError) as caught:
        settle('my_robot', {'horizon': 8, 'period_s': 0.1}, 7, 7)
    text = str(caught.value)
    for option in ('--cameras', '--bounds', '--action-space', '--proprioception', '--rotate-180',
                   '--crop-area', '--libero-units'):  # fmt: skip
        assert option in text
    assert '--horizon' not in text and '--period' not in text


def test_an_unknown_key_needs_no_source_where_the_model_has_no_proprioception():
    given = {'cameras': ('a',), 'horizon': 4, 'bounds': 'quantiles', 'space': 'eef_delta',
             'period_s': 0.1, 'rotate_180': False, 'crop_area': 1.0, 'units': ()}  # fmt: skip
    assert settle('my_robot', given, 7, 0).state_gripper is None


def test_what_is_given_goes_before_what_the_key_says():
    found = settle('libero_10', {'rotate_180': False, 'source': 'joints'}, 7, 8)
    assert not found.rotate_180 and found.source == 'joints'
    assert found.fingers == () and found.state_gripper is None


def test_numbers_that_do_not_fit_the_weights_are_refused():
    with pytest.raises(ConfigError, match='action numbers = 14: expected 7, .*give --no-libero'):
        settle('libero_x', {}, 14, 8)
    with pytest.raises(ConfigError, match='the state of this model has 14 numbers'):
        settle('bridge_orig', {}, 7, 14)
    with pytest.raises(ConfigError, match='--fingers CLOSED OPEN for each of 2'):
        settle('bridge_orig', {}, 7, 8)
    assert settle('libero_x', {}, 7, 6).fingers == ()


def test_names_of_data_sets_are_recognised_by_what_they_contain():
    assert known_robot('LIBERO_10_no_noops') == 'libero' and known_robot('bridge_oxe') == 'bridge'
    assert known_robot('berkeley_autolab_ur5') == ''


def test_a_finger_that_is_as_open_as_closed_is_refused():
    given = {'fingers': ((0.0, 0.04), (0.02, 0.02))}
    with pytest.raises(ConfigError, match=r'fingers = \(0.02, 0.02\): expected for finger 1 a cl'):
        settle('libero_x', given, 7, 8)
