"""Exporting over a bundle: what was made for it goes on, or the export says what would be lost."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
import torch
from test_write_bundle import Toy, quick  # noqa: F401 (the fixture)

from dysl_vla_ros.bundle.folder import open_bundle, write_manifest
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.engines.tensorrt.plans import (
    FORMAT,
    FORMAT_VERSION,
    PlansManifest,
    Target,
    onnx_hash,
    write_plans,
)
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.export.parts import Part
from dysl_vla_ros.lab.export.write_bundle import ExportSettings, write_bundle

pytestmark = pytest.mark.usefixtures('quick')
OTHER = ExportSettings('fp16')
"""Other settings make other graphs."""


@pytest.fixture
def folder(tmp_path):
    """A bundle that was calibrated, and for which plans were built."""
    folder = tmp_path / 'toy'
    manifest = write_bundle(Toy(), folder, 'first')
    calibration = replace(manifest.calibration, eta=0.77, rule='ceil')
    write_manifest(folder, replace(manifest, calibration=calibration))
    target = Target('Orin', '8.7', 16, '10.3', '12.6', 'fp32', onnx_hash(manifest))
    write_plans(folder / 'plans' / 'orin', PlansManifest(FORMAT, FORMAT_VERSION, 'first', target,
                                                        {}))  # fmt: skip
    (folder / 'plans' / 'orin' / 'head.plan').write_bytes(b'compiled')
    return folder


def everything(folder):
    return {p.relative_to(folder): p.is_file() and p.read_bytes() for p in folder.rglob('*')}


def test_calibration_and_plans_go_on_where_the_graphs_are_the_same(folder):
    manifest = write_bundle(Toy(), folder, 'second')
    assert manifest.name == 'second' and manifest.calibration.eta == 0.77
    assert open_bundle(folder).manifest == manifest
    assert (folder / 'plans' / 'orin' / 'head.plan').read_bytes() == b'compiled'
    assert [path.name for path in folder.parent.iterdir()] == ['toy']


def test_what_would_be_lost_is_named_before_anything_is_built_and_stays(folder):
    before, toy = everything(folder), Toy()
    with pytest.raises(ConfigError, match='eta 0.77.*plans/orin, made for other graphs.*--force'):
        write_bundle(toy, folder, 'second', OTHER)
    assert everything(folder) == before and toy.built == []


def test_what_turns_out_to_be_lost_is_named_and_stays(folder):
    before, toy = everything(folder), Toy('other weights')
    toy._part = lambda name: Part(Longer(), (torch.zeros(1, 4, 8),), ('hidden',), ('hidden_out',))
    with pytest.raises(ConfigError, match='eta 0.77.*plans/orin, made for other graphs.*--force'):
        write_bundle(toy, folder, 'second')
    assert everything(folder) == before and toy.built


class Longer(torch.nn.Linear):
    def __init__(self):
        super().__init__(8, 8)
        self.more = torch.nn.Parameter(torch.zeros(1))


def test_a_dense_bundle_has_no_calibration_to_lose(tmp_path):
    dense = Toy()
    dense.layout = LayerLayout(3, (0, 1, 2))
    manifest = write_bundle(dense, tmp_path / 'toy', 'dense')
    calibration = replace(manifest.calibration, eta=0.77)
    write_manifest(tmp_path / 'toy', replace(manifest, calibration=calibration))
    assert write_bundle(dense, tmp_path / 'toy', 'again').calibration.eta == 0.77
    again = write_bundle(Toy(), tmp_path / 'toy', 'distilled')
    assert again.static_layers == (0, 2) and again.calibration.eta != 0.77


def test_force_takes_the_models_calibration_and_drops_what_does_not_fit(folder):
    own = Toy().contract().calibration
    assert write_bundle(Toy(), folder, 'second', force=True).calibration == own
    assert (folder / 'plans' / 'orin' / 'head.plan').is_file()
    assert write_bundle(Toy(), folder, 'third', OTHER, force=True).calibration == own
    assert not (folder / 'plans').exists()
    assert open_bundle(folder).manifest.name == 'third'


def test_files_that_somebody_added_are_named_before_anything_is_built(folder):
    (folder / 'segments' / 'notes.txt').write_text('mine')
    before, toy = everything(folder), Toy()
    with pytest.raises(ConfigError, match=r'segments/notes.txt, which no export wrote'):
        write_bundle(toy, folder, 'second')
    assert toy.built == [] and everything(folder) == before


def test_a_bundle_that_cannot_be_read_is_replaced_by_force_only(folder):
    path = folder / 'manifest.json'
    path.write_text(path.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(ConfigError, match='all that is there, which cannot be read .*version'):
        write_bundle(Toy(), folder, 'second')
    write_bundle(Toy(), folder, 'second', force=True)
    assert open_bundle(folder).manifest.name == 'second'


@pytest.mark.parametrize('name', ['.toy.old', '.toy.partial'])
def test_folders_of_others_beside_the_target_stay(folder, name):
    other = folder.parent / name
    other.mkdir()
    (other / 'mine.txt').write_text('mine')
    with contextlib.suppress(ConfigError):
        write_bundle(Toy(), folder, 'second')
    assert (other / 'mine.txt').read_text() == 'mine'
    assert open_bundle(folder)


def test_a_fresh_bundle_begins_with_the_level_rule(tmp_path):
    from small_checkpoint import make_checkpoint

    from dysl_vla_ros.lab.export.small_parts import SmallParts

    bare = SmallParts(replace(make_checkpoint(3, (0, 2)), calibration=None)).contract()
    toy = Toy()
    toy.contract = lambda: replace(Toy().contract(), calibration=bare.calibration)
    write_bundle(toy, tmp_path / 'toy', 'toy')
    assert open_bundle(tmp_path / 'toy').manifest.calibration.rule == 'level'
