"""``dysl bench`` on a tiny bundle: a card for people, and one JSON document with ``--json``."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
import tiny_bundle
from rich.console import Console

from dysl_vla_ros.cli import bench as module
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.evaluation.bench_card import card
from dysl_vla_ros.lab.evaluation.results_page import render


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle'), layers=6)


@pytest.fixture(scope='module')
def stopped(tmp_path_factory, folder):
    """Exit code and output of one run."""
    out = io.StringIO()
    path = tmp_path_factory.mktemp('out') / 'bench.json'
    with contextlib.redirect_stdout(out):
        code = main(['bench', '--engine', str(folder), '--runs', '2', '--warm-up', '1',
                     '--count', '3', '--json', str(path)])  # fmt: skip
    return code, out.getvalue(), path


def test_the_card_is_for_people_and_json_is_only_in_the_file(stopped):
    code, text, path = stopped
    document = json.loads(path.read_text())
    assert code == 0 and '{' not in text and 'interrupted' not in document
    assert max(map(len, text.splitlines())) <= 80
    assert document['format'] == 'dysl_vla_bench' and document['bundle']['name'] == 'tiny'


def test_the_document_holds_every_part(stopped):
    document = json.loads(stopped[2].read_text())
    assert set(document['stages']) == {'encode', 'backbone', 'decode'}
    assert [row['layers_run'] for row in document['depths']] == [6, 5, 4]
    assert set(document['modes']) == {'full', 'auto', 'max_skip'}
    assert document['modes']['full']['layers_run_mean'] == 6
    assert document['observations'] == {'source': 'simulator', 'count': 3}
    assert {'before', 'after', 'slowdowns'} == set(document['hardware'])
    assert document['versions']['numpy']
    assert document['same_bits'] is True and document['tokens'] > 0
    roof = document['roof']
    assert roof['rates']['flops'] > 1e8 and roof['rates']['bandwidth'] > 1e7
    for stage, row in roof['stages'].items():
        assert row['measured_ms'] == document['stages'][stage]['p50'] and row['floor_ms'] > 0
    assert 'cpu_threads' in document['hardware']['before']
    assert document['one_graph']['backbone']['p50'] > 0, 'the layers were joined and timed'


def test_the_card_names_the_physics(stopped):
    text = stopped[1]
    text = ' '.join(text.split())
    for words in ('The backbone is', 'ceiling', 'asking one controller costs', 're-run from',
                  'max_skip', 'machine', 'floor ms', 'Live at '):  # fmt: skip
        assert words in text


def test_the_results_page_shows_what_a_pass_and_its_cuts_cost(stopped):
    document = json.loads(stopped[2].read_text())
    section = render({'bench_tiny': document}).split('## (d)')[1].split('## (e)')[0]
    assert '`bench_tiny.json`: tiny, CPU' in section and 'the same bits' in section
    ratio = document['one_graph']['backbone']['p50'] / document['stages']['backbone']['p50']
    assert f'{ratio:.3f} |' in section
    rows = [line for line in section.splitlines() if line.startswith('| ') and ' % |' in line]
    assert len(rows) == len(document['reruns'])


def slow(part):
    """The same document from a machine on which everything takes seconds."""
    if isinstance(part, dict):
        return {k: 9999.99 if k in ('p50', 'p95', 'p99') else slow(v) for k, v in part.items()}
    return [slow(item) for item in part] if isinstance(part, list) else part


def test_the_card_fits_a_terminal_of_eighty_columns(stopped):
    document = slow(json.loads(stopped[2].read_text()))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(card(document))
    tables = [line for line in console.export_text().splitlines() if '─' in line]
    assert len(tables) == 5 and max(map(len, tables)) <= 80


def test_a_card_says_that_made_up_images_tell_nothing_of_depth(stopped):
    document = json.loads(stopped[2].read_text())
    document['observations'] = {'source': 'made up', 'count': 3}
    document['hardware']['slowdowns'] = ['on battery']
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(card(document))
    text = console.export_text()
    assert 'says nothing about your scene' in text and '! on battery' in text


def test_a_card_names_the_modes_that_the_observations_cannot_measure_and_what_would_be_right(
    stopped,
):
    document = json.loads(stopped[2].read_text())
    document['modes'] = {'full': document['modes']['full']}
    document['modes_left_out'] = {'auto': '3 of 9 follow: expected a recording'}
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(card(document))
    assert 'Not measured: auto. 3 of 9 follow: expected a recording.' in console.export_text()


def test_a_cost_below_the_noise_is_not_given_as_a_number(stopped):
    document = json.loads(stopped[2].read_text())
    console = Console(width=200, record=True, file=io.StringIO())
    for cost, words in ((-0.5, 'costs less than the noise'), (0.25, 'costs 0.250 ms in a pass')):
        document['controllers']['one_in_a_pass_ms'] = cost
        console.print(card(document))
        assert words in console.export_text()


def test_an_interrupted_run_leaves_the_finished_report_and_says_where_its_own_part_is(
    folder, tmp_path, capsys, monkeypatch
):
    def interrupt(*given, **named):
        raise KeyboardInterrupt

    path, partial = tmp_path / 'bench.json', tmp_path / 'bench.partial.json'
    words = ['bench', '--engine', str(folder), '--runs', '1', '--warm-up', '0', '--count', '2',
             '--json', str(path)]  # fmt: skip
    assert main(words) == 0 and not partial.exists()
    finished = path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(module, 'bench_engine', interrupt)
        assert main(words) == 130
    assert path.read_bytes() == finished
    assert json.loads(partial.read_text())['interrupted'] == 'before the parts'
    assert f'what was measured is in {partial}' in capsys.readouterr().err
    assert main(words) == 0 and not partial.exists(), 'the whole one takes its place'
    with monkeypatch.context() as patched:
        patched.setattr(module, 'bench_modes', interrupt)
        assert main(words) == 130
    assert 'interrupted; nothing is kept' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--runs', '0'], "--runs = '0': expected a whole number, at least 1"),
        (['--warm-up', '-1'], "--warm-up = '-1'"),
        (['--backend', 'tpu'], "--backend = 'tpu': expected"),
    ],
)
def test_a_wrong_option_is_explained_in_one_line(folder, capsys, words, message):
    assert main(['bench', '--engine', str(folder), *words]) == 2
    assert message in capsys.readouterr().err


def test_the_floors_are_printed_without_any_bundle(capsys, tmp_path):
    path = tmp_path / 'floors.json'
    assert main(['bench', '--roofline', '--json', str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    document = json.loads(path.read_text())
    assert document['tokens'] == 605
    assert document['floors_ms']['full']['fp16'] == pytest.approx(209, abs=0.5)
    assert '| full (32 of 32) | 209 | 115 | |' in lines
