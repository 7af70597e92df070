"""Statistics that no data set can have are refused, by part, number and value."""

from __future__ import annotations

import json

import pytest
from tiny_oft import UNNORM_KEY

from dysl_vla_ros.lab.model.oft_survey import survey_oft
from dysl_vla_ros.lab.model.survey import Asked


def change_statistics(folder, change):
    path = folder / 'dataset_statistics.json'
    document = json.loads(path.read_text())
    change(document[UNNORM_KEY])
    path.write_text(json.dumps(document))


def wrong_with(folder, **given):
    return [str(error) for error in survey_oft(folder, Asked(given=given)).wrong]


@pytest.mark.parametrize(
    ('part', 'bounds', 'low', 'high'),
    [('action', 'quantiles', 'q01', 'q99'), ('proprio', 'quantiles', 'q01', 'q99'),
     ('action', 'extremes', 'min', 'max')],
)  # fmt: skip
def test_a_lower_bound_above_the_upper_one_is_named(breakable, part, bounds, low, high):
    def swap(statistics):
        columns = statistics[part]
        columns[low][2], columns[high][2] = columns[high][2], columns[low][2]

    def freeze(statistics):
        statistics[part][high][2] = statistics[part][low][2]

    change_statistics(breakable, swap)
    (found,) = wrong_with(breakable, bounds=bounds)
    columns = json.loads((breakable / 'dataset_statistics.json').read_text())[UNNORM_KEY][part]
    assert found == (f'statistics: {part}.{low}[2] = {columns[low][2]}: expected at most '
                     f'{high}[2] = {columns[high][2]}')  # fmt: skip
    change_statistics(breakable, freeze)
    assert wrong_with(breakable, bounds=bounds) == []


@pytest.mark.parametrize(
    ('part', 'key', 'value', 'words'),
    [('action', 'q99', 201.0, 'q99[1] = 10.05: expected within 10 rad or m a step'),
     ('action', 'q99', 1e20, 'q99[1] = 5e+18: expected within 10 rad or m a step'),
     ('action', 'q01', -1e8, 'q01[1] = -5000000.0: expected within 10 rad or m a step'),
     ('proprio', 'q99', 180.0, 'q99[1] = 180.0: expected within 100 rad or m')],
)  # fmt: skip
def test_a_range_that_no_arm_has_is_named(breakable, part, key, value, words):
    def widen(statistics):
        statistics[part][key][1] = value

    change_statistics(breakable, widen)
    assert wrong_with(breakable) == [f'statistics: {part}.{words}']


@pytest.mark.parametrize('value', [0.5, -3, 'no', None])
def test_a_mask_is_true_or_false(breakable, value):
    def spoil(statistics):
        statistics['action']['mask'][0] = value

    change_statistics(breakable, spoil)
    (found,) = wrong_with(breakable)
    assert found == f'statistics: action.mask[0] = {value!r}: expected true or false'


@pytest.mark.parametrize('name', ['dataset_statistics.json', 'config.json', 'tokenizer.json'])
def test_a_key_that_stands_twice_is_named_with_its_file(breakable, name):
    path = breakable / name
    key = next(iter(json.loads(path.read_text())))
    path.write_text(path.read_text().replace('{', f'{{"{key}": 1, ', 1))
    assert f"{path}: '{key}' stands twice: expected every key once" in wrong_with(breakable)


def test_json_that_is_nested_without_end_is_named(breakable):
    (breakable / 'dataset_statistics.json').write_text('[' * 200_000)
    assert any('not valid JSON: nested too deeply' in text for text in wrong_with(breakable))
