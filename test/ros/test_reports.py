"""What the node tells about itself: diagnostics, chunks, state, metadata."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import wait_for
from fakes import FakePolicy

pytestmark = pytest.mark.ros

KEYS = {
    '/vla_node: policy': {
        'skip_ratio', 'skip_ratio_lifetime', 'layers_run_mean', 'layers_total', 'mode_last',
        'rerun_count', 'rerun_rate', 'rerun_changed_ratio', 'backbone_share', 'continuity_last',
        'continuity_threshold', 'phase', 'chunks_total', 'deadline_miss_count', 'bundle',
        'instruction',
    } | {
        f'{stage}_ms_{part}'
        for stage in ('inference', 'preprocess', 'encode', 'backbone', 'decode')
        for part in ('p50', 'p95', 'max')
    },
    '/vla_node: inputs': {
        f'{stream}.{key}' for stream in ('image', 'wrist_image', 'joint_states')
        for key in ('age_ms', 'rate_hz', 'dropped')
    } | {'camera_skew_ms'},
    '/vla_node: commands': {
        'state', 'armed', 'command_rate_hz', 'command_gap_ms_max', 'command_jitter_ms_p99',
        'actions_played_hz', 'hold_ratio', 'observation_age_ms_p95', 'queue_depth',
        'starvation_count', 'clipped_ratio', 'seam_jump_last', 'time_stretch', 'hold_reason',
        'speed', 'gripper', 'controller_check',
    },
    '/vla_node: hardware': {'device'},
}  # fmt: skip


def by_name(message):
    return {status.name: {item.key: item.value for item in status.values}
            for status in message.status}  # fmt: skip


def test_diagnostics_have_the_fixed_keys_and_no_value_is_invented(rig):
    from diagnostic_msgs.msg import DiagnosticArray

    from dysl_vla_ros.ros import qos

    rig = rig()
    heard = rig.listen('/diagnostics', DiagnosticArray, qos.REPORT)
    rig.up()
    wait_for(lambda: heard, what='diagnostics')
    first = by_name(heard[0])
    assert set(first) == set(KEYS)
    for name, keys in KEYS.items():
        assert keys <= set(first[name]), keys - set(first[name])
    assert first['/vla_node: policy']['skip_ratio'] == 'n/a'
    assert first['/vla_node: commands']['command_rate_hz'] == 'n/a'
    rig.instruct('go')
    rig.wait_state('ready')
    rig.start()
    rig.wait_state('running')

    def told():
        commands = by_name(heard[-1])['/vla_node: commands']
        return commands['command_rate_hz'] != 'n/a' and commands['state'] == 'running'

    # A machine that lets the joints wait makes it stale for a moment.
    wait_for(told, what='a rate while it runs')
    last = next(by_name(m) for m in reversed(heard)
                if by_name(m)['/vla_node: commands']['state'] == 'running')  # fmt: skip
    assert last['/vla_node: policy']['layers_run_mean'] == '6.00'
    assert last['/vla_node: policy']['skip_ratio'] == '0.0000'
    assert last['/vla_node: policy']['instruction'] == 'go'
    assert float(last['/vla_node: inputs']['image.rate_hz']) > 5


def test_a_latched_stop_is_an_error_at_once(rig):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    from dysl_vla_ros.ros import qos

    rig = rig().run()
    heard = rig.listen('/diagnostics', DiagnosticArray, qos.REPORT)
    rig.publish_bool('estop', True)
    wait_for(
        lambda: any(
            status.level == DiagnosticStatus.ERROR and 'estop topic' in status.message
            for message in heard
            for status in message.status
        ),
        what='an error on /diagnostics',
    )


def test_no_pass_while_running_is_stale(rig):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    from dysl_vla_ros.ros import qos

    rig = rig(max_observation_age_s=0.6).run()
    heard = rig.listen('/diagnostics', DiagnosticArray, qos.REPORT)
    rig.policy.latency = 3.0
    wait_for(
        lambda: any(
            status.level == DiagnosticStatus.STALE and 'no pass for' in status.message
            for message in heard
            for status in message.status
        ),
        what='stale on /diagnostics',
    )


def test_each_chunk_is_published_with_its_layers_and_its_observation_time(rig):
    from diagnostic_msgs.msg import DiagnosticStatus
    from std_msgs.msg import Float64
    from trajectory_msgs.msg import JointTrajectory

    from dysl_vla_ros.lab.guidance.bag import accepted_chunk
    from dysl_vla_ros.ros import qos

    rig = rig(skip__mode='max_skip')
    infos = rig.listen('vla_node/chunk_info', DiagnosticStatus, qos.REPORT)
    chunks = rig.listen('vla_node/action_chunk', JointTrajectory, qos.REPORT)
    ratios = rig.listen('vla_node/skip_ratio_pass', Float64, qos.REPORT)
    windowed = rig.listen('vla_node/skip_ratio', Float64, qos.REPORT)
    continuity = rig.listen('vla_node/continuity', Float64, qos.REPORT)
    rig.run('push')
    wait_for(lambda: len(chunks) > 2 and len(infos) > 2 and ratios and continuity, what='chunks')
    values = {item.key: item.value for item in infos[-1].values}
    assert ratios[-1].data == pytest.approx(1 / 3, abs=1e-3)
    assert windowed[-1].data == pytest.approx(rig.session.stats.report().skip_ratio, abs=0.05)
    assert values['layer_mask'] == '100111'
    assert values['mode'] == 'skipped'
    assert values['instruction'] == 'push'
    assert values['jumps'] == '1>3'
    assert float(values['skip_ratio']) == pytest.approx(1 / 3, abs=1e-3)
    assert {'drop_index', 'continuity', 'seam_jump', 'backbone_ms', 'actions_dropped'} <= set(
        values
    )
    assert 0.0 <= float(values['actions_dropped']) < 8.0
    # A bag of these messages alone can be calibrated on.
    recorded = [{item.key: item.value for item in info.values} for info in infos]
    numbers = [int(entry['chunk_id']) for entry in recorded]
    assert numbers == sorted(set(numbers))
    accepted = [entry for entry in recorded if entry['outcome'] == 'accepted']
    found = [accepted_chunk(entry, number) for number, entry in enumerate(accepted)]
    assert all(chunk.displacements.shape == (8, 4) for chunk in found)
    counters = [chunk.counter for chunk in found]
    assert counters == sorted(counters) and counters[-1] > counters[0]
    assert all(0 <= chunk.dropped <= 8 for chunk in found)
    assert ratios[-1].data == pytest.approx(1 / 3)
    assert continuity[-1].data <= 0.0
    chunk = chunks[-1]
    assert chunk.joint_names == ['shoulder', 'elbow', 'wrist', 'gripper']
    assert len(chunk.points) == 8
    assert chunk.points[1].time_from_start.nanosec == 100_000_000
    age = rig.node.get_clock().now().nanoseconds * 1e-9 - chunk.header.stamp.sec
    assert -1 < age < 10


def test_late_joiners_get_state_and_metadata(rig):
    from std_msgs.msg import String

    from dysl_vla_ros.ros import qos
    from dysl_vla_ros.ros.reports import INTERFACE_VERSION

    rig = rig().run()
    states = rig.listen('vla_node/state', String, qos.LATCHED)
    metadata = rig.listen('vla_node/policy_metadata', String, qos.LATCHED)
    wait_for(lambda: states and metadata, what='latched messages')
    assert states[-1].data == 'running'
    document = json.loads(metadata[-1].data)
    assert document['name'] == 'test-policy'
    assert document['interface_version'] == INTERFACE_VERSION
    assert document['version'] == 1  # of the bundle's format
    assert document['action']['space'] == 'joint_delta'
    assert [camera['name'] for camera in document['cameras']] == ['image', 'wrist_image']
    assert document['joint_names'] == ['shoulder', 'elbow', 'wrist']
    assert document['calibration']['window'] == 5
    assert len(document['files']['tokenizer.json']) == 64


def test_the_interface_page_states_the_version_that_the_node_publishes():
    from dysl_vla_ros.ros.reports import INTERFACE_VERSION

    page = (Path(__file__).resolve().parents[2] / 'doc' / 'interface.md').read_text('utf-8')
    assert f'Interface version {INTERFACE_VERSION}:' in page


def test_commands_keep_their_rate_while_a_pass_computes_in_python(rig):
    """The one test that looks at wall time: passes keep the interpreter lock 60 % of it."""
    rig = rig(FakePolicy(latency=0.0, busy=0.12)).run()
    wait_for(lambda: len(rig.robot.trajectories) > 90, what='three seconds of commands')
    import time

    report = rig.session.meter.report(time.monotonic())
    assert report.rate_hz >= 25.0, report


def test_the_policy_s_message_is_the_headline_and_the_hardware_is_the_robot(rig):
    from diagnostic_msgs.msg import DiagnosticArray

    from dysl_vla_ros.ros import qos

    def newest():
        return heard and next(s for s in heard[-1].status if s.name == '/vla_node: policy')

    rig = rig(skip__mode='max_skip')
    heard = rig.listen('/diagnostics', DiagnosticArray, qos.REPORT)
    assert rig.configure() == 'SUCCESS'
    wait_for(newest, what='diagnostics')
    assert (newest().message, newest().hardware_id) == ('inactive', '')
    assert rig.activate() == 'SUCCESS'
    rig.robot.describe()
    rig.instruct('push')
    rig.wait_state('ready')
    wait_for(lambda: newest().message.startswith('ready'), what='ready')
    assert newest().hardware_id == 'test_arm'
    rig.start()
    whole = re.compile(r'(running|holding|verifying), skip -?\d+ %, \d+\.\d Hz, \d+ ms')
    wait_for(lambda: whole.fullmatch(newest().message), what=f'{whole}, {newest().message}')


def test_the_headline_stands_in_the_log_every_ten_seconds_and_not_twice_in_a_row(rig, monkeypatch):
    rig = rig()
    assert rig.configure() == 'SUCCESS'
    configured, said = rig.node._configured, []
    lines = {9.0: 'running, 30.0 Hz', 10.0: 'running, 30.1 Hz', 20.5: 'running, 30.1 Hz',
             21.0: 'ready'}  # fmt: skip
    monkeypatch.setattr(rig.node, 'get_logger', lambda: SimpleNamespace(info=said.append))
    import dysl_vla_ros.ros.configured as module

    monkeypatch.setattr(
        module.diagnostics, 'headline', lambda session, active, now: lines.get(now, '')
    )

    def pass_time():
        configured._logged_at = 0.0
        for now in lines:
            configured._log_headline(now)

    rig.graph.call(pass_time)
    assert said == ['running, 30.1 Hz', 'ready']
