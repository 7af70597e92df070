"""Pictures of several cameras that belong together, from streams that do not keep step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dysl_vla_ros.config import InputConfig
from dysl_vla_ros.ros.inputs import Inputs
from dysl_vla_ros.ros.streams import Newest, Stream


def seen(limit=0.1, **stamps):
    """Inputs after pictures with these stamps, per camera and in order."""
    inputs = Inputs.__new__(Inputs)
    inputs._limits = InputConfig(max_camera_skew_s=limit)
    inputs.cameras = {name: SimpleNamespace(stream=Stream(name, 0.5)) for name in stamps}
    for name, times in stamps.items():
        for stamp in times:
            inputs.cameras[name].stream.accept(Newest(stamp, name), stamp)
    return inputs


def used(inputs):
    return {name: picture.stamp for name, picture in inputs._together().items()}


def test_the_newest_are_used_where_they_are_near_each_other():
    inputs = seen(front=[0.0, 0.033, 0.066], wrist=[0.01, 0.043])
    assert used(inputs) == {'front': 0.066, 'wrist': 0.043}
    assert inputs.camera_skew() == pytest.approx(0.023)


def test_two_cameras_of_ten_pictures_a_second_that_take_turns_are_paired_with_earlier_ones():
    """The newest are 0.11 s apart for a moment, and the arm held for it."""
    inputs = seen(front=[-0.13, -0.03], wrist=[-0.05, 0.08])
    assert used(inputs) == {'front': -0.03, 'wrist': -0.05}
    assert inputs._skew_problem() == ''


def test_a_fast_camera_waits_for_a_slow_one():
    fast = [0.033 * number for number in range(9)]
    inputs = seen(fast=fast, slow=[0.12])
    assert used(inputs)['fast'] == pytest.approx(0.132)


def test_a_camera_that_stopped_is_not_made_up_for():
    inputs = seen(fast=[0.033 * number for number in range(20)], slow=[0.0])
    assert 'fast and slow were taken 0.4' in inputs._skew_problem()


def test_one_camera_or_none_has_no_skew():
    assert seen(front=[0.0]).camera_skew() is None
    assert seen(front=[0.0], wrist=[]).camera_skew() is None


def test_a_stream_keeps_the_last_few_messages_and_drops_one_that_comes_late():
    stream = Stream('image', 0.5)
    for stamp in (*range(9), 3):
        stream.accept(Newest(float(stamp), None), 9.0)
    assert [message.stamp for message in stream.recent] == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert stream.newest.stamp == 8.0
