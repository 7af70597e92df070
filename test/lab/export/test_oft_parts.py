"""An OpenVLA-OFT folder -> bundle; the tiny one is written by the upstream libraries."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from deferred_stream import DeferredStream
from tiny_oft import UpstreamOft, save_oft

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.data_types import LayerLayout, Observation, SkipPlan
from dysl_vla_ros.engines.cuda import onnx_attention, pieces
from dysl_vla_ros.engines.cuda.bundle import BundleParts, open_cuda_engine
from dysl_vla_ros.engines.cuda.onnx_torch import OnnxFunction
from dysl_vla_ros.engines.cuda.pieces import Fork, runs_of
from dysl_vla_ros.engines.engine import forward
from dysl_vla_ros.engines.open_engine import open_engine
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.export.oft_parts import OftExport, OftRobot
from dysl_vla_ros.lab.export.onnx_files import FileSettings, write_onnx
from dysl_vla_ros.lab.export.parity import BUDGETS, Worst
from dysl_vla_ros.lab.export.parts import GatedLayer, Part
from dysl_vla_ros.lab.export.parts_engine import PartsEngine
from dysl_vla_ros.lab.export.precision import to_half
from dysl_vla_ros.lab.export.write_bundle import ExportSettings, write_bundle
from dysl_vla_ros.lab.model.llama import LlamaShape
from dysl_vla_ros.lab.model.oft_skipping import (
    load_oft_skipping,
    oft_skip_modules,
    save_oft_skipping,
)
from dysl_vla_ros.lab.model.openvla_oft import OftConfig, OftLayer, oft_vision
from dysl_vla_ros.lab.model.openvla_oft_loader import open_oft
from dysl_vla_ros.lab.model.skipping_file import Skipping
from dysl_vla_ros.policy import Policy

pytest.importorskip('transformers', reason='needs transformers')
LAYOUT = LayerLayout(4, (0, 3))
ROBOT = OftRobot(joint_names=tuple(f'joint_{i}' for i in range(7)))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp('oft')
    save_oft(UpstreamOft(4), place)
    return place


@pytest.fixture(scope='module')
def upstream(folder):
    return UpstreamOft(4)


@pytest.fixture(scope='module')
def source(folder):
    checkpoint = open_oft(folder, prompt_tokens=24)
    modules = oft_skip_modules(LAYOUT, checkpoint.config, rank=4)
    torch.manual_seed(3)
    for parameter in modules.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return OftExport(checkpoint, Skipping(modules), ROBOT)


@pytest.fixture(scope='module')
def bundle(source, tmp_path_factory):
    place = tmp_path_factory.mktemp('bundles') / 'oft'
    write_bundle(source, place, 'oft', ExportSettings(files=FileSettings(external_from=1 << 20)))
    return place


def observation(seed=0, instruction='Pick up the red cube'):
    random = np.random.default_rng(seed)
    images = {
        name: random.integers(0, 256, (28, 28, 3), dtype=np.uint8)
        for name in ('image', 'wrist_image')
    }
    return Observation(0.0, images, random.uniform(-0.4, 0.3, 7), 0.1, instruction)


@pytest.fixture(scope='module')
def policy(bundle):
    from tokenizers import Tokenizer

    opened = open_engine(str(bundle), 'onnxruntime')
    return Policy(opened.engine, opened.manifest, Tokenizer.from_str(opened.tokenizer))


def test_the_bundle_gives_the_actions_of_the_upstream_libraries(policy, upstream):
    inputs = policy.prepare(observation())
    tokens = inputs['tokens'][0]
    prompt = torch.tensor([[t for t in tokens.tolist() if t != 32000]])
    assert prompt[0, 0] == 1 and prompt[0, -1] == 29871 and prompt.shape[1] < 24
    images = [torch.from_numpy(inputs[name]) for name in ('image', 'wrist_image')]
    wanted = upstream.actions(images, prompt, torch.from_numpy(inputs['proprioception']))
    engine = policy.engine
    hidden, _ = forward(engine, engine.encode(inputs), engine.layout.full_plan())
    np.testing.assert_allclose(engine.decode(hidden), wanted[0].numpy(), atol=1e-4)


@pytest.mark.parametrize('lie', [0, 1])
def test_the_cuda_engine_leaves_out_what_the_mask_hides_and_nothing_else(
    policy, bundle, monkeypatch, lie
):
    """For prompts of any length; where the rows are not those of the mask, the mask stays."""
    given = []

    def attend(step, tensors, padding):
        given.append(padding)
        return onnx_attention.attend(step, tensors, padding)

    monkeypatch.setattr(pieces, 'attend', attend)
    right = BundleParts.padding_of
    monkeypatch.setattr(BundleParts, 'padding_of', lambda self, inputs: right(self, inputs) + lie)
    opened = open_bundle(bundle)
    engine = open_cuda_engine(opened, DeferredStream())
    words = ('pick up the red cube', 'put it on the plate', 'pick up', 'pick up the red cube')
    for seed, instruction in enumerate(words):
        inputs = policy.prepare(observation(seed, instruction))
        padding = int((inputs['tokens'] == opened.manifest.instruction.pad_id).sum())
        engine.prepare_for(inputs)
        for plan in (LAYOUT.full_plan(), LAYOUT.watched_plan(), LAYOUT.open_plan()):
            given.clear()
            found, trace = forward(engine, engine.encode(inputs), plan)
            actions = engine.decode(found)
            assert set(given) == {None if lie else padding} and padding > 0
            wanted, expected = forward(policy.engine, policy.engine.encode(inputs), plan)
            np.testing.assert_allclose(actions, policy.engine.decode(wanted), atol=1e-4)
            assert trace.scores == pytest.approx(expected.scores, abs=1e-4)


def test_after_an_instruction_is_learnt_its_first_pass_captures_nothing(policy, bundle):
    """Neither do opening, warming up and an instruction of as many words."""
    stream, opened = DeferredStream(), open_bundle(bundle)
    cuda = Policy(open_cuda_engine(opened, stream), policy.manifest, policy._tokenizer)
    before = stream.captured
    cuda.warm_up(2)
    assert stream.captured == before
    cuda.learn('pick up the red cube')
    before = stream.captured
    for instruction in ('pick up the red cube', 'pick up the blue cube'):
        for plan in (LAYOUT.full_plan(), LAYOUT.open_plan(), LAYOUT.watched_plan()):
            found = cuda.predict(observation(3, instruction), plan)
            wanted = policy.predict(observation(3, instruction), plan)
            assert found.trace.layers_run == wanted.trace.layers_run
            np.testing.assert_allclose(found.normalised, wanted.normalised, atol=1e-4)
    lengths = {int((cuda.tokens(text) == opened.manifest.instruction.pad_id).sum())
               for text in ('pick up the red cube', 'pick up the blue cube')}  # fmt: skip
    assert stream.captured == before, lengths


def test_padding_between_words_keeps_the_mask(bundle):
    opened = open_bundle(bundle)
    parts, pad = BundleParts(opened, torch.device('cpu')), opened.manifest.instruction.pad_id
    tokens = np.full((1, 24), pad)
    tokens[0, :6] = 7
    assert parts.padding_of({'tokens': tokens}) == 18
    tokens[0, 2] = pad
    assert parts.padding_of({'tokens': tokens}) is None


def branches_of(path):
    """Steps of the branches of the one fork in a vision graph, and of all of it."""
    function = OnnxFunction(path, torch.device('cpu'))
    made = function.pieces(('image', 'wrist_image'), ('patches',))
    forks = [piece for piece in made if isinstance(piece, Fork)]
    assert len(forks) == 1, [type(piece).__name__ for piece in made]
    steps = sum(len(run.steps) for run in runs_of(made))
    return [len(run.steps) for run in forks[0].branches], steps


def test_the_two_towers_of_an_exported_graph_run_side_by_side(bundle):
    branches, steps = branches_of(open_bundle(bundle).graph('vision'))
    assert len(branches) == 2 and sum(branches) > 0.8 * steps, (branches, steps)


@pytest.mark.slow
def test_so_do_towers_as_deep_as_the_published_ones(tmp_path):
    """Narrow, but of 24 and 27 blocks, 224 pixels, two cameras."""
    towers = tuple(replace(one, width=16, heads=2, mlp_width=24) for one in OftConfig().towers)
    config = replace(OftConfig(), towers=towers, text=LlamaShape(1, 16, 24, 2, 64), pad_id=63)
    part = Part(
        oft_vision(config).eval(), (torch.zeros(1, 3, 224, 224),) * 2, config.cameras,
        ('patches',),
    )  # fmt: skip
    write_onnx(part, tmp_path, 'vision.onnx', FileSettings())
    branches, steps = branches_of(tmp_path / 'vision.onnx')
    assert len(branches) == 2 and sum(branches) > 0.9 * steps, (branches, steps)
    assert min(branches) > 0.3 * steps


def test_every_way_through_the_stack_is_that_of_torch(policy, source):
    reference, engine = PartsEngine(source), policy.engine
    inputs = policy.prepare(observation(1, 'put it on the plate'))
    for allow in itertools.product(*(range(a, b + 1) for a, b in LAYOUT.segments)):
        found = []
        for one in (engine, reference):
            hidden, trace = forward(one, one.encode(inputs), SkipPlan(allow, 'open'))
            found.append((one.decode(hidden), trace.layers_run))
        assert found[0][1] == found[1][1]
        np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-4)


@pytest.mark.parametrize('name', ['vision', 'embed', 'layer_00', 'bridge_01', 'head'])
def test_a_part_in_halves_stays_close_to_the_part_in_floats(source, tmp_path, name):
    random = torch.Generator().manual_seed(5)
    part = source.part(name)
    given = [torch.rand(a.shape, generator=random) if a.is_floating_point()
             else torch.tensor([[1] + [512 + i for i in range(9)] + [32000] * 14])
             for a in part.arguments]  # fmt: skip
    if part.inputs == ('hidden',):
        given = [4.0 * torch.randn(given[0].shape, generator=random)]
        given[0][:, :14] = 0.0
    with torch.no_grad():
        found = part.module(*given)
    wanted = found if isinstance(found, tuple) else (found,)
    spec = write_onnx(to_half(part), tmp_path, 'x.onnx', FileSettings())
    session = onnxruntime.InferenceSession(tmp_path / 'x.onnx')
    feed = {tensor.name: value.numpy().astype(tensor.dtype)
            for tensor, value in zip(spec.inputs, given, strict=True)}  # fmt: skip
    for tensor, value, right in zip(spec.outputs, session.run(None, feed), wanted, strict=True):
        assert value.dtype.name == tensor.dtype
        off = np.abs(value.astype(np.float32) - right.numpy()).max()
        assert 0 < off <= 1e-2 * max(float(right.abs().max()), 1.0), tensor.name
        if name in ('embed', 'layer_00', 'bridge_01') and tensor.name != 'gate':
            assert not value[0, :14].any()  # padding stays exactly zero


def test_the_manifest_carries_the_published_contract(bundle):
    manifest = open_bundle(bundle).manifest
    assert manifest.family == 'openvla_oft'
    assert [(c.name, c.height, c.crop_area, c.mean) for c in manifest.cameras] == [
        ('image', 28, 0.9, (0.0, 0.0, 0.0)), ('wrist_image', 28, 0.9, (0.0, 0.0, 0.0)),
    ]  # fmt: skip
    assert manifest.proprioception.gripper and manifest.proprioception.dim == 8
    assert manifest.action.normalisation.mask == (True,) * 6 + (False,)
    assert manifest.action.gripper and manifest.action.horizon == 8
    assert manifest.segments['embed'].data == 'segments/embed.onnx.data'  # 32064 words
    assert manifest.segments['embed'].data in manifest.files


def test_an_altered_weight_file_is_named(bundle, tmp_path):
    import shutil

    copy = tmp_path / 'copy'
    shutil.copytree(bundle, copy)
    data = copy / 'segments/embed.onnx.data'
    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(content)
    with pytest.raises(BundleError, match=r'segments/embed\.onnx\.data: SHA-256 .* altered'):
        open_bundle(copy)


def test_skipping_is_kept_beside_the_folder(source, tmp_path):
    config, path = source._checkpoint.config, tmp_path / 'skip.safetensors'
    save_oft_skipping(path, source._skipping)
    again = load_oft_skipping(path, config)
    assert again.modules.layout == LAYOUT and again.modules.rank == 4
    for (name, one), two in zip(source._skipping.modules.state_dict().items(),
                                again.modules.state_dict().values(), strict=True):  # fmt: skip
        assert torch.equal(one, two), name
    longer = replace(config, text=replace(config.text, layers=9))
    with pytest.raises(BundleError, match='made for 4 layers: expected 9'):
        load_oft_skipping(path, longer)


def test_a_controller_leaves_the_padding_out_of_its_mean(source):
    controller = source._skipping.modules.controller(1)
    bare = 1.0 + torch.randn(1, 60, 64, generator=torch.Generator().manual_seed(2))
    padded = torch.cat((torch.zeros(1, 14, 64), bare), dim=1)
    with torch.no_grad():
        found, wanted = controller(padded), controller(bare, torch.ones(1, 60))
        assert torch.allclose(found, wanted, atol=1e-6)
        assert not torch.allclose(found, controller(padded, torch.ones(1, 74)), atol=1e-4)


def test_a_token_without_an_embedding_is_named_before_anything_is_written(source):
    found = source._checkpoint
    text = json.loads(found.tokenizer)
    text['model']['vocab']['teapot'] = 32064
    odd = replace(found, tokenizer=json.dumps(text))
    with pytest.raises(BundleError, match=r"tokenizer.json: 'teapot' = 32064: .* \[0, 32063\]"):
        OftExport(odd, None, ROBOT)


def test_joints_must_fit_the_proprioception(source):
    robot = replace(ROBOT, joint_names=('a', 'b'))
    with pytest.raises(ConfigError, match='8 joints, or 7 and a gripper'):
        OftExport(source._checkpoint, source._skipping, robot)


def test_an_exported_layer_has_four_products_and_the_same_numbers(source):
    """Query, key and value are one product, gate and up another: for TensorRT."""
    part = source.part('layer_02')
    linear = [m for m in part.module.modules() if isinstance(m, torch.nn.Linear)]
    gate = 2 if isinstance(part.module, GatedLayer) else 0
    assert len(linear) - gate == 4
    hidden = torch.randn(part.arguments[0].shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = part.module(hidden)
        wanted = source._checkpoint.layer(2)(hidden)
    np.testing.assert_allclose(found[0] if gate else found, wanted, atol=1e-6)


def test_a_full_size_llama_layer_exports_and_runs(tmp_path):
    """Llama-2-7B: width 4096, FFN 11008, 605 tokens; the weights lie beside the graph."""
    config = OftConfig()
    assert (config.tokens, config.width, config.text.mlp_width) == (605, 4096, 11008)
    torch.set_num_threads(1)
    with torch.device('meta'):
        layer = OftLayer(config)
    layer.to_empty(device='cpu')
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        layer.cos, layer.sin = (table.clone() for table in rotary(config))
        for parameter in layer.parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
            else:  # cheap numbers of the right size: normal ones for 0.2 billion take longer
                parameter.uniform_(-0.03, 0.03, generator=generator)
    hidden = torch.randn(1, 605, 4096, generator=generator)
    hidden[:, :9] = 0.0  # padding of a short prompt
    with torch.no_grad():
        wanted = layer.eval()(hidden).numpy()
    part = Part(layer, (torch.zeros(1, 605, 4096),), ('hidden',), ('hidden_out',))
    spec = write_onnx(part, tmp_path, 'layer.onnx', FileSettings())
    assert (tmp_path / spec.data).stat().st_size > 800e6
    assert (tmp_path / spec.file).stat().st_size < 1e6
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(tmp_path / 'layer.onnx', options)
    found = session.run(None, {'hidden': hidden.numpy()})[0]
    del session
    np.testing.assert_allclose(found, wanted, atol=2e-3 * np.abs(wanted).max())
    cosine = (found * wanted).sum() / (np.linalg.norm(found) * np.linalg.norm(wanted))
    assert cosine > 0.99999
    assert not found[:, :9].any()
    # The CUDA engine's reading of the same file, by the mask and without it.
    function = OnnxFunction(tmp_path / 'layer.onnx', torch.device('cpu'))
    assert function.mask_of(('hidden',), ('hidden_out',))
    with torch.no_grad():
        (masked,), (spared,) = (
            function({'hidden': hidden}, ('hidden_out',), padding=padding) for padding in (None, 9)
        )
    worst = Worst()
    worst.add(masked.numpy(), found)
    assert worst.row('layer', BUDGETS['fp32']).within, worst.relative
    assert not spared[:, :9].any()
    # Three digits finer than the budget: one key too many would be 1 of 597.
    np.testing.assert_allclose(spared, masked, atol=1e-6 * np.abs(wanted).max())
    del function
    half = write_onnx(to_half(part), tmp_path, 'half.onnx', FileSettings())
    size = (tmp_path / half.data).stat().st_size
    assert 400e6 < size < 420e6
    assert {t.dtype for t in (*half.inputs, *half.outputs)} == {'float16'}


def rotary(config):
    from dysl_vla_ros.lab.model.llama import rotary_table

    return rotary_table(config.tokens, config.text)
