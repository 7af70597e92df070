"""``dysl export`` takes pictures of the training data, and refuses what is none of a camera."""

from __future__ import annotations

import pytest
from PIL import Image
from small_checkpoint import make_checkpoint

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.lab.model.checkpoint import save_checkpoint


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--reference', 'hand=x.png'], "reference = 'hand=x.png': expected CAMERA=FILE, of im"),
        (['--reference', 'image'], 'expected CAMERA=FILE'),
        (['--reference', 'image=nowhere.png'], "reference.image = 'nowhere.png'"),
        (['--reference', 'image=small.png'], '20x20 pixels: expected at least 32x32'),
        (['--dataset', 'nowhere'], 'LeRobot'),
    ],
)
def test_a_picture_of_no_camera_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / 'policy.safetensors', make_checkpoint())
    Image.new('RGB', (20, 20)).save(tmp_path / 'small.png')
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(['export', 'policy.safetensors', 'bundle', *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
