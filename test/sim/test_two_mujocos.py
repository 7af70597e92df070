"""On Python 3.10 the simulation runs on ``mujoco``, else on ``mujoco-core``: the same pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
import mujoco
import numpy as np
from dysl_vla_ros.sim.rollout import expert_episode

frames = list(expert_episode(1_000_003, cameras={'image': 96, 'wrist_image': 64}))
images = {name: np.stack([frame.images[name] for frame in frames[::10]])
          for name in ('image', 'wrist_image')}
np.savez(sys.argv[1], joints=np.stack([frame.joints for frame in frames]), **images)
print(mujoco.__version__)
"""


def played(path, first=''):
    """An episode's pictures and joints, with the library of a folder before the installed one."""
    paths = [str(first), str(ROOT), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, str(path)], capture_output=True, text=True, check=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))},
    )  # fmt: skip
    return done.stdout.strip(), dict(np.load(path))


@pytest.mark.slow
@pytest.mark.skipif(
    sys.version_info < (3, 11), reason='mujoco-core has no wheel for Python 3.10: one of two runs'
)
def test_both_libraries_show_the_same_episode(tmp_path):
    command = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--target',
               str(tmp_path / 'other'), 'mujoco>=3.3,<4']  # fmt: skip
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip('no wheel of mujoco can be fetched here')
    ours, one = played(tmp_path / 'one.npz')
    theirs, other = played(tmp_path / 'other.npz', tmp_path / 'other')
    assert ours.startswith('4.') and theirs.startswith('3.')
    assert np.abs(one['joints'] - other['joints']).max() < 1e-6
    for name in ('image', 'wrist_image'):
        differ = np.abs(one[name].astype(int) - other[name])
        assert differ.max() <= 2 and (differ > 0).mean() < 1e-3
