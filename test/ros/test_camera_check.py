"""Does the camera match? The live picture over what the model saw in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from camera_drivers import Driver, coded, scene
from conftest import wait_for
from fakes import FakePolicy
from test_cameras import inputs_status, listen, values

from dysl_vla_ros.bundle.folder import file_entry
from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.errors import BundleError

pytestmark = pytest.mark.ros
TOPIC = '/vla_node/camera_check/image'


def policy_with(folder, picture, name='reference/image.png'):
    """A policy whose bundle lies in ``folder`` and has a reference of its first camera."""
    (folder / 'reference').mkdir(exist_ok=True)
    (folder / name).write_bytes(coded(picture, 'PNG'))
    policy = FakePolicy()
    first, second = policy.manifest.cameras
    policy.manifest = replace(
        policy.manifest, cameras=(replace(first, reference=name), second),
        files={**policy.manifest.files, name: file_entry(folder / name)},
    )  # fmt: skip
    return policy


def hear(rig, topic=TOPIC):
    from sensor_msgs.msg import Image

    from dysl_vla_ros.ros import qos

    return rig.listen(topic, Image, qos.REQUEST)


def test_the_overlay_is_half_of_what_the_model_sees_and_half_of_what_it_saw(rig, tmp_path):
    from dysl_vla_ros.engines.image_tensor import as_seen
    from dysl_vla_ros.pictures.messages import rgb_of

    before = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    policy = policy_with(tmp_path, before)
    rig = rig(policy, engine__path=str(tmp_path))
    Driver(rig, 'bgr8')
    rig.up()
    rig.wait_state('ready')
    heard = hear(rig)
    wait_for(lambda: heard, what='an overlay')
    found = rgb_of('overlay', heard[-1]).astype(int)
    live = as_seen(scene(), policy.manifest.cameras[0]).astype(int)
    assert heard[-1].header.frame_id == 'image'
    assert abs(2 * found - live - before).max() <= 1


def test_without_a_reference_the_live_picture_is_shown_and_nothing_without_a_listener(rig):
    from dysl_vla_ros.pictures.messages import rgb_of

    rig = rig()
    Driver(rig)
    rig.up()
    rig.wait_state('ready')
    check = rig.session.inputs._check
    rig.graph.call(check.poll)
    assert check._newest == {}  # nobody listens, nothing to compare with: nothing was looked at
    heard = hear(rig)
    wait_for(lambda: heard, what='a picture')
    assert rgb_of('overlay', heard[-1]).shape == (96, 96, 3)
    assert 'image' in check._newest and 'wrist_image' not in check._newest


def test_another_light_than_in_training_is_a_warning_and_no_more(rig, tmp_path):
    policy = policy_with(tmp_path, np.full((96, 96, 3), 250, np.uint8))
    rig = rig(policy, engine__path=str(tmp_path))
    heard = listen(rig)
    Driver(rig, picture=np.full((96, 96, 3), 30, np.uint8))
    rig.up()
    rig.wait_state('ready')
    wait_for(lambda: inputs_status(heard) and 'darker' in inputs_status(heard).message,
             what='a warning')  # fmt: skip
    status = inputs_status(heard)
    assert status.message == 'image: 220 of 255 darker than in training: expected at most 50'
    assert values(status)['image.brightness_difference'] == '-220'
    assert rig.session.state == 'ready'


def test_a_reference_that_was_altered_is_said_and_the_node_goes_on(rig, tmp_path, capfd):
    policy = policy_with(tmp_path, np.zeros((96, 96, 3), np.uint8))
    (tmp_path / 'reference' / 'image.png').write_bytes(b'altered')
    rig = rig(policy, engine__path=str(tmp_path)).up()
    rig.wait_state('ready')
    assert 'no camera is compared with training: reference/image.png' in capfd.readouterr().err


def test_a_reference_of_another_size_than_the_camera_is_refused(tmp_path):
    from dysl_vla_ros.ros.references import read_references

    policy = policy_with(tmp_path, np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(BundleError, match=r'image.png: 50x40 pixels: expected 96x96'):
        read_references(str(tmp_path), policy.manifest)


def test_the_reference_of_the_bundled_model_is_what_the_simulated_arm_shows():
    from dysl_vla_ros.bundle.folder import open_bundle
    from dysl_vla_ros.engines.open_engine import bundled_model
    from dysl_vla_ros.ros.references import Comparison, read_references

    world = pytest.importorskip('dysl_vla_ros.sim.world', reason='needs MuJoCo').World()
    world.reset(7)
    manifest = open_bundle(bundled_model()).manifest
    assert isinstance(manifest.cameras[0], CameraSpec)
    reference = read_references('', manifest)['image']
    found = Comparison(world.render('image', 96), reference)
    assert found.problem == ''
    assert abs(found.brightness) < 30
