"""What the model saw is said to whoever listens, recorded as it was, and holds nobody up."""

from __future__ import annotations

import threading

import pytest
from conftest import wait_for

pytestmark = pytest.mark.ros
pytest.importorskip('PIL', reason='Pillow is not installed')


def listeners(rig):
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import String

    from dysl_vla_ros.ros import qos

    passes = rig.listen('vla_node/pass', String, qos.RECORD)
    pictures = rig.listen('vla_node/seen/image', CompressedImage, qos.RECORD)
    return passes, pictures


def read(messages):
    from dysl_vla_ros.pass_record import from_text

    return [from_text(message.data) for message in list(messages)]


def test_nothing_is_made_while_nobody_listens(rig):
    rig = rig().run()
    wait_for(lambda: len(rig.policy.observations) > 5, what='passes')
    assert rig.node._configured.passes._thread is None


def test_a_pass_is_said_with_the_picture_the_model_saw_and_the_motion_since(rig):
    from dysl_vla_ros.engines.image_tensor import seen_values
    from dysl_vla_ros.lossless_picture import decode

    rig = rig().run()
    passes, pictures = listeners(rig)
    wait_for(lambda: len(passes) > 4 and len(pictures) > 4, what='passes with pictures')
    records = read(passes)
    assert [r.number for r in records] == list(range(records[0].number, records[-1].number + 1))
    record, picture = records[1], pictures[1]
    stamp = picture.header.stamp
    assert record.stamp_ns == stamp.sec * 10**9 + stamp.nanosec
    camera = rig.policy.manifest.cameras[0]
    shown = [seen_values(seen.images['image'], camera) for seen in rig.policy.observations]
    assert any((decode(bytes(picture.data)) == one).all() for one in shown)
    assert record.observation.instruction == 'go' and record.mode == 'auto'
    assert len(record.tokens) == rig.policy.manifest.instruction.tokens
    # Between two plans, four of eight actions or more were played, and each is told.
    assert any(move is not None for later in records[1:] for move in later.plan.since)
    assert record.judged.accepted and record.judged.displacements is not None
    assert record.result.normalised.shape == (8, 4)


def test_a_log_that_cannot_keep_up_leaves_passes_out_and_holds_nobody_up(rig, monkeypatch):
    import dysl_vla_ros.ros.pass_log as module

    blocked = threading.Event()
    monkeypatch.setattr(module, 'encode', lambda values: blocked.wait(60) and b'')
    rig = rig().run()
    passes, _ = listeners(rig)
    log = rig.node._configured.passes
    wait_for(lambda: log.lost > 3, what='passes that are left out')
    assert rig.session.state not in ('fault', 'e-stop') and not passes
    seen = len(rig.policy.observations)
    wait_for(lambda: len(rig.policy.observations) > seen + 3, what='the loop going on')
    blocked.set()


def test_a_record_that_cannot_be_made_is_counted_and_the_arm_goes_on(rig, monkeypatch):
    import dysl_vla_ros.ros.pass_log as module

    def broken(values):
        raise RuntimeError('no such picture')

    monkeypatch.setattr(module, 'encode', broken)
    rig = rig().run()
    listeners(rig)
    log = rig.node._configured.passes
    wait_for(lambda: log._publish.failures > 3, what='failures')
    assert rig.session.state not in ('fault', 'e-stop')


@pytest.fixture
def recorder(graph, tmp_path):
    """A recorder in the graph of the test."""
    pytest.importorskip('mcap', reason="pip install 'dysl_vla_ros[record]'")

    def make(**parameters):
        from rclpy.parameter import Parameter

        from dysl_vla_ros.ros.recorder_node import RecorderNode

        given = {'folder': str(tmp_path / 'bags'), **parameters}
        return graph.add(
            RecorderNode(
                context=graph.context,
                parameter_overrides=[Parameter(name, value=v) for name, v in given.items()],
            )
        )

    return make


def written(graph, node, count=150):
    wait_for(lambda: node._files.written > count, what='messages')
    graph.call(node.finish)
    return node._files.path


