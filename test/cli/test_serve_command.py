"""``dysl serve`` as a user calls it: a bundle, a folder that was never exported, wrong calls."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('websockets', reason="pip install 'dysl_vla_ros[remote]'")
pytest.importorskip('msgpack', reason="pip install 'dysl_vla_ros[remote]'")

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.engines.remote.link import Address, Link

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0


class Served:
    """The command, until the test is over."""

    def __init__(self, *words):
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'dysl_vla_ros.cli.main', 'serve', '--port', '0', *words],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.said = ''
        for line in self.process.stdout:
            self.said += line
            found = re.search(r'(wss?://\S+) \(openpi\)', line)
            if found:
                self.url = found[1]
                return
        raise AssertionError(self.said)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=PATIENCE)
        return self.said + said


@pytest.fixture
def serve():
    made = []

    def start(*words):
        made.append(Served(*words))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.communicate()


def test_a_client_with_the_token_is_answered_and_the_end_says_how_many(serve, tmp_path):
    token = tmp_path / 'token'
    token.write_text('open sesame\n')
    served = serve('fake', '--token-file', str(token), '--mode', 'full')
    link = Link(Address(served.url, token='open sesame'))
    about = link.wait(PATIENCE)
    assert about['dysl']['mode'] == 'full'
    asked = {'observation/image': np.zeros((96, 96, 3), np.uint8),
             'observation/state': np.zeros(7), 'prompt': 'go'}  # fmt: skip
    for _ in range(2):
        assert link.ask(asked, PATIENCE)['actions'].shape == (8, 7)
    link.close()
    said = served.end()
    assert served.process.returncode == 0
    assert '2 answers, 24.00 of 24 layers each' in said


@pytest.fixture
def upstream():
    """The libraries that read a published folder, on one thread."""
    for name in ('torch', 'transformers', 'timm'):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f'needs {name}')
    import torch

    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_folder_that_was_never_exported_is_served_from_torch(serve, upstream, tmp_path):
    from tiny_oft import ROBOTS, UpstreamOft, save_oft

    save_oft(UpstreamOft(5, **ROBOTS['libero']), tmp_path / 'published')
    contract = ROOT / 'config' / 'servers' / 'vla_eval_libero.yaml'
    served = serve(str(tmp_path / 'published'), '--contract', str(contract))
    link = Link(Address(served.url))
    link.wait(PATIENCE)
    picture = np.zeros((256, 256, 3), np.uint8)
    state = np.array([0.0, 0.0, 1.0, 3.1, 0.0, 0.0, 0.04, -0.04])
    answer = link.ask({'images': {'agentview': picture, 'wrist': picture}, 'states': state,
                       'task_description': 'pick up the bowl'}, PATIENCE)  # fmt: skip
    assert answer['actions'].shape == (8, 7)
    assert np.isfinite(answer['actions']).all()
    assert answer['dysl']['layers_total'] == 5
    link.close()
    assert 'torch' in served.end()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_plain_openvla_is_served_to_a_robot_and_to_the_harness(serve, upstream, tmp_path):
    from tiny_oft import UpstreamOft, save_openvla

    save_openvla(UpstreamOft(5, cameras=1), tmp_path / 'published')
    picture = np.zeros((256, 256, 3), np.uint8)
    served = serve(str(tmp_path / 'published'), '--device', 'cpu')
    link = Link(Address(served.url))
    assert link.wait(PATIENCE)['action_horizon'] == 1
    plain = link.ask({'observation/image': picture, 'prompt': 'pick up the bowl'}, PATIENCE)
    assert plain['actions'].shape == (1, 7) and np.isfinite(plain['actions']).all()
    assert plain['dysl']['layers_run'] == [0, 1, 2, 3, 4]
    link.close()
    assert 'token by token' in served.end()
    contract = ROOT / 'config' / 'servers' / 'vla_eval_libero_openvla.yaml'
    served = serve(str(tmp_path / 'published'), '--contract', str(contract))
    link = Link(Address(served.url))
    link.wait(PATIENCE)
    # What the harness sends beside is left alone.
    scored = link.ask({'images': {'agentview': picture, 'wrist': picture},
                       'states': np.zeros(8), 'task_description': 'pick up the bowl'},
                      PATIENCE)  # fmt: skip
    np.testing.assert_allclose(scored['actions'][0, :3], plain['actions'][0, :3] / 0.05)
    link.close()
    served.end()


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['fake', '--port', '70000'], 'expected a whole number within [0, 65535]'),
        (['fake', '--plays', '-1'], "--plays = '-1': expected a whole number"),
        (['fake', '--silence', '0'], "--silence = '0': expected a number above 0"),
        (['fake', '--mode', 'fixed'], 'names no exit layer'),
        (['fake', '--device', 'cuda'], 'nothing with a bundle'),
        (['fake', '--token-file', '/nowhere'], 'remote.token_file'),
        (['fake', '--certificate', '/nowhere'], 'certificate'),
        (['fake', '--host', '203.0.113.7', '--port', '0'], 'an address of this machine'),
        (['fake', '--contract', '/nowhere.yaml'], '/nowhere.yaml: cannot be read'),
        (['/nowhere'], "'/nowhere': expected a checkpoint"),
        (['fake', '--contract', str(ROOT / 'config/servers/openpi_droid.yaml')], 'action.space'),
    ],
)
def test_a_wrong_call_ends_in_one_line(words, said, capsys):
    assert main(['serve', *words]) == (1 if '--contract' in words else 2)
    errors = capsys.readouterr().err
    # Servers and links of the tests before may say their last words meanwhile.
    (line,) = [line for line in errors.splitlines() if line.startswith('dysl serve: ')]
    assert said in line and 'Traceback' not in errors


def test_a_folder_whose_weights_were_trained_anew_is_another_model(tmp_path):
    from dysl_vla_ros.bundle.no_files import with_weights
    from dysl_vla_ros.engines.fake.bundle import fake_manifest

    weights, skipping = tmp_path / 'model' / 'a.safetensors', tmp_path / 'skipping.safetensors'
    weights.parent.mkdir()
    weights.write_bytes(b'first')
    skipping.write_bytes(b'one')

    def digest():
        return with_weights(fake_manifest(), [weights.parent, skipping]).digest

    first = digest()
    assert digest() == first
    os.utime(weights, ns=(1, 1))
    second = digest()
    skipping.write_bytes(b'other')
    assert len({first, second, digest()}) == 3
