"""The simulated arm publishes the cameras that the bundle lists, as large as it asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import wait_for

from dysl_vla_ros.bundle.folder import write_manifest
from dysl_vla_ros.bundle.manifest import CameraSpec
from dysl_vla_ros.engines.fake.bundle import fake_manifest

pytestmark = pytest.mark.ros


@pytest.fixture
def bundle(tmp_path):
    """A manifest alone: the simulated arm reads no more."""
    cameras = (CameraSpec('front_image', 224, 224), CameraSpec('left_Wrist_camera', 96, 128))
    write_manifest(tmp_path, replace(fake_manifest(), cameras=cameras))
    return tmp_path


@pytest.fixture
def arm(graph):
    """The simulated arm with these parameters; returns pictures by topic."""
    pytest.importorskip('mujoco', reason='the simulated arm needs MuJoCo')
    from rclpy.node import Node
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import Image

    from dysl_vla_ros.ros import qos
    from dysl_vla_ros.ros.sim_node import SimNode

    nodes = []

    def start(*topics, **parameters):
        node = SimNode(
            context=graph.context,
            parameter_overrides=[Parameter(name, value=v) for name, v in parameters.items()],
        )
        nodes.append(graph.add(node))
        listener, heard = graph.add(Node('listener', context=graph.context)), {}
        for topic in topics:
            listener.create_subscription(
                Image, topic, lambda message, topic=topic: heard.setdefault(topic, message),
                qos.SENSOR,
            )  # fmt: skip
        node.start()
        wait_for(lambda: len(heard) == len(topics), what=f'pictures on {topics}')
        return {topic: (message.height, message.width) for topic, message in heard.items()}

    yield start
    for node in nodes:
        node.finish()


def test_every_camera_of_a_bundle_is_published_in_its_size(arm, bundle):
    found = arm('front_image', 'left_Wrist_camera', engine=str(bundle))
    assert found == {'front_image': (224, 224), 'left_Wrist_camera': (96, 128)}


def test_without_a_bundle_the_parameter_says_which(arm):
    assert arm('image', 'wrist_image', cameras=['image', 'wrist_image']) == {
        'image': (96, 96), 'wrist_image': (64, 64)}  # fmt: skip


def test_a_bundle_that_cannot_be_read_leaves_the_parameter_s_cameras(arm, tmp_path, capfd):
    assert arm('image', engine=str(tmp_path)) == {'image': (96, 96)}
    assert 'no manifest.json' in capfd.readouterr().err


def test_a_camera_of_the_hand_sees_what_the_gripper_sees_and_large_pictures_are_coarse(bundle):
    from dysl_vla_ros.ros.sim_cameras import cameras_of

    front, wrist = cameras_of(str(bundle))
    assert (front.view, wrist.view) == ('image', 'wrist_image')
    asked = []

    def render(view, rows, columns):
        asked.append((view, rows, columns))
        return np.arange(rows * columns * 3, dtype=np.uint8).reshape(rows, columns, 3)

    picture = front.picture(render)
    assert picture.shape == (224, 224, 3) and asked == [('image', 112, 112)]
    np.testing.assert_array_equal(picture[::2, ::2], picture[1::2, 1::2])
    assert wrist.picture(render).shape == (96, 128, 3)
    (one,) = cameras_of('fake')
    assert (one.name, one.height, one.block) == ('image', 96, 1)
