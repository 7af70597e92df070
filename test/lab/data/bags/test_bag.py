"""Recordings of every layout give the messages that were published, or say what to do."""

from __future__ import annotations

import shutil
import sqlite3

import bag_files as made
import numpy as np
import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.bags.bag import open_bag


def numbers(path, **options):
    """What the joint states of a bag say, and its notes."""
    with open_bag(path) as bag:
        found = [int(m.message.position[0]) for m in bag.messages(['/joint_states'], **options)]
        return found, ' '.join(bag.notes)


def unlisted(folder):
    (folder / 'metadata.yaml').unlink()
    return folder


def emptied(folder):
    (folder / 'metadata.yaml').write_text('')
    return folder


WHOLE = {
    'a folder with MCAP': lambda p: made.write(p),
    'the .mcap itself': lambda p: made.the_file(made.write(p)),
    'a folder with sqlite3': lambda p: made.write(p, plugin=made.SQLITE),
    'the .db3 itself': lambda p: made.the_file(made.write(p, plugin=made.SQLITE)),
    'sqlite3 of the first release': made.old_sqlite,
    'every message compressed, MCAP': lambda p: made.write(p, mode=made.MESSAGE),
    'every message compressed, sqlite3': lambda p: made.write(p, None, made.SQLITE, made.MESSAGE),
    'the file compressed, sqlite3': lambda p: made.write(p, plugin=made.SQLITE, mode=made.FILE),
    'the file compressed, MCAP': lambda p: made.pack(made.write(p)),
    'twelve files, MCAP': made.split,
    'twelve files, sqlite3': lambda p: made.split(p, made.SQLITE),
    'twelve files and no list of them': lambda p: unlisted(made.split(p)),
    'chunks of zstd': lambda p: made.without_index(p, 'ZSTD'),
    'chunks of lz4, no index, no footer': lambda p: made.without_index(p, 'LZ4'),
    'no index, no footer': made.without_index,
    'metadata.yaml given': lambda p: made.write(p) / 'metadata.yaml',
    'no metadata.yaml': lambda p: unlisted(made.write(p)),
    'an empty metadata.yaml': lambda p: emptied(made.write(p)),
    'a service event beside it': lambda p: made.write(p, foreign=True),
}


@pytest.mark.parametrize('layout', WHOLE)
def test_every_layout_gives_all_messages_in_order(tmp_path, layout):
    path = WHOLE[layout](tmp_path / 'rec')
    found, _ = numbers(path)
    assert found == list(range(40))
    with open_bag(path) as bag:
        assert bag.channels['/say'].count == 4
        assert bag.topics['/joint_states'] == made.JOINTS
        both = [m.stamp for m in bag.messages(['/say', '/joint_states'])]
    assert both == sorted(both)
    assert len(both) == 44


def test_what_a_killed_recorder_left_is_said(tmp_path):
    assert 'no metadata.yaml' in numbers(unlisted(made.write(tmp_path / 'a')))[1]
    assert 'ends at byte' in numbers(made.without_index(tmp_path / 'b'))[1]
    assert numbers(made.write(tmp_path / 'c'))[1] == ''


@pytest.mark.parametrize('compression', [None, 'ZSTD', 'LZ4'])
@pytest.mark.parametrize('share', [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path, compression, share):
    folder = made.without_index(tmp_path / 'rec', compression)
    made.cut(made.the_file(folder), share)
    found, notes = numbers(folder)
    assert found == list(range(len(found)))
    assert 40 * share - 12 < len(found) < 40
    assert 'read as far as it goes' in notes


def test_of_the_only_chunk_that_is_cut_off_the_beginning_is_read(tmp_path):
    # One chunk holds it all, as rosbag2 writes a short recording.
    path = made.cut(made.the_file(made.write(tmp_path / 'rec')), 0.5)
    found, _ = numbers(path)
    assert found == list(range(len(found)))
    assert len(found) > 10


def test_a_packed_file_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path):
    folder = tmp_path / 'rec'
    # Numbers that do not compress, so that half of the bytes holds about half of them.
    made.pack(made.write(folder, [
        ('/own', made.OWN, number, made.STORE.types[made.OWN](
            width=float(number), raw=np.random.default_rng(number).integers(
                0, 256, 40_000).astype(np.uint8)))
        for number in range(20)
    ]))  # fmt: skip
    made.cut(made.the_file(folder), 0.6)
    with open_bag(folder) as bag:
        widths = [m.message.width for m in bag.messages(['/own'])]
        assert any('cut off' in note for note in bag.notes)
    assert widths == [float(n) for n in range(len(widths))]
    assert 5 <= len(widths) < 20


