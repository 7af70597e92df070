"""What may give a bundle an exit for each instruction, and how another report is refused."""

from __future__ import annotations

import json

import pytest
import tiny_bundle
from exits_reports import exits_report

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.evaluation.exits_by_instruction import by_instruction
from dysl_vla_ros.lab.evaluation.exits_report import read_exits_report

WON = {'full': (1, 1, 0), 'fixed 3': (1, 0, 0), 'fixed 5': (1, 1, 0)}


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny', layers=8)


@pytest.fixture
def report(bundle):
    return exits_report(open_bundle(bundle).manifest.model_digest[:12], WON)


def test_a_report_as_it_was_written_gives_each_instruction_its_exit(report, bundle, tmp_path):
    path = tmp_path / 'report.json'
    path.write_text(json.dumps(report))
    found = by_instruction(read_exits_report(path, open_bundle(bundle).manifest))
    assert found.exits == {'lift it': 3, 'open it': 5, 'fly': 0} and found.never == ('fly',)


def put(*keys_and_value):
    """What sets the field of these keys."""
    *keys, last, value = keys_and_value

    def change(found):
        for key in keys:
            found = found[key]
        found[last] = value

    return change


def without(*keys):
    """What takes the field of these keys away."""
    *keys, last = keys

    def change(found):
        for key in keys:
            found = found[key]
        del found[last]

    return change


def won_by_all(found):
    found['rows'] = {name: one | {'successes': 1} for name, one in found['rows'].items()}


def edited(found):
    found['episodes']['fixed 5'] = [
        [*one[:2], 1, *one[3:]] for one in found['episodes']['fixed 5']
    ]


def doubled(found):
    found['episodes']['fixed 5'] += found['episodes']['fixed 5'][:1]


def in_floats(found):
    for episodes in found['episodes'].values():
        episodes[0][1] = 50.0


def renamed(old, new):
    def change(found):
        for part in ('rows', 'episodes'):
            found[part][new] = found[part].pop(old)

    return change


def lost(found):
    for name, episodes in found['episodes'].items():
        found['episodes'][name] = [[*one[:2], 0, *one[3:]] for one in episodes]
        found['rows'][name] |= {'successes': 0, 'tasks': {'0': 0, '1': 0, '2': 0}}


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (won_by_all, 'report.json: rows.full.successes = 1: expected 10'),
        (edited, 'report.json: rows.fixed 5.successes = 10: expected 15'),
        (doubled, 'report.json: episodes.fixed 5 = 0, 50: expected each task and start once'),
        (in_floats, 'report.json: episodes.full = 0, 50.0: expected whole numbers'),
        (without('suite'), 'report.json: suite is missing: expected the suite that was played'),
        (put('suite', 'libero'), "report.json: suite = 'libero'"),
        (without('world'), 'report.json: world is missing'),
        (renamed('full', 'auto'), 'report.json: rows = '),
        (renamed('fixed 5', 'fixed 30'), "report.json: rows = 'fixed 30': expected exits of this "
         'policy: fixed 1 to fixed 6'),
        (renamed('fixed 5', 'fixed 0'), "report.json: rows = 'fixed 0'"),
        (renamed('fixed 5', 'fixed 05'), "report.json: rows = 'fixed 05'"),
        (put('instructions', ['lift it']), 'report.json: instructions = lift it: expected number'),
        (put('instructions', 7), 'report.json: instructions = 7'),
        (put('instructions', {'0': 7}), 'report.json: instructions = '),
        (without('instructions'), 'report.json: instructions is missing'),
        (without('instructions', '2'), 'report.json: instructions = 0, 1: expected words'),
        (put('rows', 3), 'report.json: rows = 3'),
        (without('rows'), 'report.json: rows is missing'),
        (put('rows', 'full', 3), 'report.json: rows.full = 3: expected a summary'),
        (put('rows', 'full', 'tasks', 3), 'report.json: rows.full.tasks = 3'),
        (put('episodes', 'full', 3), 'report.json: episodes.full = 3: expected a list'),
        (put('episodes', 'full', 0, 0), 'report.json: episodes.full = 0: expected numbers'),
        (put('episodes', []), 'with its episodes'),
        (put('thin', 'a'), "report.json: thin = 'a'"),
        (put('policy', 'another'), "report.json: policy = 'another': expected "),
        (put('control', 'blank'), '--by-instruction = '),
        (lost, "--by-instruction = 'no episode won'"),
    ],
)  # fmt: skip
def test_a_report_that_was_edited_or_is_of_something_else_is_refused_by_file_and_field(
    change, said, report, bundle, tmp_path, capsys
):
    change(report)
    (tmp_path / 'report.json').write_text(json.dumps(report))
    before = (bundle / 'manifest.json').read_bytes()
    assert main(['calibrate', str(bundle), '--by-instruction', str(tmp_path / 'report.json')]) == 2
    told = capsys.readouterr()
    assert said in told.err and len(told.err.splitlines()) == 1, told.err
    assert not told.out and (bundle / 'manifest.json').read_bytes() == before


def test_a_report_of_any_name_is_named_as_it_is(report, bundle, tmp_path, capsys):
    won_by_all(report)
    (tmp_path / 'report.txt').write_text(json.dumps(report))
    assert main(['calibrate', str(bundle), '--by-instruction', str(tmp_path / 'report.txt')]) == 2
    assert 'report.txt: rows.full.successes' in capsys.readouterr().err
