"""Evidence that is damaged or says two things makes no page: one line names file and field."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path

import pytest

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.evaluation.evidence_files import KINDS, read_evidence

EVIDENCE = Path(__file__).resolve().parents[3] / 'doc' / 'evidence'
GONE = object()


@cache
def committed(name):
    return json.loads((EVIDENCE / f'{name}.json').read_text('utf-8'))


def spoilt(name, place, value):
    """A copy of a committed report of which one field is another; ``GONE`` removes it."""
    found = copy.deepcopy(committed(name))
    *path, last = place.split('/')
    inner = found
    for step in path:
        inner = inner[int(step) if isinstance(inner, list) else step]
    last = int(last) if isinstance(inner, list) else last
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value(inner[last]) if callable(value) else value
    return found


@pytest.fixture
def said(tmp_path, capsys):
    """What ``dysl results`` says of a folder with these reports."""

    def of(code=2, **reports):
        for name, report in reports.items():
            text = report if isinstance(report, bytes) else json.dumps(report).encode()
            (tmp_path / f'{name}.json').write_bytes(text)
        assert main(['results', '--evidence', str(tmp_path)]) == code
        out, err = capsys.readouterr()
        assert code == 0 or (len(err.splitlines()) == 1 and not out), err
        assert 'should not happen' not in err and 'DYSL_TRACEBACK' not in err
        return err

    return of


def test_every_committed_report_is_in_order():
    assert len(read_evidence(EVIDENCE)) == len(list(EVIDENCE.glob('*.json'))) > 60


LATE, LINES = 'latency_one_tabletop', 'results_heldout'
OBJECT, BENCH, HEADROOM = (
    'libero_object_corrected',
    'bench_tabletop_x86_2core',
    'headroom_tabletop',
)
TRAIN = 'closed_loop/train'


def reversed_(marks):
    return marks[::-1]


@pytest.mark.parametrize(('name', 'place', 'value', 'field'), [
    (LATE, 'modes/auto/layers_run_mean', float('nan'), 'modes.auto.layers_run_mean = nan'),
    (LATE, 'modes/auto/layers_run_mean', 3.0, 'modes.auto.depth'),
    (LATE, 'modes/auto/rerun_rate', 0.9, 'modes.auto.rerun_rate = 0.9'),
    (LATE, 'modes/auto/controllers_mean', 1.2345, 'modes.auto.controllers_mean = 1.2345'),
    (LATE, 'modes/auto/chunks', 7, 'modes.auto.'),
    (LATE, 'modes/auto/successes', 1, 'modes.auto.successes = 1: expected 9'),
    (LATE, 'modes/auto/success_rate', 0.5, 'modes.auto.success_rate = 0.5'),
    (LATE, 'modes/auto/families/pick/success_rate', 0.5, 'modes.auto.families.pick.success_rate'),
    (LATE, 'won/auto', reversed_, 'modes.auto.families.'),
    (LATE, 'won/auto', lambda marks: 'x' + marks[1:], 'won.auto = '),
    (LATE, 'won/auto', GONE, 'won = '), (LATE, 'won', GONE, 'won is missing'),
    (LATE, 'won', None, 'won is missing'),
    (LATE, 'latency', '0.1', "latency = '0.1': expected '0.4'"),
    (LATE, 'latency', None, 'latency is missing'),
    (LATE, 'latency', 'measured', "latency = 'measured'"),
    (LATE, 'paired/auto/loss', 0.5, 'paired.auto.loss = 0.5'),
    (LATE, 'piece', 'latency_three_tabletop', 'piece = '),
    (LATE, 'date', '2026-11-29', 'columns is missing: expected the lines of its episodes'),
    (LINES, 'split', 'train', "split = 'train': expected 'heldout_objects'"),
    (LINES, 'first_seed', GONE, 'first_seed is missing: expected a whole number'),
    (LINES, 'first_seed', 70_000_000, 'first_seed = 70000000: expected 71000000'),
    (LINES, 'date', GONE, 'date is missing: expected a date'),
    (LINES, 'latency', GONE, 'latency is missing'), (LINES, 'split', GONE, 'split is missing'),
    (LINES, 'modes', [], 'modes is missing: expected an object'),
    (LINES, 'modes', {}, 'modes = {}: expected an object of at least 1'),
    *((LINES, f'modes/auto/{key}', GONE, f'modes.auto.{key} is missing: expected')
      for key in ('episodes', 'successes', 'layers_run_mean', 'layers_total', 'backbone_ms',
                  'pass_ms', 'rerun_rate', 'controllers_mean', 'seconds_median')),
    (LINES, 'modes/auto/layers_run_mean', 3.0, 'modes.auto.layers_run_mean = 3.0'),
    (LINES, 'modes/auto/rerun_rate', 0.9, 'modes.auto.rerun_rate = 0.9'),
    (LINES, 'modes/auto/seconds_median', 1.0, 'modes.auto.seconds_median = 1.0'),
    (LINES, 'modes/auto/backbone_ms/p50', 0.1, 'modes.auto.backbone_ms.p50 = 0.1'),
    (LINES, 'won/auto', reversed_, 'won.auto['), (LINES, 'won/auto', GONE, 'won = '),
    (LINES, 'won', GONE, 'won is missing'), (LINES, 'columns', GONE, 'columns is missing'),
    (LINES, 'columns', lambda columns: columns[::-1], 'columns[0] = '),
    (LINES, 'episodes', GONE, 'episodes is missing'),
    (LINES, 'episodes', None, 'episodes is missing'),
    (LINES, 'episodes/auto', GONE, 'episodes = '), (LINES, 'episodes/auto', [], 'episodes.auto'),
    (LINES, 'episodes/auto', lambda lines: lines[:10], "modes.auto = '10 episodes': expected 100"),
    (LINES, 'episodes/auto', lambda lines: [*lines, lines[0]], "episodes.auto = '101 lines'"),
    (LINES, 'episodes/auto', lambda lines: lines[::-1], 'won.auto['),
    (LINES, 'episodes/auto/3', 7, 'episodes.auto[3] = 7: expected a text'),
    (LINES, 'episodes/auto/3', '1,2', "episodes.auto[3] = '1,2': expected a line as"),
    (LINES, 'episodes/auto/3', lambda line: ','.join([*line.split(',')[:14], 'nan',
     *line.split(',')[15:]]),
     "seconds = 'nan', expected a number"),
    (LINES, 'played_with', GONE, 'played_with is missing'),
    (LINES, 'played_with/bundle/sha256', 'x', "played_with.bundle.sha256 = 'x'"),
    (LINES, 'played_with/latency', 0.4, 'played_with.latency = 0.4'),
    (LINES, 'decided', ['nope'], "decided = 'nope'"), (LINES, 'decided', 3, 'decided = 3'),
    (LINES, 'episodes_played', 'x', "episodes_played = 'x'"),
    (LINES, 'episodes_played', 90, 'expected 90, as episodes_played says'),
    (LINES, 'episodes_wanted', 1000, 'episodes_wanted = 1000'),
    (LINES, 'paired/auto/low', 0.5, 'paired.auto.low = 0.5'),
    (LINES, 'paired_fixed/reference', 'fixed 9', "paired_fixed.reference = 'fixed 9'"),
    (LINES, 'random_depth', 0.5, 'random_depth = 0.5'), (LINES, 'machine', 4, 'machine = 4'),
    (LINES, 'seconds', 'x', "seconds = 'x'"),
    ('noise_tabletop', 'modes/full', GONE, 'expected full too'),
    ('noise_tabletop', 'modes/noise_free 0.3', GONE, 'expected noise_free 0.3 too'),
    ('noise_tabletop', 'rows', 3, 'rows = 3'),
    ('fixed_exits_tabletop', 'episodes', GONE, 'episodes is missing'),
    ('fixed_exits_tabletop', 'episodes/auto/0/seed', 781_000, 'episodes.auto[0].seed = 781000'),
    ('fixed_exits_tabletop', 'episodes/auto/0/layers_run', 0, 'modes.auto.layers_run_mean'),
    ('fixed_exits_tabletop', 'episodes/auto', lambda found: found[:10], 'modes.auto.episodes'),
    (BENCH, 'reruns', GONE, 'reruns is missing'), (BENCH, 'date', GONE, 'date is missing'),
    (BENCH, 'controllers', GONE, 'controllers is missing'),
    (BENCH, 'device', GONE, 'device is missing'),
    (BENCH, 'stages/backbone/p50', 0, 'stages.backbone.p50 = 0: expected a number above 0'),
    (BENCH, 'versions', GONE, 'versions'),
    (HEADROOM, 'offline/exits/0/error/p50', float('nan'), 'offline.exits[0].error.p50 = nan'),
    (HEADROOM, 'offline/exits/0/within/0.06', 2.0, 'offline.exits[0].within.0.06 = 2.0'),
    (HEADROOM, 'offline/exits/0/within/0.06', GONE, 'offline.exits[0].within'),
    (HEADROOM, 'closed_loop/train/rows/fixed 5/success_rate', 0.123,
     'success_rate = 0.123'),
    (HEADROOM, 'offline/oracle/0/layers_mean', 3.0, 'offline.oracle[0].layers_mean = 3.0'),
    (HEADROOM, 'offline/oracle/0/histogram/2', 9, 'offline.oracle[0].histogram = '),
    (HEADROOM, 'offline/oracle/0/histogram/x', 9, "offline.oracle[0].histogram = 'x'"),
    (HEADROOM, f'{TRAIN}/rows/fixed 5/success_rate', 0.95, 'fixed 5.success_interval['),
    (HEADROOM, f'{TRAIN}/rows/fixed 5/success_interval/0', 0.1, 'success_interval[0] = 0.1'),
    (HEADROOM, f'{TRAIN}/rows/fixed 5/layers_run_mean', 3.0, 'fixed 5.layers_run_mean = 3.0: exp'),
    (HEADROOM, f'{TRAIN}/rows/fixed 5/loss', -0.2, 'rows.fixed 5.loss = -0.2'),
    (HEADROOM, f'{TRAIN}/rows/fixed 5/families/pick/success_rate', 0.5, 'pick.success_interval['),
    (HEADROOM, f'{TRAIN}/rows/fixed 5/families/pick', GONE, 'fixed 5.families = 90'),
    (HEADROOM, f'{TRAIN}/headroom_layers', 2.0, 'train.headroom_layers = 2.0'),
    (HEADROOM, f'{TRAIN}/best_fixed_layers', 9.0, 'train.best_fixed_layers = 9.0'),
    ('gate_tabletop', 'verdict', GONE, 'verdict is missing'),
    ('gate_tabletop', 'verdict', 'ahead of a fixed exit: gate 0.02 before fixed 7',
     "verdict = 'ahead of"),
    ('gate_tabletop', 'gate/7/layers', 5.0, 'gate[7].layers_free = '),
    ('gate_tabletop', 'gate/2/error_mean', 0.9, "verdict = 'no gate is ahead"),
    ('soak_x86_2core', 'rate_hz_mean', 59.0, 'rate_hz_mean = 59.0: expected 30.02'),
    ('soak_x86_2core', 'rate_hz_least', 30, 'rate_hz_least = 30: expected 27'),
    ('soak_x86_2core', 'seconds_commanded', 3600, 'seconds_commanded = 3600: expected 2478'),
    ('soak_x86_2core', 'ok', False, 'ok = False: expected True'),
    ('trained_libero_spatial', 'recipe', GONE, 'recipe is missing'),
    ('trained_libero_spatial', 'train/seconds', 'long', "train.seconds = 'long'"),
    ('trained_libero_spatial', 'distill/trained_parameters', GONE, 'distill.trained_parameters'),
    ('soak_x86_2core', 'problems', 5, 'problems = 5: expected a list'),
    *((OBJECT, key, GONE, f'{key} is missing')
      for key in ('suite', 'control', 'replan', 'date', 'world')),
    (OBJECT, 'first_start', '0', "first_start = '0'"), (OBJECT, 'policy', 7, 'policy = 7'),
    (OBJECT, 'suite', 'libero_nothing', "suite = 'libero_nothing'"),
    (OBJECT, 'rows/auto/controllers_mean', GONE, 'rows.auto.controllers_mean is missing'),
    (OBJECT, 'rows/auto/controllers_mean', 1.23456, 'rows.auto.controllers_mean = 1.23456'),
    (OBJECT, 'rows/full/controllers_mean', 4.0, 'rows.full.controllers_mean = 4.0: expected 0'),
    (OBJECT, 'rows/auto/rerun_rate', 0.99, 'rows.auto.rerun_rate = 0.99'),
    (OBJECT, 'rows/full/layers_total', 32, 'rows.full.layers_run_mean = 16.0: expected 32'),
    (OBJECT, 'rows/auto/layers_total', 32, 'rows.auto.layers_total = 32: expected 16'),
    (OBJECT, 'rows/auto/pass_ms', 0.0, 'rows.auto.pass_ms = 0.0'),
    (OBJECT, 'rows/auto/pass_ms', 1.0, 'rows.auto.backbone_ms = '),
    (OBJECT, 'rows/auto/success_rate', 0.5, 'rows.auto.success_rate = 0.5'),
    (OBJECT, 'episodes/auto', [], 'episodes.auto is missing: expected a list of at least 1'),
    (OBJECT, 'paired/auto/loss', 0.5, 'paired.auto.loss = 0.5'),
])  # fmt: skip
def test_a_report_that_was_damaged_or_edited_is_one_line_with_its_file_and_field(
    name, place, value, field, said
):
    found = said(**{name: spoilt(name, place, value)})
    assert f'{name}.json' in found and field in found, found


@pytest.mark.parametrize(
    ('text', 'why'),
    [(b'', 'not valid JSON'), (b'{"modes": {', 'not valid JSON'), (b'\xff\xfe{', 'not valid JSON'),
     (b'[]', 'expected a report as dysl wrote it'), (b'{"a": 1, "a": 2}', 'stands twice'),
     (b'[' * 100_000, 'nested too deeply'), (b'null', 'expected a report as dysl wrote it')],
)  # fmt: skip
@pytest.mark.parametrize('name', ['libero_spatial', 'latency_one_tabletop', 'mine'])
def test_a_file_that_is_no_report_is_named(name, text, why, said):
    found = said(**{name: text})
    assert f'{name}.json' in found and why in found


def test_a_report_of_no_known_kind_is_refused_by_name_and_not_left_out(said):
    assert 'mine.json = ' in said(mine={'figures': [1, 2]})


def test_a_policy_s_report_that_is_spoilt_does_not_make_another_row_its_table(said):
    further = committed('libero_spatial_by_instruction')
    without = spoilt('libero_spatial', 'world', GONE)
    found = said(libero_spatial=without, libero_spatial_by_instruction=further)
    assert "libero_spatial.json: world is missing: expected 'libero'" in found


TABLE, K9 = 'ablation_tabletop', 'ablation_k9_tabletop'


def test_a_report_without_the_table_that_it_joins_says_what_makes_that(said):
    assert f'{K9}.json: joins = {TABLE!r}' in said(**{K9: committed(K9)})
    said(0, **{K9: committed(K9), TABLE: committed(TABLE)})


@pytest.mark.parametrize(('place', 'value', 'field'), [
    ('latency', '0.1', 'latency'), ('joins', 'results_tabletop', 'joins'),
    ('as', {'auto': 'k 1'}, 'as'), ('as', {'full': 'k 9'}, 'as'), ('as', GONE, 'as'),
    ('joins', GONE, 'joins'), ('families', ['pick', 'bin', 'place'], 'families'),
    ('time_limit', 20.0, 'time_limit'),
    ('played_with/bundle/sha256', '0' * 64, 'played_with.bundle'),
    ('played_with/parameters/gripper', {'dwell_s': 2.0}, 'played_with.parameters'),
])  # fmt: skip
def test_a_row_of_another_policy_or_of_other_episodes_does_not_join_a_table(
    place, value, field, said
):
    found = said(**{K9: spoilt(K9, place, value), TABLE: committed(TABLE)})
    assert f'{K9}.json: {field}' in found


def test_a_dense_run_is_no_fine_tuned_exit_whatever_it_is_called(said):
    table = committed(LINES)
    dense = {**copy.deepcopy(table), 'piece': f'{LINES}_fixed_8', 'joins': LINES,
             'as': {'full': 'tuned fixed 8'}, 'paired': {}, 'paired_fixed': None, 'decided': [],
             'random_depth': None}  # fmt: skip
    for key in ('modes', 'won', 'episodes'):
        dense[key] = {'full': dense[key]['full']}
    called = f'{LINES}_fixed_8.json: played_with.bundle.name = '
    assert f"{called}'tabletop': expected 'fixed_8'" in said(
        **{LINES: table, f'{LINES}_fixed_8': dense}
    )
    dense['played_with']['bundle'] = {'name': 'fixed_8', 'sha256': '0' * 64}
    assert 'modes.full.layers_total = 20: expected 9' in said(**{f'{LINES}_fixed_8': dense})


SPATIAL = ('libero_spatial', 'libero_spatial_fixed_8', 'libero_spatial_hard_fixed_8',
           'libero_spatial_seed_1', 'libero_spatial_seed_1_fixed_8')  # fmt: skip


def test_fine_tuned_exits_of_two_policies_that_were_exchanged_contradict_other_reports(said):
    reports = {name: committed(name) for name in SPATIAL}
    said(0, **reports)
    one, other = SPATIAL[1], SPATIAL[4]
    found = said(**{one: reports[other], other: reports[one]})
    assert '.json: policy = ' in found and 'fixed_8 of the same policy' in found


def test_a_bundle_of_another_number_of_layers_is_not_the_exit_that_its_report_names(said):
    reports = {name: committed(name) for name in SPATIAL[:1]}
    other = {**committed('libero_spatial_fixed_9'), 'bundle': 'fixed_8'}
    found = said(**reports, libero_spatial_fixed_8=other)
    assert 'libero_spatial_fixed_8.json: rows.full.layers_total = 10: expected 9' in found


def test_layers_of_one_policy_are_the_same_in_all_of_its_reports(said):
    further = spoilt('libero_spatial_by_instruction', 'rows/by_instruction/layers_total', 32)
    found = said(libero_spatial=committed('libero_spatial'), libero_spatial_by_instruction=further)
    assert 'rows.by_instruction.layers_total = 32: expected 16, as libero_spatial.json' in found


def test_the_names_that_evidence_may_have_are_those_of_the_folder_s_own_page():
    page = (EVIDENCE / 'README.md').read_text('utf-8')
    assert all(head in page for kind in KINDS for head in kind.heads)