def test_the_nodes_topics_are_recorded_by_name_and_read_back(rig, recorder, graph):
    bags = pytest.importorskip('dysl_vla_ros.lab.data.bags.bag')
    pytest.importorskip('rosbags', reason="pip install 'dysl_vla_ros[bags]'")
    node = recorder()
    rig = rig().run()
    passes = rig.node._configured.passes
    wait_for(lambda: passes.wanted, what='the recorder')
    wait_for(lambda: passes._number > 8, what='passes')
    path = written(graph, node)
    with bags.open_bag(path) as bag:
        count = {topic: channel.count for topic, channel in bag.channels.items()}
        for topic in ('pass', 'seen/image', 'seen/wrist_image', 'policy_metadata', 'chunk_info',
                      'state'):  # fmt: skip
            assert count[f'/vla_node/{topic}'] > 0, topic
        for topic in ('/joint_states', '/joint_trajectory', '/robot_description'):
            assert count[topic] > 0
        assert '/image' not in count and '/image/compressed' not in count
        for message in bag.messages(['/vla_node/pass']):
            assert 'dysl_vla_pass' in message.message.data


def test_the_cameras_own_stream_is_recorded_as_jpeg_where_it_is_asked_for(rig, recorder, graph):
    bags = pytest.importorskip('dysl_vla_ros.lab.data.bags.bag')
    pytest.importorskip('rosbags', reason="pip install 'dysl_vla_ros[bags]'")
    node = recorder(video=True)
    rig().run()
    wait_for(lambda: '/image/compressed' in node._files._channels, what='pictures')
    path = written(graph, node)
    with bags.open_bag(path) as bag:
        first = next(iter(bag.messages(['/image/compressed']))).message
    assert first.format == 'jpeg' and bytes(first.data[:3]) == b'\xff\xd8\xff'


def test_a_recorder_whose_disk_is_full_ends_by_itself_and_nothing_else_does(
    rig, recorder, graph, monkeypatch
):
    from dysl_vla_ros.ros.bag_files import BagFullError

    node = recorder()
    rig = rig().run()

    def full():
        raise BagFullError('no room')

    monkeypatch.setattr(node._files, 'flush', full)
    wait_for(lambda: node.failed, what='the end of the recording')
    before = node._files.written
    seen = len(rig.policy.observations)
    wait_for(lambda: len(rig.policy.observations) > seen + 5, what='passes')
    assert node._files.written == before and rig.session.state not in ('fault', 'e-stop')
    graph.call(node.finish)


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'limit_gb': 0.0}, 'record_limit_gb = 0.0: expected more than 0'),
        ({'limit_gb': float('nan')}, 'record_limit_gb'),
        ({'topics': ['/wrench']}, "topics = '/wrench': expected NAME=TYPE"),
        ({'topics': ['/wrench=vendor/msg/Odd']}, 'geometry_msgs/msg/WrenchStamped'),
    ],
)
def test_a_wrong_parameter_of_the_recorder_is_named(recorder, parameters, message):
    from dysl_vla_ros.errors import ConfigError

    with pytest.raises(ConfigError, match=message):
        recorder(**parameters)


def test_further_topics_are_recorded_too(rig, recorder, graph):
    from geometry_msgs.msg import WrenchStamped

    node = recorder(topics=['/wrench=geometry_msgs/msg/WrenchStamped'])
    publisher = rig().robot.node.create_publisher(WrenchStamped, '/wrench', 1)
    wait_for(publisher.get_subscription_count, what='the recorder')

    def heard():
        publisher.publish(WrenchStamped())
        return '/wrench' in node._files._channels

    wait_for(heard, what='a wrench')
    graph.call(node.finish)


def test_the_launch_knows_the_types_that_the_recorder_knows():
    from dysl_vla_ros.ros.recorded_topics import TYPES
    from dysl_vla_ros.ros_names import RECORDABLE

    assert sorted(TYPES) == sorted(RECORDABLE)
