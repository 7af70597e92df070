"""Whoever learns from a recording, or is asked about it, sees the pixels that the node sees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle
import yaml
from conftest import wait_for

pytest.importorskip('rosbags', reason="pip install 'dysl_vla_ros[bags]'")
pytest.importorskip('pyarrow', reason='make test-all')
pytest.importorskip('PIL', reason='apt install python3-pil')

import picture_bag

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.cli.main import main
from dysl_vla_ros.config import InputConfig
from dysl_vla_ros.contract import camera_views
from dysl_vla_ros.lab.data.bags.bag import open_bag
from dysl_vla_ros.lab.data.lerobot import open_lerobot
from dysl_vla_ros.lab.data.lerobot_frames import read_pictures, read_rows
from dysl_vla_ros.lab.replay.topics import TopicSteps, Wishes
from dysl_vla_ros.node_parameters import load_yaml
from dysl_vla_ros.pictures.encodings import ENCODINGS

pytestmark = [pytest.mark.ros, pytest.mark.slow]

SENT = (*ENCODINGS, *picture_bag.FILES)
ASKED = {'image.fit': ['pad'], 'image.roi': ['image=0.1,0,0.85,0.9'], 'gripper.joint':
         'gripper_finger', 'gripper.open_value': 1.0, 'gripper.closed_value': 0.0}  # fmt: skip


class Shown:
    """Sends recorded messages through DDS, to the camera of a node."""

    def __init__(self, graph, spec, limits, view):
        from rclpy.node import Node
        from sensor_msgs.msg import CompressedImage, Image

        from dysl_vla_ros.ros.arrival import Arrival
        from dysl_vla_ros.ros.cameras import Camera

        self.node = graph.add(Node(f'shown_{len(graph.nodes)}', context=graph.context))
        limits = replace(limits, image_use_arrival_time=True)
        self.sent, self.cameras = {}, {}
        for kind, transport in ((Image, 'raw'), (CompressedImage, 'compressed')):
            topic = f'{self.node.get_name()}/{transport}'
            named = replace(spec, name=topic)
            limits_of_it = replace(limits, image_transport=transport)
            self.cameras[transport] = graph.call(
                lambda n=named, o=limits_of_it: Camera(self.node, n, o, view,
                                                       Arrival(self.node, 1.0)))  # fmt: skip
            ending = '/compressed' if transport == 'compressed' else ''
            self.sent[transport] = self.node.create_publisher(kind, topic + ending, 1)

    def picture(self, encoding):
        """What the node makes of a picture; its bytes are those of the recording."""
        message = picture_bag.noise(encoding)
        transport = 'compressed' if encoding in picture_bag.FILES else 'raw'
        kind = picture_bag.PACKED if encoding in picture_bag.FILES else picture_bag.IMAGE
        data = bytes(picture_bag.STORE.serialize_cdr(message, kind))
        camera = self.cameras[transport]

        def arrived():
            self.sent[transport].publish(data)
            newest = camera.stream.newest
            return newest if newest and newest.message.header.frame_id == encoding else None

        return camera.picture(wait_for(arrived, what=f'{encoding}: {camera.stream.last_refusal}'))


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bags') / 'bag'
    return picture_bag.write(folder, {f'/cell/c_{name}': picture_bag.noise(name) for name in SENT})


@pytest.fixture(scope='module')
def manifest(tmp_path_factory):
    return open_bundle(tiny_bundle.write_tiny_bundle(tmp_path_factory.mktemp('b'))).manifest


def test_an_imported_recording_has_the_pixels_of_the_node_in_every_encoding(
    recording, manifest, graph, tmp_path
):
    cameras = [f'c_{name}=/cell/c_{name}' for name in SENT]
    out = tmp_path / 'set'
    assert main(['import', str(recording), str(out), '--fps', '10', '--pictures', 'png',
                 '--cameras', *cameras]) == 0  # fmt: skip
    data = open_lerobot(out)
    (rows,) = read_rows(data, ['observation.state'])
    limits = InputConfig()
    node = Shown(graph, manifest.cameras[0], limits, camera_views(limits, manifest)['image'])
    for name in SENT:
        (found,) = read_pictures(data, rows, f'observation.images.c_{name}', [2])
        assert found.shape == (picture_bag.HEIGHT, picture_bag.WIDTH, 3) and found.std() > 20
        np.testing.assert_array_equal(found, node.picture(name), err_msg=name)


def test_a_replayed_recording_is_fitted_as_the_node_fits_it_in_every_encoding(
    recording, manifest, graph, tmp_path
):
    path = tmp_path / 'arm.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': ASKED}}))
    config = load_yaml(path)
    view = camera_views(config.inputs, manifest)['image']
    node = Shown(graph, manifest.cameras[0], config.inputs, view)
    with open_bag(recording) as bag:
        for name in SENT:
            steps = TopicSteps(bag, manifest, config, Wishes({'image': f'/cell/c_{name}'}))
            found = next(iter(steps)).observation.images['image']
            assert found.shape[0] == found.shape[1] == 136  # 0.85 of the width, in a square
            np.testing.assert_array_equal(found, node.picture(name), err_msg=name)
