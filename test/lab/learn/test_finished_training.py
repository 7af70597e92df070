"""A checkpoint that is finished is taken or kept: no other command writes over it."""

from __future__ import annotations

import pytest
import tiny_dataset
import torch

from dysl_vla_ros.cli.main import main


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    torch.set_num_threads(1)
    return tiny_dataset.write_dataset(tmp_path_factory.mktemp('finished') / 'data')


def train(dataset, out, *more):
    return main(['train', '--dataset', str(dataset), '--out', str(out), '--preset', 'toy',
                 '--device', 'cpu', '--steps', '4', '--ground-steps', '2', '--batch', '4',
                 '--layers', '4', '--free-motion', '1', *more])  # fmt: skip


def distil(dataset, dense, out, *more):
    return main(['distill', str(dense), '--dataset', str(dataset), '--out', str(out), '--preset',
                 'toy', '--device', 'cpu', '--adapter-steps', '2', '--controller-steps', '2',
                 '--batch', '4', *more])  # fmt: skip


def test_a_finished_policy_is_taken_by_the_same_command_and_replaced_by_no_other(
    dataset, tmp_path, capsys
):
    out = tmp_path / 'run'
    dense, policy = out / 'dense.safetensors', tmp_path / 'dysl' / 'policy.safetensors'
    assert train(dataset, out) == 0
    before = dense.read_bytes()
    capsys.readouterr()
    assert train(dataset, out, '--seed', '0') == 0
    assert 'taken as it is, made of the same' in ' '.join(capsys.readouterr().out.split())
    for more, said in ((('--seed', '3'), 'train.seed = 3: expected 0'),
                       (('--steps', '5'), 'train.steps = 5: expected 4'),
                       (('--minutes', '2'), 'minutes = 2')):  # fmt: skip
        assert train(dataset, out, *more) != 0
        told = ' '.join(capsys.readouterr().err.split())
        assert said in told and 'begin anew in another folder' in told
    assert dense.read_bytes() == before

    assert distil(dataset, dense, policy.parent) == 0
    before = policy.read_bytes()
    assert distil(dataset, dense, policy.parent) == 0
    capsys.readouterr()
    assert distil(dataset, dense, policy.parent, '--controller-steps', '3') != 0
    assert 'distill.controller_steps = 3: expected 2' in ' '.join(capsys.readouterr().err.split())
    assert policy.read_bytes() == before


def test_other_updates_than_an_interrupted_training_had_are_named_and_not_what_follows_from_them():
    from dysl_vla_ros.errors import ConfigError
    from dysl_vla_ros.lab.learn.train import Reached, _check_begun

    begun = {'train': {'steps': 400, 'warmup': 100}}
    header = {'begun_with': {'train.steps': 400, 'train.warmup': 100}}
    with pytest.raises(ConfigError, match='train.steps = 300: expected 400'):
        _check_begun('state', header, Reached(20, [], 0.0, 0.0),
                     {'train': {'steps': 300, 'warmup': 75}})  # fmt: skip
    _check_begun('state', header, Reached(20, [], 0.0, 0.0), begun)
    _check_begun(
        'state', header, Reached(20, [], 0.0, 0.0), {'train': {'steps': 500, 'warmup': 100}}
    )