def test_a_damaged_chunk_is_left_out_and_named(tmp_path):
    folder = made.without_index(tmp_path / 'rec')
    file = made.the_file(folder)
    made.flipped(file, file.stat().st_size // 2)
    found, notes = numbers(folder)
    assert 20 < len(found) < 40
    assert set(found) < set(range(40))
    assert 'damaged' in notes


def test_a_damaged_database_is_read_as_far_as_it_goes(tmp_path):
    folder = made.write(tmp_path / 'rec', made.published(400), made.SQLITE)
    made.cut(made.the_file(folder), 0.6)
    found, notes = numbers(folder)
    assert found == sorted(found)
    assert 100 < len(found) < 400
    assert 'damaged' in notes


def test_what_a_recorder_had_not_yet_moved_out_of_its_journal_is_read(tmp_path):
    folder = tmp_path / 'rec'
    made.old_sqlite(folder)
    file = made.the_file(folder)
    writer = sqlite3.connect(file)
    writer.execute('PRAGMA journal_mode = WAL')
    writer.execute(
        'INSERT INTO messages(topic_id, timestamp, data) SELECT topic_id, '
        'timestamp + 10000000000, data FROM messages WHERE topic_id = 2'
    )
    writer.commit()
    killed = tmp_path / 'killed'
    shutil.copytree(folder, killed)  # while it is open: the journal lies beside it
    writer.close()
    with open_bag(killed) as bag:
        assert bag.channels['/say'].count == 8


def test_a_type_of_a_maker_is_read_by_the_definition_in_the_file(tmp_path):
    grip = made.STORE.types[made.OWN](width=0.04, raw=np.array([1, 2, 250], np.uint8))
    for plugin in (made.MCAP, made.SQLITE):
        folder = made.write(tmp_path / plugin.name, [('/grip', made.OWN, 7, grip)], plugin)
        with open_bag(folder) as bag:
            (message,) = bag.messages()
        assert (message.kind, message.stamp, message.message.width) == (made.OWN, 7, 0.04)
        assert bytes(message.message.raw) == b'\x01\x02\xfa'


def test_a_type_without_a_definition_hinders_only_who_asks_for_it(tmp_path):
    folder = made.old_sqlite(tmp_path / 'rec')
    database = sqlite3.connect(made.the_file(folder))
    database.execute("UPDATE topics SET type = 'maker_msgs/msg/Grip' WHERE name = '/say'")
    database.commit()
    database.close()
    assert numbers(folder)[0] == list(range(40))
    with open_bag(folder) as bag:
        with pytest.raises(ConfigError, match=r'topic /say.*maker_msgs/msg/Grip.*--storage mcap'):
            list(bag.messages())
        assert len(list(bag.messages(skip_unreadable=True))) == 40
        assert '/say' in ' '.join(bag.notes)


def test_one_damaged_message_is_left_out_and_a_wrong_definition_is_an_error(tmp_path):
    folder = made.old_sqlite(tmp_path / 'rec')
    database = sqlite3.connect(made.the_file(folder))
    database.execute("UPDATE messages SET data = x'0001000003' WHERE id = 3")
    database.commit()
    found, notes = numbers(folder)
    assert len(found) == 39
    assert '1 messages cannot be read' in notes
    database.execute("UPDATE messages SET data = x'0001000003'")
    database.commit()
    database.close()
    with pytest.raises(ConfigError, match='none of which can be read'):
        numbers(folder)


def test_where_the_clock_jumps_back_a_new_part_begins(tmp_path):
    first = [('/joint_states', made.JOINTS, (100 + n) * made.SECOND, made.joints(n))
             for n in range(5)]  # fmt: skip
    later = [('/joint_states', made.JOINTS, (3 + n) * made.SECOND, made.joints(5 + n))
             for n in range(5)]  # fmt: skip
    for plugin in (made.MCAP, made.SQLITE):
        # In one file MCAP's index is by time; the order of recording is what counts.
        folder = made.write(tmp_path / plugin.name, [*first, *later], plugin)
        with open_bag(folder) as bag:
            found = [(m.part, int(m.message.position[0])) for m in bag.messages()]
        assert found == [(0, n) for n in range(5)] + [(1, 5 + n) for n in range(5)]


def test_messages_that_threads_wrote_out_of_order_are_put_in_order(tmp_path):
    stamps = [10, 30, 20, 50, 40]
    folder = made.write(
        tmp_path / 'rec',
        [
            ('/joint_states', made.JOINTS, stamp * 1_000_000, made.joints(stamp))
            for stamp in stamps
        ],
    )
    with open_bag(folder) as bag:
        found = [(m.part, m.stamp // 1_000_000) for m in bag.messages()]
    assert found == [(0, stamp) for stamp in sorted(stamps)]


def test_a_wrong_topic_names_the_near_one_and_all_others(tmp_path):
    folder = made.write(tmp_path / 'rec')
    with (open_bag(folder) as bag,
          pytest.raises(ConfigError, match=r'perhaps /joint_states: .*String, 4')):  # fmt: skip
        list(bag.messages(['/joint_state']))


def moved_away(path):
    made.write(path)
    made.the_file(path).unlink()
    return path


def two_below(path):
    for name in ('monday', 'tuesday'):
        made.write(path / name)
    return path


def a_file(name, content):
    def written(path):
        path.mkdir()
        (path / name).write_bytes(content)
        return path / name

    return written


LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 100\n'
WRONG = {
    'nothing there': (lambda p: p, 'no such file'),
    'an empty folder': (lambda p: p.mkdir() or p, r'no \.mcap and no \.db3'),
    'the file was moved away': (moved_away, r'metadata.yaml names rec\.mcap, which is not there'),
    'two bags below': (two_below, 'one bag: monday, tuesday'),
    'a file of 0 bytes': (a_file('zero.mcap', b''), '0 bytes.*ended before it wrote'),
    'a Git LFS pointer': (a_file('rec.mcap', LFS), 'git lfs pull'),
    'a bag of ROS 1': (a_file('old.bag', b'#ROSBAG V2.0\n'), 'rosbags-convert --src old.bag'),
    'another file': (a_file('notes.mcap', b'not a bag'), 'neither MCAP nor sqlite3'),
    'only the first bytes': (a_file('rec.mcap', b'\x89MCAP0\r\n'), 'no message in it'),
    'a database of another kind': (a_file('x.db3', b'SQLite format 3\x00' + bytes(100)),
                                   'a database that rosbag2 wrote'),
}  # fmt: skip


@pytest.mark.parametrize('what', WRONG)
def test_what_is_no_recording_is_refused_with_what_to_do(tmp_path, what):
    make, words = WRONG[what]
    path = make(tmp_path / 'rec')
    with pytest.raises(ConfigError, match=words):
        open_bag(path)


def test_a_recording_of_two_kinds_in_one_folder_is_not_read_twice(tmp_path):
    folder = unlisted(made.write(tmp_path / 'rec'))
    shutil.copy(made.the_file(made.write(tmp_path / 'other', plugin=made.SQLITE)), folder)
    with pytest.raises(ConfigError, match='name one file'):
        open_bag(folder)
    assert numbers(folder / 'rec.mcap')[0] == list(range(40))


def test_nothing_is_left_behind_of_a_file_that_was_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'temporary'))
    (tmp_path / 'temporary').mkdir()
    folder = made.pack(made.write(tmp_path / 'rec'))
    numbers(folder)
    assert list((tmp_path / 'temporary').iterdir()) == []
