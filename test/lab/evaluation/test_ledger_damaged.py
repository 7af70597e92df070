"""A file of kept episodes that was damaged is refused by its line; what a kill cut off is not."""

from __future__ import annotations

import json

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult, EpisodeSpec, SeenState
from dysl_vla_ros.lab.evaluation.ledger import Ledger
from dysl_vla_ros.lab.evaluation.modes import Row

ABOUT = {'latency': 0.02}


def episode(seed):
    return EpisodeResult(
        spec=EpisodeSpec(seed, 'pick'), instruction='lift it', success=True, seconds=4.0,
        actions=70, chunks=2, reruns=1, layers_run=30, controllers=4, layers_total=20,
        static_layers=4, phase_layers={'reach': (30, 2)}, pass_seconds=(0.1, 0.2),
        backbone_seconds=(), holds=0, commands=100, limited=0,
        depth_trace=((0.0, 10, None, 'reach'), (0.4, 20, 0.5, 'reach')),
        seen=(SeenState('reach', 0.1, (0.3, 0.2)),),
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    ledger = Ledger(tmp_path / 'kept.jsonl', ABOUT)
    for seed in (7, 8, 9):
        ledger.add(Row('fixed', exit_layer=8), episode(seed))
    return tmp_path / 'kept.jsonl'


def test_what_was_kept_is_read_as_it_was(path):
    found = Ledger(path, ABOUT)
    for seed in (7, 8, 9):
        row, spec = Row('fixed', exit_layer=8), EpisodeSpec(seed, 'pick')
        assert found.get(row, spec) == episode(seed)


@pytest.mark.parametrize('end', [b'', b'{"row": ', b'\xff\xfe\xff', '{"row": "ü'.encode()[:-1]])
def test_a_last_line_that_a_kill_cut_off_is_forgotten_whatever_its_bytes_are(path, end):
    whole = path.read_bytes()
    path.write_bytes(whole + end)
    assert len(Ledger(path, ABOUT)) == 3
    assert path.read_bytes() == whole


def test_bytes_that_are_no_text_within_a_file_are_named_by_their_line(path):
    lines = path.read_bytes().split(b'\n')
    lines[2] = lines[2].replace(b'lift', b'\xff\xfe')
    path.write_bytes(b'\n'.join(lines))
    with pytest.raises(ConfigError, match=r'kept\.jsonl.*line 3 of this one is damaged .*utf-8'):
        Ledger(path, ABOUT)


@pytest.mark.parametrize(('key', 'value', 'said'), [
    ('success', 'no', "result.success = 'no': expected a bool"), ('success', 1, 'result.success'),
    ('chunks', 0, 'chunks = 0, expected 2'), ('reruns', 3, 'reruns = 3, expected 0 to 2'),
    ('reruns', -1, 'reruns = -1'), ('layers_run', 1.5, 'result.layers_run = 1.5'),
    ('pass_seconds', 'x', "result.pass_seconds = 'x'"), ('phase_layers', [], 'phase_layers'),
    ('layers_run', -30, 'layers_run = -30, expected 0 to 4080'),
    ('layers_run', 29, 'layers_run = 29, expected 30 or more, those of its phase_layers'),
    ('layers_run', 10**6, 'layers_run = 1000000, expected 0 to 4080: 204 passes of 20 layers'),
    ('layers_total', 0, 'layers_total = 0, expected 1 or more'),
    ('depth_trace', [[0.0, 1]], 'depth_trace'), ('spec', {}, 'result.spec'),
    ('spec', {'seed': 7, 'family': 'fly'}, "result.spec.family = 'fly'"), ('more', 1, 'more'),
    ('seconds', float('nan'), 'NaN: expected a finite number'),
])  # fmt: skip
def test_an_episode_that_cannot_have_been_is_named_by_its_line_and_field(path, key, value, said):
    lines = path.read_text().split('\n')
    document = json.loads(lines[2])
    document['result'][key] = value
    path.write_text('\n'.join([*lines[:2], json.dumps(document), *lines[3:]]))
    with pytest.raises(ConfigError) as refused:
        Ledger(path, ABOUT)
    assert 'line 3 of this one is damaged' in str(refused.value) and said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_an_episode_of_another_number_of_layers_than_the_bundle_is_named_by_its_line(path):
    assert len(Ledger(path, ABOUT, 20)) == 3
    with pytest.raises(
        ConfigError, match='of 8 layers, as the bundle has: line 2 .* layers_total = 20'
    ):
        Ledger(path, ABOUT, 8)


@pytest.mark.parametrize(('change', 'said'), [
    (('"version": 1', '"version": 9'), 'version 9, expected 1'),
    (('"version": 1, ', ''), "'version' is missing"), (('"about"', '"other"'), "'about'"),
    (('0.02', 'NaN'), 'NaN: expected a finite number'),
])  # fmt: skip
def test_a_first_line_of_another_version_or_without_its_fields_is_refused(path, change, said):
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(ConfigError) as refused:
        Ledger(path, ABOUT)
    assert 'line 1 of this one is damaged' in str(refused.value) and said in str(refused.value)


def test_a_file_that_ends_within_its_first_line_is_refused(path):
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ConfigError, match='cut off in its first line'):
        Ledger(path, ABOUT)
