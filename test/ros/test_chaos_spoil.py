"""Each filter does to a message what its name says, and nothing to the others."""

from __future__ import annotations

import array
import math
from types import SimpleNamespace as Message

import pytest

from dysl_vla_ros.ros.chaos import spoil, spoil_images, spoil_joints


def joints(stamp=100):
    return Message(
        header=Message(stamp=Message(sec=stamp, nanosec=500_000_000)),
        name=['a', 'b', 'gripper'],
        position=array.array('d', [0.1, 0.2, 1.0]),
        velocity=array.array('d', [0.0, 0.0, 0.0]),
    )


def positions(found):
    return [list(message.position) for message in found]


def test_only_the_first_and_only_every_nth_are_spoilt():
    few = spoil.only(2, spoil_joints.offset(1, 1.0))
    assert [few(joints())[0].position[1] for _ in range(4)] == [1.2, 1.2, 0.2, 0.2]
    third = spoil.every(3, spoil.silent)
    assert [len(third(joints())) for _ in range(6)] == [1, 1, 0, 1, 1, 0]


@pytest.mark.parametrize(
    ('seconds', 'sec', 'nanosec'),
    [(1.0, 101, 500_000_000), (-0.75, 99, 750_000_000), (-600.0, 0, 0)],
)
def test_stamps_move_and_never_below_zero(seconds, sec, nanosec):
    [message] = spoil.restamped(seconds)(joints())
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (sec, nanosec)


def test_a_joint_reads_what_it_is_told():
    assert math.isnan(spoil_joints.joint(0, math.nan)(joints())[0].position[0])
    assert positions(spoil_joints.all_joints(0.0)(joints())) == [[0.0, 0.0, 0.0]]
    noisy = spoil_joints.noise(0.1, seed=1)(joints())[0].position
    assert noisy[0] != 0.1 and noisy[1] != 0.2 and noisy[2] == 1.0


def test_a_frozen_reading_is_the_first_with_new_stamps():
    freeze = spoil_joints.frozen()
    freeze(joints())
    later = joints(stamp=200)
    later.position[0] = 0.9
    [message] = freeze(later)
    assert message.position[0] == 0.1 and message.header.stamp.sec == 200


def test_contradictions_stand_beside_what_they_contradict():
    both = spoil_joints.second_opinion(0, 0.5)(joints())
    assert positions(both) == [[0.1, 0.2, 1.0], [0.6, 0.2, 1.0]]
    [twice] = spoil_joints.contradicted(0, 0.5)(joints())
    assert twice.name == ['a', 'b', 'gripper', 'a'] and twice.position[3] == 0.6


def test_names_and_sizes():
    assert spoil_joints.renamed(1, 'x')(joints())[0].name == ['a', 'x', 'gripper']
    [back] = spoil_joints.reversed_order(joints())
    assert dict(zip(back.name, back.position, strict=True)) == {'a': 0.1, 'b': 0.2, 'gripper': 1.0}
    [empty] = spoil_joints.empty_joints(joints())
    assert not empty.name and not empty.position and not empty.velocity
    small, big = spoil_joints.many_joints(1000)(joints())
    assert len(small.name) == 3 and len(big.name) == len(big.position) == 1003


def test_late_messages_come_in_order_after_their_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(spoil.time, 'monotonic', lambda: now[0])
    hold = spoil.late(1.0)
    heard = []
    for step in range(30):
        now[0] = 0.1 * step
        heard += [(now[0], m.header.stamp.sec) for m in hold(joints(step))]
    assert heard[0][0] == pytest.approx(1.0) and [stamp for _, stamp in heard] == list(range(20))


def test_pictures_lie_about_their_size_or_lose_bytes():
    def picture():
        return Message(height=2, width=2, step=6, encoding='rgb8',
                       data=array.array('B', range(12)))  # fmt: skip

    assert len(spoil_images.image_cut(picture())[0].data) == 6
    assert set(spoil_images.image_black(picture())[0].data) == {0}
    [lie] = spoil_images.image_claims(9, 9)(picture())
    assert (lie.height, lie.width, lie.step, len(lie.data)) == (9, 9, 27, 12)
    [large] = spoil_images.image_size(3, 4)(picture())
    assert len(large.data) == large.step * large.height == 36
    assert spoil_images.image_encoding('chaos9')(picture())[0].encoding == 'chaos9'
    assert len(spoil.flood(4)(picture())) == 4
