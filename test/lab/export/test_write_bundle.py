"""One part in memory at a time; whole or not at all; an interrupted export goes on."""

from __future__ import annotations

import fcntl
import gc
import os
import weakref
from dataclasses import replace

import pytest
import torch
from small_checkpoint import make_checkpoint
from torch import nn

import dysl_vla_ros.lab.export.write_bundle as module_under_test
from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.bundle.manifest import SegmentSpec
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.engines.onnxruntime.engine import OnnxEngine
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.export.onnx_files import FileSettings
from dysl_vla_ros.lab.export.parts import GatedLayer, Part, part_names
from dysl_vla_ros.lab.export.small_parts import SmallParts
from dysl_vla_ros.lab.export.write_bundle import ExportSettings, write_bundle
from dysl_vla_ros.lab.model.skipping import Controller

LAYOUT = LayerLayout(3, (0, 2))
WIDTH, TOKENS = 8, 4


class Embed(nn.Module):
    def forward(self, patches, tokens, proprioception):
        return patches + tokens.float().mean() + proprioception.mean()


class Head(nn.Module):
    def forward(self, hidden):
        return hidden[:, :, :7].repeat(1, 2, 1)


class Toy:
    """Little models, and a book of which of them are alive."""

    layout = LAYOUT

    def __init__(self, fingerprint='one', fail_at=None):
        self.fingerprint, self.fail_at = fingerprint, fail_at
        self.built, self.alive = [], []

    def part(self, name):
        if name == self.fail_at:
            raise KeyboardInterrupt
        if self.living():
            gc.collect()  # torch's exporter leaves cycles behind
        assert self.living() == []
        self.built.append(name)
        part = self._part(name)
        self.alive.append((name, weakref.ref(part.module)))
        return part

    def living(self):
        return [name for name, module in self.alive if module() is not None]

    def _part(self, name):
        torch.manual_seed(sum(name.encode()))
        state = torch.zeros(1, TOKENS, WIDTH)
        if name == 'vision':
            module = nn.Sequential(nn.Conv2d(3, WIDTH, 2, stride=2), nn.Flatten(2), _Turn())
            return Part(module, (torch.zeros(1, 3, 4, 4),), ('image',), ('patches',))
        if name == 'embed':
            inputs = (state, torch.zeros(1, 6, dtype=torch.int64), torch.zeros(1, 7))
            return Part(Embed(), inputs, ('patches', 'tokens', 'proprioception'), ('hidden',))
        if name == 'head':
            return Part(Head(), (state,), ('hidden',), ('actions',))
        module, outputs = nn.Linear(WIDTH, WIDTH), ('hidden_out',)
        if name == 'layer_00':
            module, outputs = GatedLayer(module, Controller(WIDTH)), ('hidden_out', 'gate')
        return Part(module, (state,), ('hidden',), outputs)

    def contract(self):
        base = SmallParts(make_checkpoint(3, (0, 2))).contract()
        camera = replace(base.cameras[0], height=4, width=4)
        return replace(base, hidden_tokens=TOKENS, hidden_width=WIDTH, cameras=(camera,))


class _Turn(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


@pytest.fixture
def quick(monkeypatch):
    """Write the names of the weights in place of graphs: torch's exporter takes a second each."""

    def write(part, folder, file, settings):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f'{settings} {[n for n, _ in part.module.named_parameters()]}')
        return SegmentSpec(file, (), ())

    monkeypatch.setattr(module_under_test, 'write_onnx', write)


def test_one_part_is_in_memory_at_a_time_and_the_bundle_runs_and_lists_every_file(tmp_path):
    toy, settings = Toy(), ExportSettings(files=FileSettings(external_from=1))
    manifest = write_bundle(toy, tmp_path / 'toy', 'toy', settings)
    assert tuple(toy.built) == part_names(LAYOUT)
    assert len(toy.alive) == 7
    OnnxEngine(open_bundle(tmp_path / 'toy'))
    there = {str(p.relative_to(tmp_path / 'toy')) for p in (tmp_path / 'toy').rglob('*.*')
             if p.is_file()}  # fmt: skip
    assert there == {*manifest.files, 'manifest.json'}


@pytest.mark.usefixtures('quick')
def test_an_interrupted_export_goes_on_where_it_stopped(tmp_path):
    folder = tmp_path / 'toy'
    with pytest.raises(KeyboardInterrupt):
        write_bundle(Toy(fail_at='layer_02'), folder, 'toy')
    assert not folder.exists()
    second = Toy()
    resumed = write_bundle(second, folder, 'toy')
    assert second.built == ['layer_02', 'bridge_01', 'head']
    assert resumed == write_bundle(Toy(), tmp_path / 'other', 'toy')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['other', 'toy']


@pytest.mark.usefixtures('quick')
@pytest.mark.parametrize('change', ['weights', 'settings', 'spoilt file', 'spoilt note'])
def test_what_another_export_left_behind_is_not_taken(tmp_path, change):
    folder, partial = tmp_path / 'toy', tmp_path / '.toy.partial'
    with pytest.raises(KeyboardInterrupt):
        write_bundle(Toy(fail_at='layer_00'), folder, 'toy')
    second, settings = Toy(), ExportSettings()
    if change == 'weights':
        second = Toy('two')
    elif change == 'settings':
        settings = ExportSettings('fp16')
    elif change == 'spoilt file':
        for path in (partial / 'segments').iterdir():
            path.write_bytes(path.read_bytes()[:-1])
    else:
        for path in (partial / 'notes').iterdir():
            path.write_text('{"key": ')
    write_bundle(second, folder, 'toy', settings)
    assert second.built[:2] == ['vision', 'embed']
    open_bundle(folder)


