"""From a published folder and somebody's data set to a bundle that skips, by commands alone."""

from __future__ import annotations

import importlib.util
import json

import pytest

for name in ('torch', 'transformers', 'timm', 'pyarrow'):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f'needs {name}', allow_module_level=True)

import torch
from lerobot_files import write_set
from tiny_oft import ROBOTS, UpstreamOft, save_oft

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SETS = {
    'libero': ({'cameras': ('image', 'wrist_image'), 'state': 8, 'fps': 10}, ['--turned']),
    'bridge': ({'version': 'v2.1', 'cameras': ('up',), 'state': 7, 'fps': 5},
               ['--pictures', 'image_0=up']),
    'aloha': ({'cameras': ('image', 'left_wrist_image', 'right_wrist_image'), 'state': 14,
               'action': 14, 'fps': 50}, []),
}  # fmt: skip


def write_both(robot, folder, layers=5, video=False):
    torch.set_num_threads(1)
    save_oft(UpstreamOft(layers, **ROBOTS[robot]), folder / 'published')
    options, said = SETS[robot]
    write_set(folder / 'set', video=video, **options)
    return folder / 'published', ['--dataset', str(folder / 'set'), *said]


@pytest.mark.parametrize('robot', sorted(SETS))
def test_commands_alone_lead_to_a_bundle_that_skips(robot, tmp_path, capsys):
    have_av = importlib.util.find_spec('av') is not None
    published, described = write_both(robot, tmp_path, video=have_av)
    before = {path.name: path.read_bytes() for path in published.iterdir()}
    layers, out = tmp_path / 'layers', tmp_path / 'out'
    call = ['calibrate', str(published), *described, '--out', str(layers), '--batch', '4',
            '--batches', '2']  # fmt: skip
    assert main(call) == 0, capsys.readouterr().err
    chosen = json.loads((layers / 'layers.json').read_text())
    assert chosen['layers_total'] == 5 and len(chosen['static']) == 3
    call = ['distill', str(published), *described, '--out', str(out), '--layers',
            str(layers / 'layers.json'), '--adapter-steps', '12', '--controller-steps', '12',
            '--batch', '4', '--skip-weight', '1', '--note-every', '4', '--rank', '8']  # fmt: skip
    assert main(call) == 0, capsys.readouterr().err
    curve = json.loads((out / 'distill.json').read_text())['curve']
    imitated = [note['unexplained'] for note in curve if note['stage'] == 1]
    assert imitated[-1] < imitated[0] <= 1.05
    assert {path.name: path.read_bytes() for path in published.iterdir()} == before
    bundle, skipping = tmp_path / 'bundle', out / 'skipping.safetensors'
    call = [str(published), str(bundle), '--skipping', str(skipping)]
    assert main(['export', *call]) == 0, capsys.readouterr().err
    manifest = open_bundle(bundle).manifest
    assert list(manifest.static_layers) == chosen['static']
    assert manifest.calibration.eta > 0 and len(manifest.calibration.weights) == (
        manifest.action.dim)  # fmt: skip
    against = ['--against', str(published), '--skipping', str(skipping), '--observations', '1']
    assert main(['verify', str(bundle), *against]) == 0


def test_an_interrupted_distillation_goes_on(tmp_path, monkeypatch):
    import dysl_vla_ros.lab.learn.oft_distilling as module

    published, described = write_both('bridge', tmp_path, layers=4)
    out = tmp_path / 'out'
    call = ['distill', str(published), *described, '--out', str(out), '--adapter-steps', '4',
            '--controller-steps', '4', '--batch', '2', '--note-every', '2']  # fmt: skip

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, 'record_episodes', interrupted)
        assert main(call) == 130
    assert (out / module.STATE).is_file() and not (out / module.SKIPPING).is_file()
    before = json.loads((out / 'distill.json').read_text())['curve']
    assert main(call) == 0  # nothing is left but to record and to write
    assert json.loads((out / 'distill.json').read_text())['curve'] == before
    assert (out / module.SKIPPING).is_file() and not (out / module.STATE).is_file()


def test_a_finished_distillation_of_a_folder_is_replaced_by_no_other(tmp_path, capsys):
    published, described = write_both('bridge', tmp_path, layers=4)
    out = tmp_path / 'out'

    def distil(*more):
        code = main(
            [
                'distill',
                str(published),
                *described,
                '--out',
                str(out),
                '--adapter-steps',
                '4',
                '--controller-steps',
                '4',
                '--batch',
                '2',
                '--rank',
                '8',
                *more,
            ]
        )
        said = capsys.readouterr()  # fmt: skip
        return code, ' '.join((said.out + said.err).split())

    assert distil()[0] == 0
    before = (out / 'skipping.safetensors').read_bytes()
    code, told = distil()
    assert code == 0 and 'taken as it is, made of the same' in told
    for more, words in (
        (('--rank', '4'), 'rank = 4: expected 8'),
        (('--adapter-steps', '1'), 'distill.adapter_steps = 1: expected 4'),
    ):
        code, told = distil(*more)  # fmt: skip
        assert code != 0 and words in told and 'begin anew in another folder' in told
    assert (out / 'skipping.safetensors').read_bytes() == before


def test_what_the_set_lacks_is_one_list(tmp_path, capsys):
    torch.set_num_threads(1)
    save_oft(UpstreamOft(2), tmp_path / 'published')
    write_set(tmp_path / 'set', 'v2.1', video=False, state=6, action=6, fps=30)
    call = ['--dataset', str(tmp_path / 'set'), '--out', str(tmp_path / 'out')]
    assert main(['distill', str(tmp_path / 'published'), *call, '--task-share', '0.5']) == 2
    said = capsys.readouterr().err
    for part in ("picture 'image'", "picture 'wrist_image'", '8 numbers of proprioception',
                 '--no-turned', 'actions of 7 numbers', 'a rate of 20 Hz', '(6)',
                 '--pictures image=NAME'):  # fmt: skip
        assert part in said, said
    assert not (tmp_path / 'out').exists()


def test_instructions_that_the_prompt_does_not_hold_are_named_before_training(tmp_path, capsys):
    torch.set_num_threads(1)
    save_oft(UpstreamOft(2, **ROBOTS['bridge']), tmp_path / 'published')
    write_set(
        tmp_path / 'set',
        video=False,
        cameras=('image_0',),
        state=7,
        tasks=('pick up the red cube and put it on the plate ' * 4,),
    )
    call = ['--dataset', str(tmp_path / 'set'), '--out', str(tmp_path / 'out')]
    assert main(['calibrate', str(tmp_path / 'published'), *call]) == 2
    assert '1 of 1 do not fit' in capsys.readouterr().err


def test_a_published_folder_needs_a_data_set(tmp_path, capsys):
    torch.set_num_threads(1)
    save_oft(UpstreamOft(2), tmp_path / 'published')
    assert main(['calibrate', str(tmp_path / 'published')]) == 2
    assert 'a LeRobot data set of the robot' in capsys.readouterr().err
