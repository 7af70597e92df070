"""Sets of ours in the current lerobot, and its sets here; lerobot in an environment of its own.

python3 -m venv /tmp/lerobot && /tmp/lerobot/bin/pip install lerobot
export DYSL_LEROBOT=/tmp/lerobot/bin/python
python3 -m pytest -m '' test/lab/data/test_lerobot_contract.py
"""

from __future__ import annotations

import json
import os
import subprocess

import numpy as np
import pytest

from dysl_vla_ros.lab.data.lerobot import open_lerobot
from dysl_vla_ros.lab.data.lerobot_frames import read_pictures, read_rows
from dysl_vla_ros.lab.data.robot_writer import RobotSetWriter, SetDescription

PYTHON = os.environ.get('DYSL_LEROBOT', '')
pytestmark = [
    pytest.mark.skipif(
        not PYTHON,
        reason='DYSL_LEROBOT names no python with lerobot: python3 -m '
        'venv /tmp/lerobot && /tmp/lerobot/bin/pip install lerobot',
    ),
    pytest.mark.timeout(1800),
]
NAMES = ('waist', 'elbow', 'gripper')
HEAD = """
import json, sys
from pathlib import Path
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
"""
READ = (
    HEAD
    + """
folder, deep = Path(sys.argv[1]), sys.argv[2] == 'png'
data = LeRobotDataset('me/set', root=folder)
found = {'episodes': data.num_episodes, 'frames': data.num_frames, 'fps': data.fps,
         'cameras': sorted(data.meta.camera_keys), 'names': data.meta.names['action']}
rows = data.hf_dataset
found['state'] = np.asarray(rows[7]['observation.state']).tolist()
found['task'] = data.meta.tasks.index[int(rows[7]['task_index'])]
if deep:
    item = data[7]
    found['picture'] = float(item['observation.images.wrist'][0].mean())
print('FOUND' + json.dumps(found))
"""
)
WRITE = (
    HEAD
    + """
folder, video = Path(sys.argv[1]), sys.argv[2] == 'video'
names = ['waist', 'elbow', 'gripper']
numbers = {'dtype': 'float32', 'shape': (3,), 'names': names}
picture = {'dtype': 'video' if video else 'image', 'shape': (64, 96, 3),
           'names': ['height', 'width', 'channels']}
data = LeRobotDataset.create('me/set', 10, {
    'observation.state': numbers, 'action': numbers, 'observation.images.wrist': picture,
}, root=folder, robot_type='so100_follower', use_videos=video)
for episode in range(3):
    for frame in range(6):
        shown = np.full((64, 96, 3), 30 * frame + 10 * episode, np.uint8)
        values = np.array([episode, frame, 0.5], np.float32)
        data.add_frame({'observation.state': values, 'action': values + 1,
                        'observation.images.wrist': shown, 'task': f'task {episode}'})
    data.save_episode()
if hasattr(data, 'finalize'):
    data.finalize()
print('FOUND{}')
"""
)


def run(script, *words):
    environment = {**os.environ, 'HF_HUB_OFFLINE': '1', 'HF_DATASETS_OFFLINE': '1'}
    done = subprocess.run([PYTHON, '-c', script, *map(str, words)], capture_output=True,
                          text=True, env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition('FOUND')[2])


@pytest.mark.parametrize('kind', ['png', 'video'])
def test_a_set_of_ours_opens_in_lerobot(tmp_path, kind):
    described = SetDescription('robot', 10, {'wrist': (64, 96)}, NAMES, NAMES, {})
    with RobotSetWriter(tmp_path / 'set', described, kind) as writer:
        for episode in range(2):
            numbers = np.array([[episode, frame, 0.5] for frame in range(5)], np.float32)
            shown = (np.full((64, 96, 3), 40 * frame, np.uint8) for frame in range(5))
            writer.add(numbers, numbers + 1, {'wrist': shown}, f'task {episode}')
        writer.finish()
    found = run(READ, tmp_path / 'set', kind)
    assert (found['episodes'], found['frames'], found['fps']) == (2, 10, 10)
    assert found['cameras'] == ['observation.images.wrist']
    assert tuple(found['names']) == NAMES
    assert found['state'] == [1.0, 2.0, 0.5]
    assert found['task'] == 'task 1'
    if kind == 'png':
        assert found['picture'] == pytest.approx(80 / 255, abs=1e-3)


@pytest.mark.parametrize('kind', ['image', 'video'])
def test_a_set_of_lerobot_opens_here(tmp_path, kind):
    if kind == 'video':
        pytest.importorskip('av')
    run(WRITE, tmp_path / 'set', kind)
    data = open_lerobot(tmp_path / 'set')
    assert (len(data.episodes), data.fps, data.robot) == (3, 10.0, 'so100_follower')
    rows = list(read_rows(data, ['observation.state', 'action']))
    assert rows[2].numbers['action'][4].tolist() == [3.0, 5.0, 1.5]
    assert rows[1].instruction == ('task 1',) * 6
    shown = [float(p.mean()) for p in
             read_pictures(data, rows[2], 'observation.images.wrist', [0, 5])]  # fmt: skip
    np.testing.assert_allclose(shown, [20, 170], atol=4)
