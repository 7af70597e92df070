"""The whole way: the demo's own processes are recorded, and replayed in another process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]
for library in ('rclpy', 'mcap', 'rosbags', 'mujoco'):
    pytest.importorskip(library, reason=f'{library} is not installed: make test')


def dysl(folder, *words):
    return subprocess.run(
        [sys.executable, '-m', 'dysl_vla_ros.cli.main', *words], cwd=folder, capture_output=True,
        text=True, check=False, timeout=280,
    )  # fmt: skip


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    from pathlib import Path

    import dysl_vla_ros

    place = tmp_path_factory.mktemp('demo')
    # The package of this tree, wherever the command is called.
    root = Path(dysl_vla_ros.__file__).resolve().parents[1]
    (place / 'dysl_vla_ros').symlink_to(root / 'dysl_vla_ros')
    (place / 'resource').symlink_to(root / 'resource')
    (place / 'config').symlink_to(root / 'config')
    done = dysl(place, 'demo', '--headless', '--seconds', '25', '--seed', '1000000',
                'record:=true', 'record_limit_gb:=1')  # fmt: skip
    assert 'vla_recorder' not in done.stdout, done.stdout + done.stderr  # no bad exit code
    return place


def test_a_recorded_demo_replays_to_identical_layers_in_another_process(folder):
    done = dysl(folder, 'replay', 'dysl_vla_bags', '--json', 'out.json')
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / 'out.json').read_text())['summary']
    assert found['verified'] and found['chunks'] >= 3
    assert found['same_layers'] == found['chunks'] and found['difference']['max'] <= 1e-4
    agree, asked = found['rules_agree']
    assert agree == asked


def test_a_recorded_demo_is_a_film_of_what_was_executed(folder):
    """Against `~/chunk_info`, which tells the same in another way."""
    from PIL import Image

    from dysl_vla_ros.lab.data.bags.bag import open_bag
    from dysl_vla_ros.lab.evaluation.film_bag import film_of
    from dysl_vla_ros.lab.evaluation.film_pictures import is_film

    with open_bag(folder / 'dysl_vla_bags') as bag:
        (topic,) = bag.find('diagnostic_msgs/msg/DiagnosticStatus', ending='/chunk_info')
        told = [{item.key: item.value for item in message.message.values}
                for message in bag.messages([topic])]  # fmt: skip
    executed = [one for one in told if one['outcome'] == 'accepted']
    made = film_of(folder / 'dysl_vla_bags')
    assert len(executed) >= 3 and len(made.frames) == len(executed)
    # Of a chunk that was run again the film shows the layers of both passes.
    assert [f.mode for f in made.frames] == [one['mode'] for one in executed]
    assert [f.mask for f in made.frames if f.mode != 'rerun'] == [
        one['layer_mask'] for one in executed if one['mode'] != 'rerun'
    ]
    assert {f.mask for f in made.frames if f.mode == 'rerun'} <= {'1' * 20}
    assert made.instruction and made.frames[0].image.std() > 10
    done = dysl(folder, 'film', '--bag', 'dysl_vla_bags', '--out', 'film.gif')
    assert done.returncode == 0 and 'passes in' in done.stdout, done.stdout + done.stderr
    with Image.open(folder / 'film.gif') as animation:
        assert is_film(folder / 'film.gif') and animation.n_frames > 3


def test_what_was_recorded_of_the_demo_answers_what_if(folder):
    done = dysl(folder, 'replay', 'dysl_vla_bags', '--blank', 'image', '--json', 'blank.json')
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / 'blank.json').read_text())['summary']
    assert found['compared_with'] == 'unchanged' and found['difference']['rms_mean'] > 1e-3
