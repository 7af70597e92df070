"""Flight files: whole, unique, few, never through a link; and no harm to the command thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dysl_vla_ros.data_types import Command
from dysl_vla_ros.ros import flight_recorder
from dysl_vla_ros.ros.flight_recorder import Cycle, FlightRecorder

ROOT = Path(__file__).resolve().parents[2]
FOLDER = 'dysl_vla_flights'


def command(positions=(0.1, 0.2)):
    row = np.array(positions)
    return Command(
        stamp=1.0, positions=row, velocities=0 * row, gripper=None, hold=False, reason='',
        action_index=0, limited=('velocity:elbow',), window_times=np.array([0.0]),
        window_positions=row[None], window_velocities=0 * row[None],
    )  # fmt: skip


def recorder(folder, cycles=3):
    made = FlightRecorder(folder, 30.0)
    for index in range(cycles):
        made.note(Cycle(index / 30, 'running', '', np.zeros(2), command()))
    return made


def flights(folder):
    return sorted((folder / FOLDER).glob('dysl_vla_flight_*.json'))


def test_a_cycle_says_what_was_commanded_also_of_the_grippers_of_further_arms(tmp_path):
    made = recorder(tmp_path, 0)
    two = replace(command(), gripper=0.0, more_grippers=(1.0,), action_index=3)
    made.note(Cycle(2.0, 'running', '', np.array([0.1, np.nan]), two))
    (cycle,) = json.loads(made.write('fault', {}).read_text())['cycles']
    assert cycle == {
        't': 2.0, 'state': 'running', 'reason': '', 'joints': [0.1, 'nan'],
        'positions': [0.1, 0.2], 'velocities': [0.0, 0.0], 'gripper': 0.0, 'more_grippers': [1.0],
        'hold': False, 'action_index': 3, 'limited': ['velocity:elbow'],
    }  # fmt: skip


def test_flights_of_one_instant_and_of_two_nodes_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(flight_recorder.time, 'time', lambda: 1.7e9)
    one, other = recorder(tmp_path), recorder(tmp_path)
    paths = {made.write('fault', {}) for made in (one, other) for _ in range(3)}
    monkeypatch.undo()
    assert sorted(paths) == flights(tmp_path) and len(paths) == 6
    assert all(len(json.loads(path.read_text())['cycles']) == 3 for path in paths)


def test_only_the_newest_twenty_flights_are_kept(tmp_path):
    made = recorder(tmp_path)
    other = tmp_path / FOLDER / 'notes.json'
    paths = [made.write('fault', {}) for _ in range(23)]
    other.write_text('{}')
    paths += [made.write('fault', {}) for _ in range(2)]
    assert flights(tmp_path) == sorted(paths[-20:])
    assert other.exists()


def test_flights_take_a_bounded_space_and_the_newest_stays(tmp_path, monkeypatch):
    made = recorder(tmp_path, 100)
    size = made.write('fault', {}).stat().st_size
    monkeypatch.setattr(flight_recorder, 'KEPT_BYTES', int(3.5 * size))
    paths = [made.write('fault', {}) for _ in range(6)]
    assert flights(tmp_path) == sorted(paths[-3:])


def test_a_flight_that_is_too_large_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(flight_recorder, 'KEPT_BYTES', 20_000)
    with pytest.raises(OSError, match='more than 20000 bytes'):
        recorder(tmp_path, 300).write('fault', {})
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_link_in_the_folders_place_is_refused(tmp_path):
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    (tmp_path / FOLDER).symlink_to(elsewhere)
    with pytest.raises(OSError):
        recorder(tmp_path).write('fault', {})
    assert list(elsewhere.iterdir()) == []


def test_links_among_the_flights_are_neither_followed_nor_removed(tmp_path):
    made = recorder(tmp_path)
    made.write('fault', {})
    precious = tmp_path / 'precious'
    precious.write_text('kept')
    links = [tmp_path / FOLDER / f'dysl_vla_flight_0{i}.json' for i in range(30)]
    for link in links:
        link.symlink_to(precious)
    for _ in range(22):
        made.write('fault', {})
    assert precious.read_text() == 'kept' and all(link.is_symlink() for link in links)


def test_a_half_written_flight_of_a_dead_process_is_cleared_and_a_fresh_one_is_not(tmp_path):
    made = recorder(tmp_path)
    made.write('fault', {})
    old = tmp_path / FOLDER / 'dysl_vla_flight_old.tmp'
    new = tmp_path / FOLDER / 'dysl_vla_flight_new.tmp'
    for path in (old, new):
        path.write_text('{')
    os.utime(old, (0, 0))
    made.write('fault', {})
    assert not old.exists() and new.exists()


@pytest.mark.parametrize('what', ['a file', 'a missing disk'])
def test_a_folder_that_cannot_be_made_is_an_oserror(tmp_path, what):
    place = tmp_path / 'place'
    place.write_text('')
    with pytest.raises(OSError):
        recorder(place if what == 'a file' else Path('/proc/none')).write('fault', {})


def test_a_disk_that_is_full_leaves_the_older_flights_and_no_half_of_a_new_one(tmp_path):
    """The kernel refuses every byte beyond a file-size limit, in the middle of the writing."""
    older = recorder(tmp_path).write('older', {})
    code = textwrap.dedent(f"""
        import resource, signal
        import numpy as np
        from pathlib import Path
        from dysl_vla_ros.ros.flight_recorder import Cycle, FlightRecorder
        made = FlightRecorder(Path({str(tmp_path)!r}), 30.0)
        for index in range(300):
            made.note(Cycle(index / 30, 'running', '', np.zeros(6), None))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))
        try:
            made.write('fault', {{}})
        except OSError as error:
            print('refused', error.errno)
    """)
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith('refused'), done.stderr
    assert list((tmp_path / FOLDER).iterdir()) == [older]


def test_numbers_that_json_does_not_know_are_written_by_name(tmp_path):
    made = recorder(tmp_path, 0)
    made.note(Cycle(1.0, 'e-stop', 'not finite', np.array([np.nan, np.inf]), command((np.nan, 1))))
    text = made.write('fault', {'odd': Path('x')}).read_text()
    document = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert document['cycles'][0]['joints'] == ['nan', 'inf']
    assert document['cycles'][0]['positions'] == ['nan', 1.0]
    assert document['about'] == {'odd': 'x'}


def test_a_value_without_a_text_is_an_oserror_too_and_leaves_nothing(tmp_path):
    made = recorder(tmp_path, 0)
    made.note('not a cycle')
    with pytest.raises(OSError, match='cannot be encoded'):
        made.write('fault', {})
    assert list((tmp_path / FOLDER).iterdir()) == []


class Broken:
    """Stands for a recorder out of memory."""

    def append(self, item):
        raise MemoryError


def test_what_cannot_be_kept_is_counted_and_never_reaches_the_command_thread(tmp_path):
    made = recorder(tmp_path)
    whole, made._cycles = made._cycles, Broken()
    made.note(Cycle(1.0, 'running', '', None, None))
    made._cycles = whole
    made._chunks = Broken()
    made.note_chunk({'chunk_id': '1'})
    assert made.lost == 2


def test_a_flight_can_be_written_while_cycles_go_on(tmp_path):
    made = FlightRecorder(tmp_path, 500.0)
    done = threading.Event()

    def keep():
        index = 0
        while not done.is_set():
            made.note(Cycle(index, 'running', '', np.zeros(6), command()))
            made.note_chunk({'chunk_id': str(index)})
            index += 1

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        for _ in range(5):
            cycles = json.loads(made.write('fault', {}).read_text())['cycles']
            times = [cycle['t'] for cycle in cycles]
            assert times == sorted(times)
    finally:
        done.set()
        thread.join()
