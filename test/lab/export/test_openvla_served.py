"""What ``dysl serve`` makes of a plain OpenVLA folder: the actions of stock Llama, in metres."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny_oft import PAD, ROBOTS, UpstreamOft, save_openvla

from dysl_vla_ros.data_types import LayerLayout, Observation
from dysl_vla_ros.engines.openvla_image import lanczos_then_crop
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.export.openvla_served import FAMILY, OpenVlaServed
from dysl_vla_ros.lab.export.write_bundle import ExportSettings, manifest_of
from dysl_vla_ros.lab.model.openvla_survey import survey_openvla
from dysl_vla_ros.lab.model.published_statistics import LIBERO_UNITS
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.model.skipping_file import Skipping, save_skipping
from dysl_vla_ros.lab.model.survey import Asked
from dysl_vla_ros.policy import Policy, load_tokenizer

pytest.importorskip('transformers', reason='needs transformers')
LAYERS = 6
TEXT = 'Pick up the red cube and put it on the plate'
PICTURE = np.random.default_rng(2).integers(0, 256, (40, 40, 3), np.uint8)


@pytest.fixture(scope='module')
def stock():
    torch.set_num_threads(1)
    return UpstreamOft(LAYERS, seed=7)


@pytest.fixture(scope='module')
def folder(stock, tmp_path_factory):
    path = tmp_path_factory.mktemp('published') / 'openvla'
    save_openvla(stock, path)
    return path


def policy_of(folder, skipping=None, **given):
    checkpoint, settings = survey_openvla(folder, Asked(given=given))
    served = OpenVlaServed(checkpoint, settings, skipping)
    manifest = manifest_of(served, 'served', ExportSettings(), '')
    engine = served.engine(torch.device('cpu'))
    return Policy(engine, manifest, load_tokenizer(manifest, served.contract().tokenizer))


def observed(text=TEXT):
    return Observation(0.0, {'image': PICTURE}, np.zeros(0), None, text)


@torch.no_grad()
def written(stock, image, prompt):
    """Seven tokens, each after the whole sequence, in stock Llama."""
    llama, tokens = stock.language_model.model, []
    words = llama.embed_tokens(prompt)
    sequence = torch.cat((words[:, :1], stock.patches([image]), words[:, 1:]), dim=1)
    for _ in range(7):
        mask = torch.full((1, 1, sequence.shape[1], sequence.shape[1]), float('-inf')).triu(1)
        state = llama(inputs_embeds=sequence, attention_mask=mask, use_cache=False)[0]
        tokens.append(int(stock.language_model.lm_head(state[:, -1]).argmax()))
        sequence = torch.cat((sequence, llama.embed_tokens(torch.tensor([[tokens[-1]]]))), dim=1)
    return tokens


def test_an_answer_is_the_action_of_stock_llama_on_the_picture_of_training(stock, folder):
    policy = policy_of(folder)
    result = policy.predict(observed(), policy.engine.layout.full_plan())
    turned = lanczos_then_crop(PICTURE[::-1, ::-1], 28, 28, 0.9) / 255.0
    image = torch.from_numpy(turned.transpose(2, 0, 1)[None].astype(np.float32))
    tokens = policy.tokens(TEXT)[0]
    prompt = torch.tensor([[token for token in tokens.tolist() if token != PAD]])
    assert prompt[0, -1] == 29871 and prompt.shape[1] > 15
    edges = np.linspace(-1.0, 1.0, 256)
    places = np.clip(31999 - np.array(written(stock, image, prompt)), 0, 254)
    np.testing.assert_allclose(result.normalised[0], (edges[:-1] + edges[1:])[places] / 2.0)
    assert len(set(places)) > 2
    low = json.loads((folder / 'dataset_statistics.json').read_text())
    moved = next(iter(low.values()))['action']['q01'][0] * LIBERO_UNITS[0]
    assert policy.manifest.action.normalisation.low[0] == pytest.approx(moved)
    assert policy.manifest.action.horizon == 1


def test_controllers_and_adapters_of_a_file_make_it_skip(stock, folder, tmp_path):
    modules = SkipModules(LayerLayout(LAYERS, (0, 3, 5)), stock.text.hidden_size)
    for name, weight in modules.named_parameters():
        torch.nn.init.constant_(weight, 3.0 if name.endswith('outer.bias') else 0.0)
    path = tmp_path / 'skipping.safetensors'
    save_skipping(path, Skipping(modules), FAMILY)
    policy = policy_of(folder, path)
    skipped = policy.predict(observed(), policy.engine.layout.open_plan())
    assert skipped.trace.layers_run == (0, 3, 5)
    again = policy.rerun(skipped)
    dense = policy_of(folder)
    full = dense.predict(observed(), dense.engine.layout.full_plan())
    np.testing.assert_array_equal(again.normalised, full.normalised)
    save_skipping(path, Skipping(modules), 'openvla_oft')
    with pytest.raises(BundleError, match='expected controllers and adapters of openvla'):
        policy_of(folder, path)


@pytest.mark.parametrize('robot', ['bridge', 'aloha'])
def test_whether_to_crop_is_asked_for_where_the_key_is_not_liberos(robot, tmp_path):
    folder = tmp_path / 'openvla'
    save_openvla(UpstreamOft(2, **{**ROBOTS[robot], 'cameras': 1}), folder)
    with pytest.raises(ConfigError, match='--crop-area') as caught:
        survey_openvla(folder, Asked())
    assert '--cameras' not in str(caught.value) and '--horizon' not in str(caught.value)
    checkpoint, settings = survey_openvla(folder, Asked(given={'crop_area': 1.0}))
    assert settings.cameras == ({'bridge': 'image_0', 'aloha': 'image'}[robot],)
    assert checkpoint.config.action_dim == {'bridge': 7, 'aloha': 14}[robot]


@pytest.mark.parametrize(
    ('given', 'said'),
    [({'horizon': 8}, '1: OpenVLA writes one action'), ({'cameras': ('a', 'b')}, 'one: OpenVLA')],
)
def test_settings_that_openvla_does_not_have_are_refused(folder, given, said):
    with pytest.raises(ConfigError, match=said):
        survey_openvla(folder, Asked(given=given))


def test_all_that_is_wrong_with_the_folder_is_one_list(folder, tmp_path):
    broken = tmp_path / 'broken'
    broken.mkdir()
    for path in folder.iterdir():
        if path.name not in ('tokenizer.json', 'model-00002-of-00002.safetensors'):
            (broken / path.name).symlink_to(path)
    with pytest.raises(BundleError) as caught:
        survey_openvla(broken, Asked())
    assert 'tokenizer.json' in str(caught.value)
    assert 'model-00002-of-00002.safetensors' in str(caught.value)