@pytest.mark.usefixtures('quick')
def test_a_bundle_is_replaced_only_when_the_new_one_is_complete(tmp_path):
    folder = tmp_path / 'toy'
    write_bundle(Toy(), folder, 'first')
    with pytest.raises(KeyboardInterrupt):
        write_bundle(Toy('two', fail_at='head'), folder, 'second')
    assert open_bundle(folder).manifest.name == 'first'
    write_bundle(Toy('two'), folder, 'second')
    assert open_bundle(folder).manifest.name == 'second'


@pytest.mark.usefixtures('quick')
def test_the_contract_is_checked_before_the_first_graph_is_written(tmp_path):
    toy = Toy()
    good = toy.contract()
    toy.contract = lambda: replace(good, action=replace(good.action, period_s=0.0))
    with pytest.raises(BundleError, match='action.period_s'):
        write_bundle(toy, tmp_path / 'toy', 'toy')
    assert toy.built == [] and list(tmp_path.iterdir()) == []


def renamed(**changes):
    toy = Toy()
    base = toy.contract()
    toy.contract = lambda: replace(base, **{k: change(base) for k, change in changes.items()})
    return toy


@pytest.mark.usefixtures('quick')
def test_another_frame_or_name_takes_the_graphs_that_are_there(tmp_path):
    folder = tmp_path / 'toy'
    before = write_bundle(Toy(), folder, 'toy')
    toy = renamed(action=lambda c: replace(c.action, frame_id='elsewhere'))
    after = write_bundle(toy, folder, 'other', contract_only=True)
    assert toy.built == []
    assert (after.name, after.action.frame_id) == ('other', 'elsewhere')
    assert after.files == before.files and open_bundle(folder).manifest == after
    assert sorted(p.name for p in tmp_path.iterdir()) == ['toy']


@pytest.mark.usefixtures('quick')
def test_other_names_of_cameras_write_the_vision_graph_alone(tmp_path):
    write_bundle(Toy(), tmp_path / 'toy', 'toy')
    toy = renamed(cameras=lambda c: (replace(c.cameras[0], name='front'),))
    write_bundle(toy, tmp_path / 'toy', 'toy', contract_only=True)
    assert toy.built == ['vision']


@pytest.mark.usefixtures('quick')
def test_graphs_of_other_weights_are_not_taken(tmp_path):
    with pytest.raises(BundleError, match='no bundle: --contract-only'):
        write_bundle(Toy(), tmp_path / 'toy', 'toy', contract_only=True)
    write_bundle(Toy(), tmp_path / 'toy', 'toy')
    reason = 'other weights.*a published folder.*cp -p keeps the times'
    with pytest.raises(BundleError, match=reason):
        write_bundle(Toy('two'), tmp_path / 'toy', 'toy', contract_only=True)
    longer = renamed(hidden_tokens=lambda c: 9)
    with pytest.raises(BundleError, match='hidden_tokens 4 instead of 9'):
        write_bundle(longer, tmp_path / 'toy', 'toy', contract_only=True)


@pytest.mark.usefixtures('quick')
def test_two_exports_do_not_write_to_one_folder(tmp_path):
    partial = tmp_path / '.toy.partial'
    partial.mkdir()
    handle = os.open(partial, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(BundleError, match='another export is writing here'):
        write_bundle(Toy(), tmp_path / 'toy', 'toy')
    os.close(handle)
    write_bundle(Toy(), tmp_path / 'toy', 'toy')


# ---- reference pictures ------------------------------------------------------------------------


@pytest.mark.usefixtures('quick')
def test_a_reference_picture_is_a_checked_file_of_the_bundle_and_goes_on_in_the_next(tmp_path):
    folder, picture = tmp_path / 'toy', b'\x89PNG of what it saw'
    manifest = write_bundle(Toy(), folder, 'toy', references={'image': picture})
    camera = manifest.cameras[0]
    assert camera.reference == 'reference/image.png' and camera.reference in manifest.files
    assert (folder / camera.reference).read_bytes() == picture
    again = write_bundle(Toy('two'), folder, 'toy')
    assert again.cameras == manifest.cameras
    assert (folder / camera.reference).read_bytes() == picture
    newer = write_bundle(Toy(), folder, 'toy', references={'image': b'another'})
    assert (folder / newer.cameras[0].reference).read_bytes() == b'another'


@pytest.mark.usefixtures('quick')
def test_a_reference_picture_of_another_camera_or_one_that_was_altered_does_not_go_on(tmp_path):
    folder = tmp_path / 'toy'
    write_bundle(Toy(), folder, 'toy', references={'image': b'a picture'})
    other = Toy()
    contract = other.contract()
    turned = replace(contract, cameras=(replace(contract.cameras[0], rotate_180=True),))
    other.contract = lambda: turned
    assert write_bundle(other, tmp_path / 'new', 'toy').cameras[0].reference == ''
    assert write_bundle(other, folder, 'toy').cameras[0].reference == ''
    assert not (folder / 'reference').exists()
    write_bundle(Toy(), folder, 'toy', references={'image': b'a picture'})
    (folder / 'reference' / 'image.png').write_bytes(b'altered')
    assert write_bundle(Toy(), folder, 'toy').cameras[0].reference == ''


@pytest.mark.usefixtures('quick')
def test_a_reference_picture_of_no_camera_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="reference = 'hand': expected a camera of the model: i"):
        write_bundle(Toy(), tmp_path / 'toy', 'toy', references={'hand': b'a picture'})
