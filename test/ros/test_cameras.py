"""Cameras as drivers publish them: what the policy sees, and what is said when it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from camera_drivers import HEIGHT, WIDTH, Driver, coded, scene
from conftest import DOMAIN, wait_for

pytestmark = pytest.mark.ros


def seen(rig, name='image', past=0):
    """The newest picture that a pass got, once there were more than ``past``."""
    wait_for(lambda: len(rig.policy.observations) > past, what='an observation')
    return rig.policy.observations[-1].images[name]


def subscribed(rig, topic='/image'):
    """Reliabilities of the node's subscriptions of a topic."""
    return [
        info.qos_profile.reliability.name
        for info in rig.node.get_subscriptions_info_by_topic(topic)
        if info.node_name == 'vla_node'
    ]


# ---- what arrives, however it arrives -----------------------------------------------------------


@pytest.mark.parametrize(
    ('encoding', 'tolerance'), [('bgr8', 0), ('rgb8', 0), ('yuyv', 3), ('JPEG', 12), ('PNG', 0)]
)
def test_a_camera_of_640x480_is_cropped_to_what_a_square_policy_sees(rig, encoding, tolerance):
    from dysl_vla_ros.engines.image_tensor import as_seen

    rig = rig()
    Driver(rig, encoding)
    rig.run()
    picture = seen(rig)
    assert picture.shape == (HEIGHT, WIDTH, 3) and not picture.flags.writeable
    quarters = [(120, 160), (120, 480), (360, 160), (360, 480), (240, 20)]
    for row, column in quarters:
        error = abs(picture[row, column].astype(int) - scene()[row, column]).max()
        assert error <= tolerance, (row, column, picture[row, column])
    model = as_seen(picture, rig.policy.manifest.cameras[0])
    assert model.shape == (96, 96, 3)
    # The frame of grey is cropped away: left and right edges show the quarters.
    expected = as_seen(np.ascontiguousarray(scene()[:, 80:560]), rig.policy.manifest.cameras[0])
    assert abs(model.astype(int) - expected).max() <= tolerance + 1


@pytest.mark.parametrize(
    ('fit', 'roi', 'expected'),
    [
        (['pad'], [], (640, 640)),
        (['image=squash', 'crop'], [], (96, 96)),
        ([], ['image=0.125,0,0.75,1'], (480, 480)),
        (['pad'], ['image=0.5,0.5,0.5,0.25'], (320, 320)),
    ],
)
def test_how_a_picture_is_brought_in_can_be_chosen_for_each_camera(rig, fit, roi, expected):
    parameters = {'image__fit': fit} if fit else {}
    rig = rig(**parameters, **({'image__roi': roi} if roi else {}))
    Driver(rig)
    rig.run()
    assert seen(rig).shape[:2] == expected
    assert seen(rig, 'wrist_image').shape == (64, 64, 3)


def test_an_unknown_camera_is_an_error_of_configure_that_names_the_known(rig, capfd):
    rig = rig(image__fit=['wrist=pad'])
    assert rig.configure() == 'FAILURE'
    said = capfd.readouterr().err
    assert "image.fit = 'wrist': expected a camera of the bundle: image, wrist_image" in said


def test_a_picture_too_small_is_said_before_the_start(rig):
    rig = rig()
    Driver(rig, picture=scene(90, 120))
    rig.up()
    reason = rig.wait_reason('image: 120x90 pixels', 'at least 96x96')
    assert 'fit = crop' in reason and rig.session.state == 'waiting'
    assert not rig.ask('start').success


def test_a_compressed_picture_too_small_is_said_before_the_start(rig):
    rig = rig()
    Driver(rig, 'JPEG', picture=scene(90, 120))
    rig.up()
    rig.wait_reason('image: 120x90 pixels', 'at least 96x96')


def test_a_compressed_picture_that_breaks_off_is_said_before_the_start(rig):
    rig = rig()
    driver = Driver(rig, 'JPEG')
    driver.fill(coded(scene(), 'JPEG')[:-2000])
    rig.up()
    rig.wait_reason('expected a JPEG or PNG image: image file is truncated')
    assert rig.session.state == 'waiting'


