"""Recordings keep a limit, explain themselves file by file, and survive their recorder's death."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dysl_vla_ros.errors import ConfigError

pytest.importorskip('mcap', reason="pip install 'dysl_vla_ros[record]'")
pytest.importorskip('rosbags', reason="pip install 'dysl_vla_ros[bags]'")

from dysl_vla_ros.lab.data.bags.bag import open_bag
from dysl_vla_ros.ros import bag_files
from dysl_vla_ros.ros.bag_files import BagFiles, BagFullError, Kind

TEXT = Kind('std_msgs/msg/String', 'string data\n')
MEGABYTE = 1 << 20


def said(text):
    """A std_msgs/String, CDR."""
    data = text.encode() + b'\0'
    return b'\x00\x01\x00\x00' + len(data).to_bytes(4, 'little') + data


def noise(number):
    """Text that does not get shorter by compression."""
    import random

    return ''.join(random.Random(number).choices('abcdefghijklmnopqrstuvwxyz0123456789', k=20_000))


def read(path, topic='/a'):
    with open_bag(path) as bag:
        return [message.message.data for message in bag.messages([topic])], bag.notes


def test_what_is_written_is_read_again_in_order(tmp_path):
    files = BagFiles(tmp_path / 'new' / 'folder', 100 * MEGABYTE, spare_bytes=0)
    for number in range(5):
        files.write('/a', TEXT, said(f'word {number}'), 10**18 + number)
    files.close()
    files.close()
    assert read(files.path) == ([f'word {number}' for number in range(5)], ())
    assert files.written == 5


def test_a_recorder_that_is_killed_leaves_all_but_the_last_moment(tmp_path):
    files = BagFiles(tmp_path, 100 * MEGABYTE, spare_bytes=0)
    for number in range(40):
        files.write('/a', TEXT, said(noise(number)), 10**18 + number)
    files.flush()
    files.write('/a', TEXT, said('after the last flush'), 10**18 + 40)
    words, notes = read(files.path)  # nothing was ended
    assert words == [noise(number) for number in range(40)]
    assert notes
    files.close()


def test_few_small_messages_are_not_held_back_until_a_chunk_is_full(tmp_path):
    files = BagFiles(tmp_path, 100 * MEGABYTE, spare_bytes=0)
    files.write('/a', TEXT, said('the incident'), 10**18)
    files.flush()
    assert read(files.path)[0] == ['the incident']
    files.close()


def test_where_others_filled_the_disk_no_recording_is_removed_for_nothing(tmp_path, monkeypatch):
    earlier = [tmp_path / f'dysl_vla_2026010{day}T080000Z_77_0.mcap' for day in range(1, 6)]
    for path in earlier:
        path.write_bytes(b'x' * 1000)
    with pytest.raises(BagFullError, match='nothing was removed'):
        BagFiles(tmp_path, 100 * MEGABYTE, spare_bytes=1 << 60)
    assert sorted(path for path in tmp_path.iterdir()) == earlier
    free = 10 * MEGABYTE - 2500  # three of them make room
    usage = SimpleNamespace(free=free)
    monkeypatch.setattr(bag_files.shutil, 'disk_usage', lambda folder: usage)
    files = BagFiles(tmp_path, 100 * MEGABYTE, spare_bytes=10 * MEGABYTE)
    files.close()
    assert files.removed == 3 and earlier[3].exists() and not earlier[2].exists()


def test_the_oldest_files_go_when_the_limit_is_reached(tmp_path):
    limit = 2 * MEGABYTE
    files = BagFiles(tmp_path, limit, spare_bytes=0)
    for number in range(300):
        files.write('/a', TEXT, said(noise(number)), 10**18 + number)
    files.flush()
    files.close()
    assert files.removed > 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit
    words, _ = read(tmp_path)
    assert words[-1] == noise(299) and words[0] != noise(0)


def test_nothing_that_is_not_a_recording_is_ever_removed(tmp_path):
    own = tmp_path / 'holiday.mcap'
    own.write_bytes(b'x' * 3 * MEGABYTE)
    elsewhere = tmp_path.parent / f'{tmp_path.name}_elsewhere.mcap'
    elsewhere.write_bytes(b'x' * MEGABYTE)
    (tmp_path / 'dysl_vla_link.mcap').symlink_to(elsewhere)
    (tmp_path / 'dysl_vla_folder.mcap').mkdir()
    files = BagFiles(tmp_path, 2 * MEGABYTE, spare_bytes=0)
    for number in range(150):
        files.write('/a', TEXT, said(noise(number)), 10**18 + number)
    files.close()
    assert own.stat().st_size == 3 * MEGABYTE and elsewhere.stat().st_size == MEGABYTE
    assert (tmp_path / 'dysl_vla_link.mcap').is_symlink()


def test_every_file_begins_with_what_is_said_once(tmp_path):
    files = BagFiles(tmp_path, 8 * MEGABYTE, spare_bytes=0)
    files.write('/metadata', TEXT, said('a policy'), 10**18, said_once=True)
    first = files.path
    for number in range(150):
        files.write('/a', TEXT, said(noise(number)), 10**18 + number)
    files.close()
    assert files.path != first
    for path in tmp_path.iterdir():
        assert read(path, '/metadata')[0] == ['a policy']


def test_a_full_disk_ends_the_recording_in_words(tmp_path):
    with pytest.raises(BagFullError, match='GB free on the disk: expected at least'):
        BagFiles(tmp_path, 8 * MEGABYTE, spare_bytes=1 << 60)


def test_a_file_in_the_place_of_the_folder_and_a_limit_of_nothing_are_refused(tmp_path):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(ConfigError, match='record_folder'):
        BagFiles(tmp_path / 'file', 8 * MEGABYTE)
    with pytest.raises(ConfigError, match='record_limit_gb'):
        BagFiles(tmp_path, 1000)
