"""What was interrupted goes on with what it was begun with, or is refused by name."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import tiny_dataset
import torch

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.begun_with import Stages
from dysl_vla_ros.lab.data.contract import contract
from dysl_vla_ros.lab.data.dataset_reader import load_dataset
from dysl_vla_ros.lab.learn.dense import GROUNDED, DenseSettings, fresh_checkpoint, train_dense
from dysl_vla_ros.lab.learn.distill import DistillSettings
from dysl_vla_ros.lab.learn.distilling import distil_checkpoint
from dysl_vla_ros.lab.learn.train import TrainSettings, learning_rate
from dysl_vla_ros.lab.model.checkpoint import load_tensors, save_tensors
from dysl_vla_ros.lab.workspace import Workspace

SMALL = {'layers': 5, 'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8),
         'auxiliary_layer': 2}  # fmt: skip
FEW = TrainSettings(steps=8, batch=4, warmup=2, note_every=1, save_every_s=1e-9)
DENSE = DenseSettings(None, FEW, SMALL)
LAYOUT = LayerLayout(5, (0, 4))
DISTILL = DistillSettings(adapter_steps=2, controller_steps=3, batch=4)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tiny_dataset.write_dataset(tmp_path_factory.mktemp('begun') / 'data')
    return load_dataset(folder, contract())


def other(data):
    """As much of it, in the same shapes: another demonstration of the same arm."""
    return replace(data, chunk=data.chunk * 0.5)


def space(folder, stop_at=None):
    def stop(stage, step, steps, figures):
        if step == stop_at:
            raise KeyboardInterrupt

    return Workspace(folder, folder, torch.device('cpu'), stop)


def interrupted(data, folder, settings=DENSE, start=None, stop_at=5):
    with pytest.raises(KeyboardInterrupt):
        train_dense(data, settings, space(folder, stop_at), start)
    return folder / 'train.state.safetensors'


def again(settings, **changes):
    return replace(settings, train=replace(settings.train, **changes))


def refused(what, call):
    with pytest.raises(ConfigError) as told:
        call()
    assert re.match(what, str(told.value)), told.value
    assert 'begin anew' in str(told.value)


def test_a_training_goes_on_with_the_same_only_and_says_in_one_line_that_it_does(
    data, tmp_path, capsys
):
    state = interrupted(data, tmp_path)
    before = state.read_bytes()
    fresh = space(tmp_path)
    refused(r'data = .*frames', lambda: train_dense(other(data), DENSE, fresh))
    refused(r'train\.seed = 5: expected 0',
            lambda: train_dense(data, again(DENSE, seed=5), fresh))  # fmt: skip
    refused(r'start = ', lambda: train_dense(data, replace(DENSE, seed=5), fresh))
    refused(r'train\.learning_rate = ',
            lambda: train_dense(data, again(DENSE, learning_rate=1e-4), fresh))  # fmt: skip
    refused(r'own_share = 1\.0', lambda: train_dense(data, replace(DENSE, own_share=1.0), fresh))
    shallow = replace(DENSE, network={**SMALL, 'layers': 4})
    refused(r'network\.layers = 4', lambda: train_dense(data, shallow, fresh))
    other_start = fresh_checkpoint(data, SMALL, 3)
    refused(r'start = ', lambda: train_dense(data, DENSE, fresh, other_start))
    assert state.read_bytes() == before
    capsys.readouterr()
    train_dense(data, DENSE, fresh)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and said[0].endswith('train.state.safetensors: goes on after update 4')


def test_how_long_how_often_and_on_what_may_change_before_a_training_goes_on(data, tmp_path):
    interrupted(data, tmp_path)
    changed = again(DENSE, max_seconds=600.0, save_every_s=60.0, note_every=3, precision='fp32')
    train_dense(data, changed, space(tmp_path))


def test_more_updates_are_taken_while_the_rate_is_of_the_warm_up_and_refused_after_it(
    data, tmp_path
):
    interrupted(data, tmp_path / 'early', again(DENSE, warmup=6), stop_at=4)
    train_dense(data, again(DENSE, warmup=6, steps=12), space(tmp_path / 'early'))
    interrupted(data, tmp_path / 'late')
    more, late = again(DENSE, steps=12), space(tmp_path / 'late')
    refused(r'train\.steps = 12: expected 8', lambda: train_dense(data, more, late))


def test_a_state_that_did_not_note_what_it_was_of_goes_on_if_it_fits(data, tmp_path, capsys):
    state = interrupted(data, tmp_path)
    tensors, header = load_tensors(state)
    save_tensors(state, tensors, {'step': header['step'], 'curve': header['curve']})
    refused_by = replace(DENSE, network={**SMALL, 'width': 48})
    with pytest.raises(ConfigError, match='remove it to begin anew'):
        train_dense(data, refused_by, space(tmp_path))
    train_dense(data, DENSE, space(tmp_path))
    assert 'was not noted then' in capsys.readouterr().out


def test_a_warm_up_of_other_settings_or_data_is_refused(data, tmp_path, capsys):
    warmed = replace(DENSE, ground=replace(FEW, steps=3))
    interrupted(data, tmp_path, warmed)
    assert (tmp_path / GROUNDED).is_file()
    fewer = replace(warmed, ground=replace(FEW, steps=2))
    refused(r'ground\.steps = 2: expected 3', lambda: train_dense(data, fewer, space(tmp_path)))
    refused('data = ', lambda: train_dense(other(data), warmed, space(tmp_path)))
    capsys.readouterr()
    assert train_dense(data, warmed, space(tmp_path)).card == {}
    assert len(capsys.readouterr().out.splitlines()) == 2, 'the warm-up and the training'
    with pytest.raises(KeyboardInterrupt):
        train_dense(data, replace(DENSE, ground=FEW), space(tmp_path / 'cut', 5))
    refused('data = ', lambda: train_dense(other(data), replace(DENSE, ground=FEW),
                                           space(tmp_path / 'cut')))  # fmt: skip


def test_the_time_before_an_interruption_counts_and_the_rate_goes_on_falling(
    data, tmp_path, monkeypatch
):
    now = [0.0]
    monkeypatch.setattr('time.monotonic', lambda: now[0])
    plan = again(DENSE, steps=10_000, warmup=10, max_seconds=300.0)
    rates = []

    def watched(stop_at):
        def progress(stage, step, steps, figures):
            now[0] += 1.0
            if step == stop_at:
                raise KeyboardInterrupt

        found = Workspace(tmp_path, tmp_path, torch.device('cpu'), progress)
        return found

    def rate(step, steps, settings):
        rates.append(learning_rate(step, steps, settings))
        return rates[-1]

    monkeypatch.setattr('dysl_vla_ros.lab.learn.train.learning_rate', rate)
    with pytest.raises(KeyboardInterrupt):
        train_dense(data, plan, watched(200))
    before = rates[-1]
    del rates[:]
    now[0] += 5000.0  # the night
    result = train_dense(data, plan, watched(0))
    assert rates[0] == pytest.approx(before, rel=0.05), 'not back to the rate of 10000 updates'
    assert 280 <= 199 + len(rates) <= 310, 'three hundred seconds in all, a second an update'
    assert result is not None


def distilled(data, folder, seed=0, checkpoint_seed=0, stop_at=None, **changes):
    checkpoint = fresh_checkpoint(data, SMALL, checkpoint_seed)
    return distil_checkpoint(checkpoint, LAYOUT, data, replace(DISTILL, **changes),
                             space(folder, stop_at), 4, 1, seed)  # fmt: skip


def test_a_distillation_goes_on_with_the_same_checkpoint_data_and_settings_only(
    data, tmp_path, capsys
):
    with pytest.raises(KeyboardInterrupt):
        distilled(data, tmp_path, stop_at=3)
    refused('checkpoint = ', lambda: distilled(data, tmp_path, checkpoint_seed=1))
    refused('data = ', lambda: distilled(other(data), tmp_path))
    refused('seed = 7: expected 0', lambda: distilled(data, tmp_path, seed=7))
    refused(r'distill\.skip_weight = 0\.5', lambda: distilled(data, tmp_path, skip_weight=0.5))
    refused(r'distill\.controller_steps = 9',
            lambda: distilled(data, tmp_path, controller_steps=9))  # fmt: skip
    capsys.readouterr()
    distilled(data, tmp_path)
    assert 'goes on after update 2 of stage 2' in capsys.readouterr().out


def test_a_finished_stage_is_taken_if_it_was_made_of_the_same(tmp_path):
    said = []
    stages, file = Stages(tmp_path, said.append), tmp_path / 'dense.safetensors'
    assert not stages.there(file, {'seed': 0})
    stages.note(file, {'seed': 0, 'train': {'steps': 4}})
    assert not stages.there(file, {'seed': 3}), 'what was noted of a file that is not there'
    file.write_bytes(b'weights')
    assert Stages(tmp_path, said.append).there(file, {'seed': 0, 'train': {'steps': 4}})
    refused('seed = 3: expected 0', lambda: stages.there(file, {'seed': 3}))
    refused(r'train\.steps = 5: expected 4', lambda: stages.there(file, {'train': {'steps': 5}}))
    assert stages.there(file, {'seed': 0, 'came_later': True})
    old = tmp_path / 'policy.safetensors'
    old.write_bytes(b'weights')
    assert stages.there(old, {'seed': 3}) and 'not noted then' in said[-1]