def test_a_picture_is_decoded_once_however_often_it_is_asked_for(rig, monkeypatch):
    from dysl_vla_ros.pictures import messages

    calls, rgb_of = [], messages.rgb_of

    def counted(name, message):
        calls.append(message)
        return rgb_of(name, message)

    monkeypatch.setattr(messages, 'rgb_of', counted)
    rig = rig(max_camera_skew_s=0.5)
    driver = Driver(rig, 'PNG', hz=5.0)
    rig.up()
    rig.wait_state('ready')
    for _ in range(20):  # as the worker does while nothing newer comes
        assert rig.session.inputs.observation().images['image'].shape == (HEIGHT, WIDTH, 3)
    assert 0 < len(calls) <= driver.sent
    assert len({id(message) for message in calls}) == len(calls)


# ---- raw or compressed --------------------------------------------------------------------------


def test_when_raw_images_come_again_the_compressed_ones_are_left(rig):
    from sensor_msgs.msg import Image

    rig = rig()
    Driver(rig, 'PNG')
    rig.up()
    rig.wait_state('ready')
    assert rig.node.count_subscribers('/image/compressed') == 1
    Driver(rig)
    wait_for(lambda: rig.node.count_subscribers('/image/compressed') == 0, what='back to raw')
    newest = rig.session.inputs.cameras['image'].stream
    wait_for(lambda: isinstance(newest.newest.message, Image), what='raw images')
    assert rig.session.state == 'ready'


def test_raw_pictures_that_are_announced_but_never_come_are_replaced_by_compressed_ones(rig):
    rig = rig()
    raw = Driver(rig)
    raw.on = False
    Driver(rig, 'PNG')
    rig.up()
    rig.wait_state('ready')
    camera = rig.session.inputs.cameras['image']
    assert camera.transport == 'compressed, best effort'
    raw.on = True
    wait_for(lambda: camera.transport == 'raw, best effort', what='raw pictures')
    wait_for(lambda: rig.node.count_subscribers('/image/compressed') == 0, what='one transport')


def test_a_trickle_of_raw_pictures_does_not_end_the_compressed_ones(rig):
    rig = rig()
    Driver(rig, hz=0.8)
    Driver(rig, 'PNG', hz=20.0)
    rig.up()
    rig.wait_state('ready')
    wait_for(lambda: rig.node.count_subscribers('/image/compressed') == 1, what='compressed')
    camera = rig.session.inputs.cameras['image']
    until = len(camera._raw._heard) + 2
    wait_for(lambda: len(camera._raw._heard) >= until, what='two more raw pictures')
    assert rig.node.count_subscribers('/image/compressed') == 1


@pytest.mark.parametrize(
    ('transport', 'encoding', 'words'),
    [
        ('raw', 'PNG', '/image/compressed alone is published'),
        ('compressed', 'rgb8', '/image alone is published'),
    ],
)
def test_a_transport_that_nobody_publishes_is_named_with_the_way_out(
    rig, transport, encoding, words
):
    rig = rig(image__transport=transport)
    Driver(rig, encoding)
    rig.up()
    rig.wait_reason(words, 'expected image.transport = auto or')
    right = 'rgb8' if transport == 'raw' else 'PNG'
    Driver(rig, right)
    Driver(rig, right, scene(64, 64), 'wrist_image')
    rig.wait_state('ready')
    assert rig.session.inputs.cameras['image'].transport.startswith(transport)
    assert len(subscribed(rig)) == (transport == 'raw')


def test_a_camera_that_nobody_publishes_is_named_with_its_topic_and_the_way_out(rig):
    rig = rig()
    Driver(rig).stop()
    rig.up()
    rig.wait_reason('nobody publishes on /image; expected', 'camera_topics:=image=TOPIC')
    Driver(rig)
    Driver(rig, 'rgb8', scene(64, 64), 'wrist_image')
    rig.wait_state('ready')


def test_a_topic_of_another_type_is_named(rig):
    import rclpy
    from rclpy.context import Context
    from rclpy.node import Node
    from std_msgs.msg import String

    rig = rig()
    Driver(rig).stop()
    elsewhere = Context()  # one participant cannot have a topic of two types
    rclpy.init(context=elsewhere, domain_id=DOMAIN, args=[])
    node = Node('elsewhere', context=elsewhere)
    try:
        node.create_publisher(String, 'image', 1)
        rig.up()
        rig.wait_reason('/image carries std_msgs/msg/String: expected sensor_msgs/msg/Image')
    finally:
        node.destroy_node()
        elsewhere.try_shutdown()


# ---- reliability --------------------------------------------------------------------------------


