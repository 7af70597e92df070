"""What a page is told: everything once, the newest always, and pictures no wider than shown."""

from __future__ import annotations

import numpy as np
import pytest

from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.view.feed import EVENTS, PASSES, Cursor, Feed
from dysl_vla_ros.view.skeleton import skeleton

URDF = """<robot name="r"><link name="base"/><link name="arm"/><link name="tip"/>
<joint name="turn" type="revolute"><parent link="base"/><child link="arm"/>
<origin xyz="0 0 1" rpy="0 0.5 0"/><axis xyz="0 0 2"/><limit lower="-1" upper="2" velocity="1"/>
</joint><joint name="grip" type="prismatic"><parent link="arm"/><child link="tip"/>
<limit lower="0" upper="0.1" velocity="1"/><mimic joint="turn" multiplier="0.5"/></joint>
</robot>"""


def test_each_pass_and_event_is_told_once_and_the_description_when_it_changes():
    feed, cursor = Feed(), Cursor()
    feed.add_pass({'mask': '10'})
    feed.add_event('warn', 'a')
    feed.set_arm([{'name': 'turn'}])
    feed.put('state', 'ready')
    told, cursor = feed.since(cursor)
    assert [told['passes'], told['arm'], told['state']] == [
        [{'mask': '10'}], [{'name': 'turn'}], 'ready'
    ]  # fmt: skip
    told, cursor = feed.since(cursor)
    assert told['passes'] == told['events'] == [] and 'arm' not in told
    assert told['state'] == 'ready'


def test_a_page_that_comes_late_is_told_what_is_kept_and_no_more():
    feed = Feed()
    for number in range(PASSES + 7):
        feed.add_pass({'n': number})
    for number in range(EVENTS + 7):
        feed.add_event('info', str(number))
    told, cursor = feed.since(Cursor())
    assert [item['n'] for item in told['passes']] == list(range(7, PASSES + 7))
    assert len(told['events']) == EVENTS
    feed.add_pass({'n': -1})
    assert [item['n'] for item in feed.since(cursor)[0]['passes']] == [-1]


def test_a_description_becomes_joints_with_axes_of_length_one_and_their_limits():
    turn, grip = skeleton(URDF)
    assert (turn['axis'], turn['lower'], turn['upper']) == ([0.0, 0.0, 1.0], -1.0, 2.0)
    assert turn['rpy'] == [0.0, 0.5, 0.0] and turn['mimic'] is None
    assert grip['mimic'] == ['turn', 0.5, 0.0]
    with pytest.raises(KinematicsError):
        skeleton('<robot>')


def test_a_wide_picture_is_halved_until_it_is_no_wider_than_the_page_shows():
    pil = pytest.importorskip('PIL.Image', reason='apt install python3-pil')
    import io

    from dysl_vla_ros.view.pictures import WIDEST, jpeg

    feed = Feed()
    feed.add_shot('/image', np.zeros((480, 1920, 3), np.uint8))
    with pil.open(io.BytesIO(jpeg(feed.shots()['/image']))) as made:
        assert made.format == 'JPEG' and made.width <= WIDEST and made.width == 4 * made.height
    feed.add_shot('/image', b'a file')
    assert jpeg(feed.shots()['/image']) == b'a file' and feed.shots()['/image'].number == 1
