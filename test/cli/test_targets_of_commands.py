"""No command deletes or overwrites what is not its own, and each says so before it works."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest
import tiny_bundle

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.cli.report import check_json, write_json
from dysl_vla_ros.errors import ConfigError

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec('torch') is None, reason="needs the extra 'train': make test-all"
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The current folder: what a day's work looks like."""
    folder = tmp_path / 'project'
    (folder / 'stuff' / 'data' / 'chunk-000').mkdir(parents=True)
    (folder / 'stuff' / 'data' / 'chunk-000' / 'file-000.parquet').write_text("someone else's")
    (folder / 'policy.safetensors').write_text('weeks of work')
    (folder / 'photo.png').write_bytes(b'\x89PNG\r\n\x1a\n a photo')
    (folder / 'precious.json').write_text('{"precious": 1}')
    (folder / 'link').symlink_to('stuff')
    monkeypatch.chdir(folder)
    return folder


def everything(folder):
    return {p.relative_to(folder): p.is_file() and p.read_bytes() for p in folder.rglob('*')}


def refused(words, message, capsys, folder):
    before = everything(folder)
    assert main([str(word) for word in words]) in (1, 2)
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and message in error, error
    assert everything(folder) == before


@pytest.mark.parametrize(
    ('target', 'message'),
    [
        ('.', 'this is the current folder'),
        ('/', 'a folder above the current one'),
        ('stuff', 'there is data in this one'),
        ('link', 'this is a link'),
        ('policy.safetensors', 'this is a file'),
    ],
)
def test_export_refuses_what_is_not_a_bundle(project, capsys, target, message):
    refused(['export', 'policy.safetensors', target], message, capsys, project)


@pytest.mark.slow
@pytest.mark.parametrize('target', ['.', 'stuff', 'link', 'policy.safetensors'])
def test_collect_refuses_what_is_not_a_dataset_of_its_own(project, capsys, target):
    pytest.importorskip('pyarrow', reason="needs the extra 'train'")
    refused(['collect', target, '--episodes', 1], f"dataset = '{target}'", capsys, project)


COMMANDS = {
    'bench': ['--roofline'],
    'build': ['nowhere'],
    'demo': ['--headless', '--seconds', '1'],
    'doctor': [],
    'evaluate': ['--engine', 'nowhere'],
    'verify': ['nowhere'],
}


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize('target', ['policy.safetensors', 'precious.json', 'stuff', 'link', '.'])
def test_a_report_is_refused_before_the_work_where_something_else_is(
    project, capsys, command, target
):
    words = [command, *COMMANDS[command], '--json', target]
    refused(words, f"--json = '{target}'", capsys, project)


@pytest.mark.parametrize('target', ['photo.png', 'policy.safetensors', 'stuff'])
def test_a_plot_is_refused_before_the_work_where_something_else_is(project, capsys, target):
    refused(['evaluate', '--plot', target], f"--plot = '{target}'", capsys, project)


REPORTS = {
    'doctor': [{'part': 'x', 'state': 'ok'}], 'bench': {'format': 'dysl_vla_bench', 'modes': {}},
    'evaluate': {'modes': {}}, 'verify': {'patterns_possible': 4, 'budget': {}},
    'demo': {'command_rate_hz_mean': 20.0, 'passes': 3},
    'build': {'built': [], 'kept': [], 'target': {}},
    'inspect': {'supported': True, 'family': 'openvla_oft', 'missing': []},
}  # fmt: skip


@pytest.mark.parametrize('command', COMMANDS)
def test_a_report_is_not_written_over_that_of_another_command(project, capsys, command):
    for other, document in REPORTS.items():
        path = project / f'{other}.json'
        write_json(path, document)
        if other == command:
            check_json(path, command)
            continue
        words = [command, *COMMANDS[command], '--json', path.name]
        refused(words, f'a report of dysl {command}: this is one of dysl {other}', capsys, project)
        assert json.loads(path.read_text()) == document


def test_a_report_is_written_over_a_report_and_not_over_a_manifest(project):
    for document in ({'modes': {'auto': float('nan')}, 'name': 'gr\u00fcn'}, [{'part': 'x'}], {}):
        write_json(project / 'out.json', document)
        write_json(project / 'out.json', document)
    bundle = tiny_bundle.write_tiny_bundle(project / 'bundle')
    with pytest.raises(ConfigError, match='a report that dysl wrote'):
        write_json(bundle / 'manifest.json', {})


@pytest.mark.slow
def test_a_plot_is_drawn_over_its_own(project):
    pytest.importorskip('matplotlib', reason="needs the extra 'train'")
    from dysl_vla_ros.lab.evaluation.plots import plot_evaluation

    phases = dict.fromkeys(('reach', 'grasp', 'carry', 'release'), 5.0)
    mode = {'success_rate': 0.5, 'success_interval': (0.1, 0.9), 'layers_by_phase': phases,
            'layers_total': 20}  # fmt: skip
    document = {'modes': {'auto': mode}, 'traces': {'auto': None}}
    for _ in range(2):
        plot_evaluation(project / 'out.png', document)
    assert (project / 'out.png').read_bytes()[:4] == b'\x89PNG'
    with pytest.raises(ConfigError, match='a picture that dysl evaluate drew'):
        plot_evaluation(project / 'photo.png', document)


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize('target', ['.', 'stuff', 'link', 'policy.safetensors'])
def test_calibrate_writes_reports_into_folders_of_its_own_only(project, capsys, target):
    bundle = tiny_bundle.write_tiny_bundle(project / 'bundle')
    refused(['calibrate', bundle, '--out', target, '--device', 'cpu'], f"--out = '{target}'",
            capsys, project)  # fmt: skip


@pytest.mark.slow
@needs_torch
def test_a_run_goes_on_in_its_own_folder_and_in_no_other(project):
    import torch

    from dysl_vla_ros.lab.workspace import Workspace

    cpu = torch.device('cpu')
    for _ in range(2):
        Workspace(project / 'run', project / 'results', cpu).note('data', frames=1)
    assert json.loads((project / 'results' / 'report.json').read_text())['data']['frames'] == 1
    before = everything(project)
    with pytest.raises(ConfigError, match='there is data in this one'):
        Workspace(project / 'run', project / 'stuff', cpu)
    assert everything(project) == before


@pytest.mark.slow
@needs_torch
def test_a_checkpoint_is_written_over_a_checkpoint_alone(project):
    import torch

    from dysl_vla_ros.lab.model.checkpoint import load_tensors, save_tensors

    for number in (1.0, 2.0):
        save_tensors(project / 'new.safetensors', {'a': torch.tensor([number])}, {})
    assert load_tensors(project / 'new.safetensors')[0]['a'].item() == 2.0
    before = everything(project)
    for name in ('policy.safetensors', 'stuff', 'link'):
        with pytest.raises(ConfigError, match='checkpoint'):
            save_tensors(project / name, {'a': torch.zeros(1)}, {})
    assert everything(project) == before


def test_a_bundle_whose_manifest_is_a_link_is_not_changed(project):
    from dysl_vla_ros.bundle.folder import open_bundle, write_manifest

    bundle = tiny_bundle.write_tiny_bundle(project / 'bundle')
    shutil.move(bundle / 'manifest.json', project / 'elsewhere.json')
    (bundle / 'manifest.json').symlink_to('../elsewhere.json')
    before = everything(project)
    with pytest.raises(ConfigError, match='this is a link'):
        write_manifest(bundle, open_bundle(bundle).manifest)
    assert everything(project) == before
