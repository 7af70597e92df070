"""The results page is what the committed JSON says, and what was not run is named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.cli.report import write_json
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.anchor_rows import KINDS
from dysl_vla_ros.lab.evaluation.evidence_files import LARGEST, read_evidence
from dysl_vla_ros.lab.evaluation.results_figure import figure
from dysl_vla_ros.lab.evaluation.results_page import (
    ABLATIONS,
    PARETO,
    cost_table,
    render,
    table,
)
from dysl_vla_ros.lab.evaluation.statistics import paired_difference

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE, PAGE = ROOT / 'doc' / 'evidence', ROOT / 'doc' / 'results.md'
PICTURE = PAGE.with_suffix('.svg')


def told(wins, layers=8.0, episodes=40):
    return {'episodes': episodes, 'successes': wins, 'layers_run_mean': layers, 'layers_total': 20,
            'controllers_mean': 1.0, 'rerun_rate': 0.01, 'seconds_median': 5.0,
            'hold_ratio': 0.0, 'backbone_ms': {'p50': 4.96}, 'pass_ms': {'p50': 6.0},
            }  # fmt: skip


def report(**rows):
    modes = {name.replace('_', ' ').replace('static only', 'static_only'): told(wins)
             for name, wins in rows.items()}  # fmt: skip
    return {'modes': modes, 'paired': {}, 'paired_fixed': None, 'first_seed': 5, 'split': 'train',
            'latency': '0.02', 'date': '2026-01-01', 'probe': 'none'}  # fmt: skip


def test_the_page_is_what_the_committed_evidence_says():
    size = sum(path.stat().st_size for path in EVIDENCE.glob('*.json'))
    assert size < LARGEST
    evidence = read_evidence(EVIDENCE)
    assert PAGE.read_text('utf-8') == render(evidence), 'run: dysl results --write doc/results.md'
    assert PICTURE.read_text('utf-8') == figure(evidence), 'and commit the picture beside it'


def test_what_the_page_says_of_noise_beside_the_paper_is_so_in_the_evidence():
    found = read_evidence(EVIDENCE)['noise_tabletop']
    lines = [[cell.split()[0] for cell in line.strip('| ').split(' | ')]
             for line in PAGE.read_text('utf-8').splitlines()
             if re.match(r'^\| 0\.[3-6] \|', line)]  # fmt: skip
    assert [line[0] for line in lines] == ['0.3', '0.4', '0.5', '0.6']
    for size, _, lost_fine, each_fine, _, lost_free, each_free in lines:
        told = found['paired'][f'noise_free {size}']['loss']
        assert float(lost_free) == pytest.approx(100 * told, abs=0.05)
        assert float(lost_free) > float(lost_fine), 'whole phases: more in reach and carry'
        assert (float(each_fine) > float(each_free)) == (float(size) >= 0.5)
        assert float(size) >= 0.5 or float(lost_fine) == 0


def test_what_the_page_says_of_the_guidance_beside_the_paper_is_so_in_the_evidence():
    found = read_evidence(EVIDENCE)['ablation_tabletop']
    wins = {row: [mark == '1' for mark in marks] for row, marks in found['won'].items()}
    assert wins['no_rerun'] == wins['auto']
    lost = paired_difference(wins['auto'], wins['no_pre_skip'])
    layers = [found['modes'][row]['layers_run_mean'] for row in ('auto', 'no_pre_skip')]
    said = next(line for line in PAGE.read_text('utf-8').splitlines()
                if line.startswith('| without pre-skip guidance'))  # fmt: skip
    shown = [round(100 * value, 1) for value in lost]
    assert '{} points ({} to {})'.format(*shown) in said
    assert f'{100 * sum(wins["no_pre_skip"]) / 200:.1f} % without it' in said
    assert f'{100 * sum(wins["auto"]) / 200:.1f} % with it' in said
    assert f'{layers[0] - layers[1]:.1f} layers fewer' in said


def test_every_row_that_was_asked_for_is_there_or_named_as_not_run():
    page = PAGE.read_text('utf-8')
    for wanted in (*PARETO, *ABLATIONS):
        assert f'| {wanted.name} |' in page or f'- {wanted.name}: needs ' in page, wanted.name
    for letter in 'abcdef':
        assert re.search(rf'^## \({letter}\) ', page, re.M), letter


def test_a_row_that_a_report_has_is_in_its_table_and_not_among_the_missing():
    page = render({'results_tabletop': report(full=39, auto=38, random=8)})
    assert '| random | 40 | 20.0 % (10 to 35) | 8.0 of 20 |' in page
    missing = page[page.index('Not run:') : page.index('### LIBERO')]
    assert 'random' not in missing and 'static: needs' in missing and 'DeeR: needs' in missing


def test_a_table_compares_with_dense_and_with_the_fixed_exit():
    found = report(full=40, fixed_8=40, auto=38)
    found['paired'] = {'auto': {'loss': 0.05, 'low': -0.01, 'high': 0.11}}
    found['paired_fixed'] = {'reference': 'fixed 8', 'rows': {
        'auto': {'loss': 0.05, 'low': -0.02, 'high': 0.12}}}  # fmt: skip
    line = next(line for line in table(found, PARETO).splitlines() if 'DySL' in line)
    assert '5.0 (-1.0 to 11.0) | 5.0 (-2.0 to 12.0)' in line


def test_what_a_chunk_costs_and_how_the_arm_moves_stand_in_a_table_of_their_own():
    found = report(full=40, auto=38)
    found['modes']['auto'] |= {'way': 1.94, 'jerk_rms': 16.6, 'jerk_peak': 70.5}
    found['paired'] = {'auto': {'loss': 0.05, 'low': 0.0, 'high': 0.1, 'backbone_time_ratio': 0.44,
                                'pass_time_ratio': 0.54}}  # fmt: skip
    lines = cost_table(found, PARETO).splitlines()
    assert lines[2] == '| dense | 5.0 ms |  | 6.0 ms |  |  |  |  |', 'older ones have times alone'
    assert lines[3] == '| DySL `auto` | 5.0 ms | 44 % | 6.0 ms | 54 % | 1.9 rad | 17 | 70 |'
    assert lines[3] in render({'results_tabletop': found})


def test_a_time_beside_other_work_is_shown_only_where_dense_had_the_same_beside_it():
    found = report(full=40, auto=38)
    found['modes']['random'] = told(4, episodes=20)  # decided early
    found['modes']['tuned fixed 8'] = told(40)  # of another run, which joins
    found['paired'] = {row: {'loss': 0.0, 'low': 0.0, 'high': 0.0, 'backbone_time_ratio': 0.4,
                             'pass_time_ratio': 0.5} for row in ('auto', 'random')}  # fmt: skip
    rows = {line.split(' | ')[0].strip('| '): line.split(' | ')[1:5]
            for line in cost_table(found, PARETO).splitlines()}  # fmt: skip
    assert rows['DySL `auto`'] == ['5.0 ms', '40 %', '6.0 ms', '50 %']
    assert rows['random'] == ['', '40 %', '', '50 %']
    assert rows['fixed exit 8, fine-tuned'] == ['', '', '', '']


def test_without_evidence_no_figure_of_ours_stands_beside_the_papers():
    page = render({})
    paper = page[page.index("## The paper's numbers") :]
    assert paper.count('| not run |') == 7
    assert '97.1 % | 96.5 %' in paper and '43 %' not in paper and '1.4 layers' not in paper


def test_an_anchor_is_a_row_beside_what_it_played_the_same_episodes_as():
    base = {**report(), 'episodes_per_family': 1,
            'modes': {'full': told(3, episodes=4), 'fixed 8': told(3, episodes=4)},
            'won': {'full': '1101', 'fixed 8': '1110'},
            'paired_fixed': {'reference': 'fixed 8', 'rows': {}}}  # fmt: skip
    anchor = {**report(), 'modes': {'full': told(2, episodes=4)}, 'episodes_per_family': 1,
              'won': {'full': '1100'},
              'joins': 'results_tabletop', 'as': {'full': 'layers 9'}}  # fmt: skip
    page = render({'results_tabletop': base, 'results_tabletop_layers_9': anchor})
    line = next(line for line in page.splitlines() if line.startswith('| n-layer, 9'))
    assert '| 25.0 (' in line and '- n-layer, 9:' not in page
    begun = {**anchor, 'won': {'full': '11'}, 'modes': {'full': told(2, episodes=2)}}
    page = render({'results_tabletop': base, 'results_tabletop_layers_9': begun})
    line = next(line for line in page.splitlines() if line.startswith('| n-layer, 9'))
    assert '| 0.0 (' in line, 'compared on the episodes that both have'


def test_distillations_are_played_as_deployed_and_what_never_skips_dense():
    from dysl_vla_ros.config import NodeConfig
    from dysl_vla_ros.lab.evaluation.results_run import anchored, pieces

    known = pieces(NodeConfig(), 'bundle', 1)
    wanted = {
        ('results_tabletop', 'fixed_8'): ('full', 'tuned fixed 8'),
        ('results_heldout', 'layers_9'): ('full', 'layers 9'),
        ('ablation_tabletop', 'random_static_1'): ('auto', 'random static 1'),
        ('ablation_tabletop', 'stages_2'): ('auto', 'stages 2'),
    }
    for (piece, anchor), (mode, shown) in wanted.items():
        found = anchored(known[piece], piece, anchor)
        assert found.options.modes == (mode,) and found.renamed == ((mode, shown),)
        assert found.options.specs() == known[piece].options.specs(), 'the same episodes'
    for wrong in ('static_1', 'fixed_', 'stages', 'layers_x'):
        with pytest.raises(ConfigError, match=f"anchor = '{wrong}'"):
            anchored(known['ablation_tabletop'], 'ablation_tabletop', wrong)


def test_every_anchor_that_may_be_played_has_a_row_in_a_table():
    shown = {PARETO: [], ABLATIONS: []}
    for kind in KINDS.values():
        table = ABLATIONS if 'ablation_tabletop' in kind.tables else PARETO
        shown[table] += [f'{kind.shown} {number}' for number in kind.numbers]
    for table, rows in shown.items():
        has = [row for wanted in table for row in wanted.rows if wanted.needs.count('--anchor')]
        assert sorted(has) == sorted(rows)


@pytest.mark.parametrize(
    ('piece', 'anchor', 'right'),
    [
        ('latency_zero_tabletop', 'stages_7', 'expected no anchor: the table of latency_zero_'),
        ('ablation_k1_tabletop', 'stages_1', 'expected no anchor'),
        ('ablation_tabletop', 'fixed_8', 'expected one of random_static_1, random_static_2'),
        ('results_tabletop', 'fixed_4', 'expected one of fixed_8, fixed_7, fixed_6, fixed_5, '),
        ('results_tabletop', 'fixed_8', 'bundle of fixed_8 that dysl anchors wrote'),
    ],
)
def test_an_anchor_that_is_none_or_has_no_row_is_refused_before_it_plays(
    piece, anchor, right, tmp_path, capsys
):
    model = str(ROOT / 'resource' / 'models' / 'tabletop')
    words = ['results', '--run', piece, '--anchor', anchor, '--engine', model, '--evidence',
             str(tmp_path), '--keep', str(tmp_path / 'keep'), '--minutes', '1e-9']  # fmt: skip
    assert main(words) == 2
    err = capsys.readouterr().err
    assert right in err and len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_held_out_run_does_not_stand_for_the_trained_pairs():
    held_out = {**report(full=30, random=5), 'split': 'heldout_objects'}
    page = render({'results_heldout': held_out})
    assert '- random: needs ' in page


def test_the_command_checks_writes_and_refuses_what_is_not_its_own(tmp_path, capsys):
    evidence, page = tmp_path / 'evidence', tmp_path / 'results.md'
    evidence.mkdir()
    for name in ('ablation_tabletop', 'latency_one_tabletop'):
        shutil.copy(EVIDENCE / f'{name}.json', evidence)
    given = ['results', '--evidence', str(evidence)]
    assert main([*given, '--check', str(page)]) == 1
    assert main([*given, '--write', str(page)]) == 0
    assert main([*given, '--check', str(page)]) == 0
    picture = tmp_path / 'results.svg'
    picture.write_text(picture.read_text().replace('episodes', 'episode'))
    assert main([*given, '--check', str(page)]) == 1
    assert main([*given, '--write', str(page)]) == 0
    for path, mine in ((page, '# Mine\n'), (picture, '<svg>mine</svg>')):
        before = path.read_text()
        path.write_text(mine)
        assert main([*given, '--write', str(page)]) == 2
        assert path.read_text() == mine
        path.write_text(before)
    assert main([*given, '--write', str(picture)]) == 2
    assert main(['results', '--evidence', str(tmp_path / 'none')]) == 2
    capsys.readouterr()


@pytest.mark.slow
def test_a_piece_is_played_in_goes_and_its_page_has_the_rows(tmp_path, capsys):
    """The ten-minute version: the whole way from episodes to the page, small."""
    evidence = tmp_path / 'evidence'
    evidence.mkdir()
    given = [
        'results',
        '--evidence',
        str(evidence),
        '--keep',
        str(tmp_path / 'keep'),
        '--workers',
        '1',
        '--episodes',
        '1',
        '--run',
        'ablation_tabletop',
        'ablation_k1_tabletop',
    ]
    assert main([*given, '--minutes', '1e-9']) == 3, 'two pieces are left'
    assert not list(evidence.glob('*.json')), 'no time, no file'
    assert main(given) == 0
    lines = (tmp_path / 'keep' / 'ablation_tabletop.jsonl').read_text().count('\n')
    assert main(given) == 0
    assert (tmp_path / 'keep' / 'ablation_tabletop.jsonl').read_text().count('\n') == lines
    found = json.loads((evidence / 'ablation_tabletop.json').read_text())
    assert set(found['modes']) == {
        'full', 'auto', 'ceil', 'printed', 'max_skip', 'no_pre_skip', 'no_rerun'}  # fmt: skip
    capsys.readouterr()
    assert main(['results', '--evidence', str(evidence)]) == 0
    page = capsys.readouterr().out
    assert '| without post-skip | 4 |' in page and '| k = 1 | 4 |' in page
    assert '- k = 9: needs' in page
    more = [*given[:-4], '2', *given[-3:-1], '--minutes', '1e-9']
    target = evidence / 'ablation_tabletop.json'
    assert main(more) == 3
    found = json.loads(target.read_text())
    assert (found['episodes_played'], found['episodes_wanted']) == (4, 8)
    fewer = [word if word != '2' else '1' for word in more]
    assert main([*fewer, '--keep', str(tmp_path / 'another')]) == 0
    assert json.loads(target.read_text())['episodes_played'] == 4, 'played from the report alone'
    found['episodes_played'] = 5
    write_json(target, found)
    assert main(more) == 2, 'a report that says two things is not gone on with'
    assert json.loads(target.read_text()) == found


def test_a_soak_that_missed_something_says_so():
    soak = {'rate_hz_mean': 30.02, 'rate_hz_least': 21, 'ok': False}
    page = render({'soak_here': {**soak, 'problems': ['a second with 21 commands']}})
    assert 'rate_hz_mean 30.02, rate_hz_least 21. Missed: a second with 21 commands' in page
    assert 'Missed' not in render({'soak_here': {**soak, 'problems': []}})


@pytest.mark.parametrize(('words', 'said'), [
    (['--run', 'noise_tabletop', '--check', 'x.md'], "--check = 'x.md' beside --run"),
    (['--run', 'noise_tabletop', '--write', 'x.md'], "--write = 'x.md' beside --run"),
    (['--check', 'x.md', '--write', 'y.md'], "--write = 'y.md' beside --check"),
    *(([option, value], f"{option} = '{value}' without --run") for option, value in (
        ('--anchor', 'fixed_8'), ('--engine', 'x'), ('--episodes', '2'), ('--minutes', '1'),
        ('--keep', 'x'), ('--workers', '1'))),
])  # fmt: skip
def test_an_option_that_the_command_could_not_obey_is_refused_by_its_name(
    words, said, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(['results', '--evidence', str(EVIDENCE), *words]) == 2
    assert said in capsys.readouterr().err.replace(': expected to be left away', '')
    assert list(tmp_path.iterdir()) == []


def begun(tmp_path, spoil=None, name='ablation_k9_tabletop'):
    """The call that goes on from a committed report in which something was changed."""
    found = json.loads((EVIDENCE / f'{name}.json').read_text())
    if spoil is not None:
        spoil(found)
    write_json(tmp_path / f'{name}.json', found)
    return ['results', '--run', name, '--episodes', '2', '--evidence', str(tmp_path),
            '--minutes', '1e-9', '--keep', str(tmp_path / 'keep')]  # fmt: skip


def test_a_report_of_another_bundle_is_not_replaced_however_many_episodes_it_has(tmp_path, capsys):
    def other(found):
        found['played_with']['bundle']['sha256'] = '0123456789ab' + 52 * '0'

    words = begun(tmp_path, other)
    before = (tmp_path / 'ablation_k9_tabletop.json').read_bytes()
    assert main(words) == 2
    err = capsys.readouterr().err
    assert (
        "ablation_k9_tabletop.json: played_with.bundle = 'tabletop 0123456789ab': expected" in err
    )
    assert re.search(r"'tabletop [0-9a-f]{12}', as it would be played now", err)
    assert '--evidence' in err and len(err.splitlines()) == 1
    assert (tmp_path / 'ablation_k9_tabletop.json').read_bytes() == before
    assert not (tmp_path / 'keep').exists(), 'nothing was begun'


def test_a_report_that_does_not_say_what_it_was_played_with_is_not_replaced(tmp_path, capsys):
    assert main(begun(tmp_path, name='latency_half_tabletop')) == 2
    assert 'latency_half_tabletop.json: played_with is missing' in capsys.readouterr().err


def put(place, value):
    def spoil(found):
        *path, last = place
        for step in path:
            found = found[step]
        if value is KeyError:
            del found[last]
        else:
            found[last] = value

    return spoil


@pytest.mark.parametrize(('place', 'value', 'said'), [
    (('episodes',), KeyError, 'episodes is missing'), (('episodes',), None, 'episodes is missing'),
    (('episodes',), [], 'episodes is missing'), (('modes',), [], 'modes is missing'),
    (('episodes', 'auto', 3), 7, 'episodes.auto[3] = 7'), (('rows',), 3, 'rows = 3'),
    (('episodes_played',), 'many', "episodes_played = 'many'"),
    (('seconds',), 'x', "seconds = 'x'"),
    (('machine',), 4, 'machine = 4'), (('split',), 'heldout', "split = 'heldout'"),
    (('episodes', 'auto', 0), '1,72,18,0,161,58,20,4,0,115,0,0,0,0,nan,0.26667,13.712,68.828,'
     '1.443,0.015446,0.010442,6:3 7:6 20:1,6:1 19:1 20:1,6:1 7:2 8:2,', "seconds = 'nan'"),
])  # fmt: skip
def test_a_damaged_report_of_an_earlier_go_is_named_before_anything_is_played(
    place, value, said, tmp_path, capsys
):
    assert main(begun(tmp_path, put(place, value))) == 2
    err = capsys.readouterr().err
    assert 'ablation_k9_tabletop.json: ' in err and said in err, err
    assert len(err.splitlines()) == 1 and not (tmp_path / 'keep').exists()
