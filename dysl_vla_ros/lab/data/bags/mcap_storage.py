"""An MCAP file: with its index, or, where the recorder was killed, as far as it goes.

The file is walked from the front, record by record, so that neither index nor footer is needed; an
index only saves the walk that counts the topics. A damaged chunk is left out by its checksum; of
one that is cut off the beginning is read. Source of the format: the MCAP specification.
"""

from __future__ import annotations

import io
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.bags.records import Channel, Raw, Storage, add_once, unreadable

OWN_RECORDER = 'dysl_vla_ros'
"""As the header of a file of ``record:=true`` has it; no metadata.yaml is written beside."""
MAGIC = b'\x89MCAP0\r\n'
_CHUNK = 0x06
_CHUNK_HEADER = struct.Struct('<BQQQQII')
"""Of a chunk's record: kind, length, first and last time, size, checksum, length of a name."""
_RECORD_LIMIT = 1 << 31


def need_mcap() -> Any:
    """The library, or what to install.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import mcap.reader
        import mcap.stream_reader
    except ImportError:
        raise ConfigError(
            'mcap',
            'missing',
            'the library that reads recordings: pip install '
            "'dysl_vla_ros[bags]', or pip install mcap rosbags",
        ) from None
    return mcap


class McapStorage:
    """``Storage`` over an MCAP file."""

    def __init__(self, path: Path) -> None:
        """Open a file and count its topics.

        Raises:
            ConfigError: It is no MCAP file, or the library is missing.
        """
        self._library = need_mcap()
        self._path, self._size = path, path.stat().st_size
        self.channels: dict[str, Channel] = {}
        self.notes: list[str] = []
        with path.open('rb') as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise unreadable(path, 'no MCAP file: its first bytes are others',
                                 'an .mcap or .db3 file, or the folder with them')  # fmt: skip
        self.written_by = self._header()
        if not self._indexed():
            counts = Counter(raw.topic for raw in self.messages())
            self.channels = {topic: replace(channel, count=counts[topic])
                             for topic, channel in self.channels.items()}  # fmt: skip

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Raw]:
        """Messages as they were stored."""
        names: dict[int, str] = {}
        schemas: dict[int, Any] = {}
        for record in self._records():
            kind = type(record).__name__
            if kind == 'Schema':
                schemas[record.id] = record
            elif kind == 'Channel':
                names[record.id] = record.topic
                self.channels.setdefault(record.topic, _channel(record, schemas))
            elif kind == 'Message':
                topic = names.get(record.channel_id)
                if topic is not None and (topics is None or topic in topics):
                    yield Raw(topic, record.log_time, record.data)

    def _records(self) -> Iterator[Any]:
        """Schemas, channels and messages, out of their chunks."""
        reader = self._library.stream_reader
        with self._path.open('rb') as file:
            stream = reader.StreamReader(
                file, emit_chunks=True, record_size_limit=min(self._size, _RECORD_LIMIT)
            )
            records = iter(stream.records)
            while True:
                start = file.tell() or len(MAGIC)
                try:
                    record = next(records)
                except StopIteration:
                    return
                # A broken file ends in whatever its last bytes happen to be taken for.
                except Exception as error:
                    add_once(
                        self.notes,
                        f'{self._path.name} ends at byte {start} of {self._size} '
                        f'({_words(error)}): the recorder was ended or the copy is cut '
                        'off; read as far as it goes',
                    )
                    yield from self._cut_off(file, start)
                    return
                if type(record).__name__ == 'DataEnd':
                    return
                if type(record).__name__ != 'Chunk':
                    yield record
                    continue
                try:
                    inside = reader.breakup_chunk(record, validate_crc=True)
                except Exception as error:  # the decompressors have errors of their own
                    add_once(
                        self.notes,
                        f'{self._path.name}: a chunk of {len(record.data)} bytes in front '
                        f'of byte {file.tell()} is damaged ({_words(error)}) and left out',
                    )
                    continue
                yield from inside

    def _cut_off(self, file: BinaryIO, start: int) -> Iterator[Any]:
        """What can be read of a chunk that begins at ``start`` and does not end."""
        file.seek(start)
        head = file.read(_CHUNK_HEADER.size)
        if len(head) < _CHUNK_HEADER.size or head[0] != _CHUNK:
            return
        name = file.read(min(_CHUNK_HEADER.unpack(head)[-1], 16)).decode('ascii', 'replace')
        file.read(8)
        try:
            data = _beginning(name, file.read())
            inside = self._library.stream_reader.StreamReader(io.BytesIO(data), skip_magic=True)
            yield from inside.records
        except Exception:  # it ends somewhere: that is known already
            return

    def _header(self) -> str:
        """Library that wrote the file; '' where its beginning is damaged."""
        try:
            with self._path.open('rb') as file:
                return str(self._library.reader.make_reader(file).get_header().library)
        except Exception:  # of nonsense, the library's own, of several kinds
            return ''

    def _indexed(self) -> bool:
        """Take topics and counts from the index; False where there is none that can be used."""
        try:
            with self._path.open('rb') as file:
                summary = self._library.reader.make_reader(file).get_summary()
            if summary is None or summary.statistics is None or not summary.channels:
                return False
            counts = summary.statistics.channel_message_counts
            if summary.statistics.message_count != sum(counts.values()):
                return False
            for number, channel in summary.channels.items():
                known = _channel(channel, summary.schemas)
                before = self.channels.get(channel.topic, known)
                self.channels[channel.topic] = replace(
                    before, count=before.count + counts.get(number, 0)
                )
        except Exception:  # no footer, or one of nonsense
            self.channels.clear()
            return False
        return True


def without_metadata(storage: Storage) -> bool:
    """Whether the file is of a recorder that writes no metadata.yaml."""
    return isinstance(storage, McapStorage) and storage.written_by == OWN_RECORDER


def _channel(record: Any, schemas: Mapping[int, Any]) -> Channel:
    schema = schemas.get(record.schema_id)
    if schema is None:
        return Channel(record.topic, '', encoding=record.message_encoding)
    return Channel(record.topic, schema.name, schema.data.decode('utf-8', 'replace'),
                   schema.encoding, record.message_encoding)  # fmt: skip


def _beginning(compression: str, data: bytes) -> bytes:
    """As much as can be unpacked of the beginning of a compressed block."""
    if compression == 'zstd':
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if compression == 'lz4':
        import lz4.frame

        found: bytes = lz4.frame.LZ4FrameDecompressor().decompress(data)
        return found
    return data


def _words(error: Exception) -> str:
    text = str(error).splitlines()
    return text[0][:80] if text else type(error).__name__
