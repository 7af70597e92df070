"""OFT+: the instruction modulates the towers, exactly as upstream's wrapper does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_oft import PAD, UpstreamOft, save_film, save_oft

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.data_types import Observation
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.open_engine import open_engine
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.film_vision import FilmVision, open_film
from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft
from dysl_vla_ros.policy import Policy, load_tokenizer

pytest.importorskip('transformers', reason='needs transformers')
PROMPT = torch.tensor([[1, 512, 513, 519, 522, 29871]])


@pytest.fixture(scope='module')
def upstream():
    torch.set_num_threads(1)
    return UpstreamOft(2, film=True)


@pytest.fixture(scope='module')
def folder(upstream, tmp_path_factory):
    place = tmp_path_factory.mktemp('film') / 'oft_plus'
    save_oft(upstream, place)
    return place


def images():
    return [torch.rand(1, 3, 28, 28, generator=torch.Generator().manual_seed(n)) for n in (1, 2)]


def padded(prompt, size=12):
    rest = torch.full((1, size - prompt.shape[1]), PAD)
    return torch.cat((prompt, rest), dim=1)


@pytest.mark.parametrize('size', [6, 12])
def test_patches_are_those_of_stock_towers_that_hear_the_instruction(upstream, folder, size):
    vision = open_oft(folder, prompt_tokens=size).vision()
    assert isinstance(vision, FilmVision)
    with torch.no_grad():
        found = vision(*images(), padded(PROMPT, size))
    wanted = upstream.patches(images(), PROMPT)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)
    other = PROMPT.clone()
    other[0, 3] = 520
    with torch.no_grad():
        deaf = vision(*images(), padded(other, size))
    assert (deaf - wanted).abs().max() > 100 * (found - wanted).abs().max()


@pytest.mark.parametrize(('rank', 'apart'), [(8, True), (32, True), (8, False)])
def test_lora_matrices_that_lie_apart_are_merged(upstream, folder, tmp_path, rank, apart):
    save_film(upstream, tmp_path, rank, apart)
    merged = open_film(tmp_path)
    assert not any('lora' in name or 'base_layer' in name for name in merged.names())
    for name, tower in (
        ('featurizer', upstream.vision_backbone.featurizer),
        ('fused_featurizer', upstream.vision_backbone.fused_featurizer),
    ):
        for layer in ('attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2'):
            stored = f'vision_backbone.{name}.blocks.1.{layer}'
            wanted = tower.blocks[1].get_submodule(layer)
            torch.testing.assert_close(merged.read(f'{stored}.weight'), wanted.weight)
            torch.testing.assert_close(merged.read(f'{stored}.bias'), wanted.bias)


def test_matrices_that_are_not_whole_and_towers_without_film_are_named(folder, tmp_path):
    path = tmp_path / 'vision_backbone--1000_checkpoint.pt'
    whole = torch.load(folder / path.name, weights_only=True)
    name = next(name for name in whole if name.endswith('lora_B.default.weight'))
    torch.save({key: value for key, value in whole.items() if key != name}, path)
    with pytest.raises(BundleError, match='lora_A.default.weight: expected'):
        open_film(tmp_path)
    torch.save({key: value for key, value in whole.items() if '.scale.' not in key}, path)
    with pytest.raises(BundleError, match='no FiLM projections'):
        open_film(tmp_path)
    assert open_film(tmp_path / 'nowhere') is None


def test_a_bundle_that_hears_with_its_eyes_gives_the_actions_of_upstream(
    upstream, folder, tmp_path
):
    assert main(['export', str(folder), str(tmp_path / 'bundle')]) == 0
    manifest = open_bundle(tmp_path / 'bundle').manifest
    assert [tensor.name for tensor in manifest.segments['vision'].inputs] == [
        'image', 'wrist_image', 'tokens']  # fmt: skip
    opened = open_engine(str(tmp_path / 'bundle'), 'onnxruntime')
    policy = Policy(opened.engine, manifest, load_tokenizer(manifest, opened.tokenizer))
    random = np.random.default_rng(0)
    pictures = {c.name: random.integers(0, 256, (28, 28, 3), np.uint8) for c in manifest.cameras}
    seen = Observation(0.0, pictures, np.full(6, 0.1), 0.5, 'put it on the plate')
    inputs = policy.prepare(seen)
    prompt = torch.tensor([[t for t in inputs['tokens'][0].tolist() if t != PAD]])
    wanted = upstream.actions([torch.from_numpy(inputs[c.name]) for c in manifest.cameras], prompt,
                              torch.from_numpy(inputs['proprioception']))  # fmt: skip
    hidden, _ = forward(opened.engine, opened.engine.encode(inputs), manifest.layout.full_plan())
    np.testing.assert_allclose(opened.engine.decode(hidden), wanted[0].numpy(), atol=1e-4)
    assert main(['verify', str(tmp_path / 'bundle'), '--against', str(folder), '--observations',
                 '1']) == 0  # fmt: skip