@pytest.mark.parametrize('encoding', ['rgb8', 'PNG'])
def test_a_subscription_is_as_reliable_as_its_publishers_and_follows_them(rig, encoding):
    topic = '/image' if encoding == 'rgb8' else '/image/compressed'
    rig = rig()
    first = Driver(rig, encoding, reliable=True)
    rig.up()
    rig.wait_state('ready')
    wait_for(lambda: subscribed(rig, topic) == ['RELIABLE'], what='a reliable subscription')
    second = Driver(rig, encoding)
    wait_for(lambda: subscribed(rig, topic) == ['BEST_EFFORT'], what='what all can serve')
    first.stop()
    sent = second.sent
    wait_for(lambda: second.sent > sent + 20, what='a second')
    rig.wait_state('ready')
    second.stop()
    Driver(rig, encoding, reliable=True)
    wait_for(lambda: subscribed(rig, topic) == ['RELIABLE'], what='reliable again')
    rig.wait_state('ready')


# ---- stamps and rates ---------------------------------------------------------------------------


def test_a_camera_without_a_clock_is_refused_with_the_way_out(rig):
    rig = rig()
    driver = Driver(rig)
    driver.stamped = False
    rig.up()
    rig.wait_reason('header.stamp = 0.000 s', 'image.use_arrival_time: true')


def test_the_time_of_arrival_may_stand_for_the_stamp(rig):
    rig = rig(image__use_arrival_time=True)
    driver = Driver(rig)
    driver.stamped = False
    rig.run()
    assert seen(rig).shape == (HEIGHT, WIDTH, 3)
    driver.on = False
    rig.wait_state('stale')
    rig.wait_reason('image: newest is', 'old')


def inputs_status(heard):
    found = [s for array in heard for s in array.status if s.name.endswith('inputs')]
    return found[-1] if found else None


def listen(rig):
    from diagnostic_msgs.msg import DiagnosticArray

    from dysl_vla_ros.ros import qos

    return rig.listen('/diagnostics', DiagnosticArray, qos.REPORT)


def values(status):
    return {item.key: item.value for item in status.values}


def test_diagnostics_say_what_comes_and_how(rig):
    rig = rig()
    heard = listen(rig)
    Driver(rig, 'JPEG', reliable=True)
    rig.up()
    rig.wait_state('ready')
    wait_for(
        lambda: inputs_status(heard)
        and values(inputs_status(heard)).get('image.transport') == 'compressed, reliable'
        and values(inputs_status(heard))['image.lost_ratio'] != 'n/a', what='a report',
    )  # fmt: skip
    found = values(inputs_status(heard))
    assert found['image.picture'] == '640x480 jpeg'
    assert found['wrist_image.transport'] == 'raw, best effort'


def test_pictures_that_are_lost_are_a_warning(rig):
    rig = rig()
    heard = listen(rig)
    driver = Driver(rig, picture=scene(96, 96), hz=40.0)
    publish, drawn = driver.publisher.publish, np.random.default_rng(0)
    driver.publisher.publish = lambda message: drawn.random() < 0.4 or publish(message)
    rig.up()
    rig.wait_state('ready')
    wait_for(
        lambda: inputs_status(heard) and 'pictures lost' in inputs_status(heard).message,
        what='a warning',
    )
    status = inputs_status(heard)
    assert status.level == status.WARN
    assert 'best effort; expected at most 10 %' in status.message
    assert rig.session.state == 'ready'


def test_pictures_of_another_size_than_at_first_are_a_warning(rig):
    rig = rig()
    heard = listen(rig)
    driver = Driver(rig, picture=scene(96, 96), hz=20.0)
    rig.up()
    rig.wait_state('ready')
    driver.publisher.publish = lambda message: None
    Driver(rig, picture=scene(384, 96), hz=20.0)
    wait_for(
        lambda: inputs_status(heard) and 'at first' in inputs_status(heard).message,
        what='a warning',
    )
    status = inputs_status(heard)
    assert status.level == status.WARN and '96x96' in status.message and '384' in status.message


def test_a_rate_below_what_is_expected_is_a_warning(rig):
    rig = rig(image__expected_rate_hz=18.0)
    heard = listen(rig)
    Driver(rig, picture=scene(96, 96), hz=10.0)
    rig.up()
    rig.wait_state('ready')
    wait_for(
        lambda: (
            inputs_status(heard)
            and 'expected image.expected_rate_hz = 18' in inputs_status(heard).message
        ),
        what='a warning',
    )
    assert 'image: ' in inputs_status(heard).message
