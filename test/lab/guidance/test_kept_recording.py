"""A calibration that is interrupted keeps what it recorded, and what it replaces."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from dysl_vla_ros.lab.guidance.kept_recording import KeptEpisode, KeptRecording
from dysl_vla_ros.lab.guidance.recordings import AcceptedChunk
from dysl_vla_ros.targets import keep_before


def episode(number):
    rows = np.random.default_rng(number).normal(size=(4, 7))
    return KeptEpisode((AcceptedChunk(1, rows, 1, 3, {2: 0.25, 7: 0.5}),), 9 + number, True)


def test_episodes_come_back_bit_for_bit_and_a_cut_line_is_played_again(tmp_path):
    path = tmp_path / 'recording.jsonl'
    kept = KeptRecording(path)
    for number in range(3):
        kept.add(episode(number))
    path.write_text(path.read_text()[:-20])
    again = KeptRecording(path)
    assert len(again.episodes) == 2
    for number, found in enumerate(again.episodes):
        (chunk,), (wanted,) = found.chunks, episode(number).chunks
        assert np.array_equal(chunk.displacements, wanted.displacements)
        assert (chunk.epoch, chunk.dropped, chunk.counter) == (1, 1, 3)
        assert chunk.scores == wanted.scores and found.actions == 9 + number and found.success
    again.add(episode(2))
    assert len(KeptRecording(path).episodes) == 3
    again.done()
    assert not path.exists()


def test_the_file_before_a_change_stays_beside_it(tmp_path):
    path = tmp_path / 'manifest.json'
    assert keep_before(path) is None
    path.write_text('old')
    kept = keep_before(path)
    path.write_text('new')
    assert kept == tmp_path / 'manifest.before.json' and kept.read_text() == 'old'


def test_the_first_of_small_files_stays_later_ones_are_numbered_and_none_is_kept_twice(tmp_path):
    path, kept = tmp_path / 'manifest.json', []
    for text in ('first', 'second', 'third', 'second', 'first'):
        path.write_text(text)
        kept.append(keep_before(path, all_of_them=True).name)
    assert kept == ['manifest.before.json', 'manifest.before2.json', 'manifest.before3.json',
                    'manifest.before2.json', 'manifest.before.json']  # fmt: skip
    assert (tmp_path / 'manifest.before.json').read_text() == 'first'
    assert len(list(tmp_path.iterdir())) == 4


def breaking_off(run):
    """An episode, played; the third one is interrupted."""
    played = []

    def play(*given, **options):
        if len(played) == 2:
            raise KeyboardInterrupt
        played.append(None)
        return run(*given, **options)

    return play


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('torch') is None, reason='make test-all')
def test_an_interrupted_calibration_goes_on_and_ends_as_one_in_one_go(
    tmp_path, monkeypatch, capsys
):
    import tiny_bundle

    import dysl_vla_ros.lab.evaluation.record as record
    from dysl_vla_ros.bundle.folder import open_bundle
    from dysl_vla_ros.cli.main import main

    words = ['--episodes', '1', '--time-limit', '0.6', '--latency', 'zero', '--device', 'cpu',
             '--compare', '0']  # fmt: skip
    for name in ('one_go', 'in_two'):
        tiny_bundle.write_tiny_bundle(tmp_path / name, layers=8)
    assert main(['calibrate', str(tmp_path / 'one_go'), *words]) == 0
    run = record.run_episode
    monkeypatch.setattr(record, 'run_episode', breaking_off(run))
    before = (tmp_path / 'in_two' / 'manifest.json').read_text()
    assert main(['calibrate', str(tmp_path / 'in_two'), *words]) == 130
    assert 'finished episodes are kept' in capsys.readouterr().err
    assert (tmp_path / 'in_two' / 'manifest.json').read_text() == before
    monkeypatch.setattr(record, 'run_episode', run)
    assert main(['calibrate', str(tmp_path / 'in_two'), *words]) == 0
    assert 'goes on after 2 of 4 recorded episodes' in capsys.readouterr().out
    found = [open_bundle(tmp_path / name).manifest.calibration for name in ('one_go', 'in_two')]
    assert found[0] == found[1]
    assert (tmp_path / 'in_two' / 'manifest.before.json').read_text() == before
    assert not list((tmp_path / 'in_two_calibration').glob('recording-*'))
    assert main(['calibrate', str(tmp_path / 'in_two'), *words]) == 0
    assert main(['calibrate', str(tmp_path / 'in_two'), *words]) == 0
    assert (tmp_path / 'in_two' / 'manifest.before.json').read_text() == before
    assert json.loads(before)


def dysl_calibrate(folder, *words):
    from dysl_vla_ros.cli.main import main

    return main(['calibrate', str(folder), '--episodes', '1', '--time-limit', '0.6', '--latency',
                 'zero', '--device', 'cpu', *words])  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('torch') is None, reason='make test-all')
def test_what_was_recorded_under_another_guidance_is_recorded_again(tmp_path, monkeypatch, capsys):
    from dataclasses import replace

    import tiny_bundle

    import dysl_vla_ros.lab.evaluation.record as record
    from dysl_vla_ros.bundle.folder import open_bundle, write_manifest

    folder = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny', layers=8)
    run = record.run_episode
    monkeypatch.setattr(record, 'run_episode', breaking_off(run))
    assert dysl_calibrate(folder, '--compare', '0') == 130
    monkeypatch.setattr(record, 'run_episode', run)
    manifest = open_bundle(folder).manifest
    other = replace(manifest.calibration, threshold=2 * manifest.calibration.threshold)
    write_manifest(folder, replace(manifest, calibration=other))
    assert dysl_calibrate(folder, '--compare', '0') == 0
    assert 'goes on after' not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('torch') is None, reason='make test-all')
def test_a_run_interrupted_while_it_compares_goes_on_from_the_recording_that_it_has_written_from(
    tmp_path, monkeypatch, capsys
):
    import tiny_bundle

    from dysl_vla_ros.cli import calibrate_mode

    folder = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny', layers=8)

    def broken_off(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(calibrate_mode, 'choose_in_simulation', broken_off)
        assert dysl_calibrate(folder) == 130
    written = (folder / 'manifest.json').read_text()
    assert dysl_calibrate(folder, '--compare', '0') == 0
    assert 'goes on after 4 of 4 recorded episodes' in capsys.readouterr().out
    assert (folder / 'manifest.json').read_text() == written
    assert not list((tmp_path / 'tiny_calibration').glob('recording-*'))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('torch') is None, reason='make test-all')
def test_guidance_is_recorded_with_the_parameters_that_the_modes_are_compared_with(
    tmp_path, monkeypatch
):
    import tiny_bundle

    import dysl_vla_ros.lab.evaluation.evaluate as evaluate
    import dysl_vla_ros.lab.evaluation.record as record

    folder = tiny_bundle.write_tiny_bundle(tmp_path / 'tiny', layers=4)
    recorded, compared = [], []
    record_all, play = record.record_episodes, evaluate.play

    def recording(options, first=0):
        recorded.append(options.config)
        return record_all(options, first)

    def playing(options, *given):
        compared.append(options.config)
        return play(options, *given)

    monkeypatch.setattr(record, 'record_episodes', recording)
    monkeypatch.setattr(evaluate, 'play', playing)
    assert dysl_calibrate(folder) == 1, 'an untrained network won nothing: no mode is chosen'
    assert recorded == compared and recorded[0].gripper.dwell_s == 1.0, 'of the simulated arm'
