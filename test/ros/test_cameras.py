"""A camera follows what is published: raw images, else compressed ones."""

from __future__ import annotations

import io
from array import array

import numpy as np
import pytest
from conftest import wait_for

pytestmark = pytest.mark.ros


def png(picture):
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, 'PNG')
    return data.getvalue()


def compress(rig, name='image'):
    """The robot's camera is compressed from now on, and nothing raw is published."""
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage

    node = rig.robot.node
    publisher, _ = rig.robot.images.pop(name)
    rig.graph.call(lambda: node.destroy_publisher(publisher))
    publisher = node.create_publisher(CompressedImage, f'{name}/compressed',
                                      qos_profile_sensor_data)  # fmt: skip
    picture = np.zeros((96, 96, 3), np.uint8)
    picture[:, :, 0] = 200
    content = array('B', png(picture))

    def publish():
        message = CompressedImage(format='png')
        message.header.stamp = node.get_clock().now().to_msg()
        message.data = content
        publisher.publish(message)

    rig.graph.call(lambda: node.create_timer(0.05, publish))
    return picture


def test_where_only_compressed_images_come_they_are_what_the_policy_sees(rig):
    rig = rig()
    picture = compress(rig)
    rig.run()
    wait_for(lambda: rig.policy.observations, what='an observation')
    seen = rig.policy.observations[-1].images
    assert np.array_equal(seen['image'], picture)
    assert not seen['wrist_image'].any()  # this one stayed raw


def test_when_raw_images_come_again_the_compressed_ones_are_left(rig):
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import Image

    rig = rig()
    compress(rig)
    rig.up()
    rig.wait_state('ready')
    topic = '/image/compressed'
    assert rig.node.count_subscribers(topic) == 1
    node = rig.robot.node
    rig.robot.images['image'] = (
        node.create_publisher(Image, 'image', qos_profile_sensor_data), 96
    )
    wait_for(lambda: rig.node.count_subscribers(topic) == 0, what='back to raw')
    newest = rig.session.inputs.cameras['image'].stream
    wait_for(lambda: isinstance(newest.newest.message, Image), what='raw images')
    assert rig.session.state == 'ready'
