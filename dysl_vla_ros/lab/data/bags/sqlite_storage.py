"""A sqlite3 file of rosbag2 (``.db3``), of every version of its tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from dysl_vla_ros.lab.data.bags.records import Channel, Raw, add_once, unreadable

MAGIC = b'SQLite format 3\x00'


class SqliteStorage:
    """``Storage`` over a .db3 file, which is never written to."""

    def __init__(self, path: Path) -> None:
        """Open a file and count its topics.

        Raises:
            ConfigError: It is no database, or not one of rosbag2.
        """
        self._path = path
        self.notes: list[str] = []
        self._numbers: dict[int, str] = {}
        self.channels: dict[str, Channel] = {}
        try:
            with _connection(path) as database:
                self._read_topics(database)
        except sqlite3.Error as error:
            raise unreadable(path, error, 'a database that rosbag2 wrote; copy it again, or try '
                             f'sqlite3 {path.name} .recover') from None  # fmt: skip

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Raw]:
        """Messages as they were stored."""
        wanted = [number for number, topic in self._numbers.items()
                  if topics is None or topic in topics]  # fmt: skip
        places = ', '.join('?' * len(wanted))
        query = f'SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({places}) ' \
                'ORDER BY id'  # fmt: skip
        try:
            with _connection(self._path) as database:
                for number, time_ns, data in database.execute(query, wanted):
                    yield Raw(self._numbers[number], int(time_ns), bytes(data))
        except sqlite3.Error as error:
            add_once(self.notes, f'{self._path.name} is damaged ({error}): read as far as it goes')

    def _read_topics(self, database: sqlite3.Connection) -> None:
        tables = {name for (name,) in database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'")}  # fmt: skip
        if not {'topics', 'messages'} <= tables:
            raise unreadable(self._path, f'a database with the tables {sorted(tables)}',
                             'one that rosbag2 wrote, with topics and messages')  # fmt: skip
        texts: dict[str, tuple[str, str]] = {}
        if 'message_definitions' in tables:
            texts = {kind: (text, language) for kind, language, text in database.execute(
                'SELECT topic_type, encoding, encoded_message_definition '
                'FROM message_definitions')}  # fmt: skip
        for number, topic, kind, encoding in database.execute(
            'SELECT id, name, type, serialization_format FROM topics'
        ):
            text, language = texts.get(kind, ('', 'ros2msg'))
            self._numbers[int(number)] = str(topic)
            self.channels[str(topic)] = Channel(str(topic), str(kind), text, language, encoding)
        self._count(database)

    def _count(self, database: sqlite3.Connection) -> None:
        counts: dict[int, int] = {}
        try:
            for (number,) in database.execute('SELECT topic_id FROM messages ORDER BY id'):
                counts[number] = counts.get(number, 0) + 1
        except sqlite3.Error as error:
            add_once(self.notes, f'{self._path.name} is damaged ({error}): read as far as it goes')
        for number, topic in self._numbers.items():
            self.channels[topic] = replace(self.channels[topic], count=counts.get(number, 0))


@contextmanager
def _connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A database for reading: as sqlite would, or, on a disk that cannot be written, as it lies.

    A killed recorder leaves a journal beside the file, which sqlite takes into account only where
    it may write beside it.
    """
    place = path.resolve().as_uri()
    # The last is for a file that is shorter than its first page says.
    for option, before in (('mode=ro', ''), ('immutable=1', ''),
                           ('immutable=1', 'PRAGMA writable_schema = ON')):  # fmt: skip
        with closing(sqlite3.connect(f'{place}?{option}', uri=True)) as database:
            try:
                database.execute(before)
                database.execute('SELECT count(*) FROM sqlite_master').fetchone()
            except sqlite3.DatabaseError as error:
                problem = error
                continue
            yield database
            return
    raise problem
