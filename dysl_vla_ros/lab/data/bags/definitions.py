"""Bytes of a message -> the message, by the definitions that the recording holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.bags.records import Channel

Reader = Callable[[bytes], Any]


class Definitions:
    """Types of a recording; where it has no definition, ROS 2 Jazzy's."""

    def __init__(self) -> None:
        """Begin with the types of ROS 2.

        Raises:
            ConfigError: The library is missing.
        """
        try:
            from rosbags import typesys
        except ImportError:
            raise ConfigError(
                'rosbags',
                'missing',
                'the library that reads messages: pip install '
                "'dysl_vla_ros[bags]', or pip install rosbags mcap",
            ) from None
        self._typesys: Any = typesys
        self._usual = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
        self._stores: dict[tuple[str, str], Any] = {}

    def reader(self, channel: Channel) -> Reader:
        """A function that reads the messages of a topic.

        Raises:
            ConfigError: It has no definition, or one that cannot be read.
        """
        where = f'topic {channel.topic}'
        if channel.encoding != 'cdr':
            raise ConfigError(where, f'messages in {channel.encoding!r}',
                              'CDR, as ROS 2 records')  # fmt: skip
        store = self._store(channel)
        kind = str(channel.kind)
        if kind not in store.types:
            raise ConfigError(where, f'type {channel.kind or "unknown"}', 'a type of ROS 2, or a '
                              'recording that holds its definition: ros2 bag record --storage '
                              'mcap writes it, or convert it where the type is installed: '
                              'ros2 bag convert')  # fmt: skip

        def read(data: bytes) -> Any:
            return store.deserialize_cdr(data, kind)

        return read

    def _store(self, channel: Channel) -> Any:
        """The store that holds a topic's type; a type of the same name may differ per file."""
        if not channel.definition:
            return self._usual
        key = (channel.kind, channel.definition)
        if key in self._stores:
            return self._stores[key]
        typesys = self._typesys
        store = typesys.get_typestore(typesys.Stores.EMPTY)
        try:
            if channel.language in ('ros2idl', 'omgidl'):
                parse: Any = typesys.get_types_from_idl
                found: Mapping[str, Any] = parse(channel.definition)
            else:
                found = typesys.get_types_from_msg(channel.definition, channel.kind)
            # Builtin types are often left out of a definition: those of ROS 2 are added.
            store.register({**{name: fields for name, fields in self._usual.fielddefs.items()
                               if name not in found}, **found})  # fmt: skip
        except Exception as error:  # the parser's own, of several kinds
            if channel.kind in self._usual.types:
                store = self._usual
            else:
                raise ConfigError(
                    f'topic {channel.topic}', f'a definition of {channel.kind} that cannot be '
                    f'read ({str(error).splitlines()[0] if str(error) else type(error).__name__})',
                    'a message type; services and actions are left out',
                ) from None  # fmt: skip
        self._stores[key] = store
        return store
