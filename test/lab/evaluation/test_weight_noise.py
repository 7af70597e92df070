"""Noise on the weights of a bundle's copy, and who is asked in which phase."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_bundle

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.evaluate import evaluate
from dysl_vla_ros.lab.evaluation.options import EvaluateOptions
from dysl_vla_ros.lab.evaluation.weight_noise import NoisyIn, noisy_copy

onnx = pytest.importorskip('onnx')


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    return tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('bundle') / 'tiny')


def weights(folder, name):
    graph = onnx.load(folder / open_bundle(folder).manifest.segments[name].file)
    return {one.name: onnx.numpy_helper.to_array(one) for one in graph.graph.initializer}


def test_a_copy_has_noise_on_the_matrices_of_its_layers_and_on_nothing_else(bundle, tmp_path):
    copy = noisy_copy(bundle, tmp_path / 'copy', 0.5)
    before = open_bundle(bundle)
    open_bundle(copy)  # checksums are verified
    for name in before.manifest.segments:
        old, new = weights(bundle, name), weights(copy, name)
        changed = {key for key in old if not np.array_equal(old[key], new[key])}
        wanted = {key for key, one in old.items() if one.ndim > 1 and one.dtype.kind == 'f'}
        assert changed == (wanted if name.startswith('layer_') else set()), name
        for key in changed:
            spread = (new[key] - old[key]).std() / np.sqrt((old[key] ** 2).mean())
            assert spread == pytest.approx(0.5, rel=0.3)


def test_the_same_seed_is_the_same_noise(bundle, tmp_path):
    one = noisy_copy(bundle, tmp_path / 'one', 0.1)
    two = noisy_copy(bundle, tmp_path / 'two', 0.1)
    three = noisy_copy(bundle, tmp_path / 'three', 0.1, seed=1)
    hashes = [open_bundle(folder).manifest.files for folder in (one, two, three)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_noisy_one_is_asked_in_its_phases_only(bundle):
    class Asked:
        def __init__(self, name):
            self.name = name
            self.manifest = open_bundle(bundle).manifest if name == 'clean' else None

        def predict(self, observation, plan):
            assert plan == clean.manifest.layout.full_plan()
            return self.name

    clean, phase = Asked('clean'), []
    policy = NoisyIn(clean, Asked('noisy'), lambda: phase[-1], ('grasp', 'release'))
    told = {}
    for name in ('reach', 'grasp', 'carry', 'release'):
        phase.append(name)
        told[name] = policy.predict(None, None)
    assert told == {'reach': 'clean', 'grasp': 'noisy', 'carry': 'clean', 'release': 'noisy'}


def test_an_evaluation_has_a_row_for_each_noise(bundle):
    document = evaluate(EvaluateOptions(
        bundle=str(bundle), modes=('full', 'noise_critical', 'noise_free'), noises=(0.1, 2.0),
        episodes=1, families=('pick',), time_limit=1.0, latency=0.05,
    ))  # fmt: skip
    assert list(document['modes']) == [
        'full', 'noise_critical 0.1', 'noise_critical 2', 'noise_free 0.1', 'noise_free 2',
    ]  # fmt: skip


@pytest.mark.parametrize('change', [
    {'noises': ()}, {'modes': ('full',)}, {'noises': (0.0,)}, {'bundle': 'fake'},
])  # fmt: skip
def test_what_makes_no_sense_is_refused(change):
    with pytest.raises(ConfigError, match='noise'):
        EvaluateOptions(**{'modes': ('full', 'noise_free'), 'noises': (0.1,), **change})
