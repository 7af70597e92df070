"""The definition of a message as text, for a recording that explains itself.

Written from what the generated class says of its fields, so that it needs no file of a ROS
installation and fits the class that wrote the bytes. Constants are left out: no byte depends on
them.
"""

from __future__ import annotations

import re
import sys
from typing import Any

_RULE = '=' * 80
_BUILTIN = {'boolean': 'bool', 'octet': 'byte', 'float': 'float32', 'double': 'float64'}
_SEQUENCE = re.compile(r'sequence<(.+?)(?:, (\d+))?>')
_ARRAY = re.compile(r'(.+)\[(\d+)\]')
_BOUNDED = re.compile(r'(w?string)<(\d+)>')


def type_name(kind: Any) -> str:
    """``std_msgs/msg/String`` of a message class."""
    package, _, rest = kind.__module__.partition('.')
    return f'{package}/{rest.partition(".")[0]}/{kind.__name__}'


def definition(kind: Any) -> str:
    """Fields of a message class and of all that it is made of, as ``ros2msg``."""
    found: dict[str, str] = {}
    lines = _fields(kind, found)
    parts = [lines, *(f'{_RULE}\nMSG: {name}\n{text}' for name, text in found.items())]
    return ''.join(parts)


def _fields(kind: Any, found: dict[str, str]) -> str:
    lines = []
    for name, told in kind.get_fields_and_field_types().items():
        element, suffix = _element(told)
        if '/' in element and element not in found:
            found[element] = ''  # its place, before what it is made of
            found[element] = _fields(_class_of(kind, element), found)
        lines.append(f'{element}{suffix} {name}\n')
    return ''.join(lines)


def _element(told: str) -> tuple[str, str]:
    """Type of an element, and what makes an array of it."""
    suffix = ''
    if match := _SEQUENCE.fullmatch(told):
        told, suffix = match[1], f'[<={match[2]}]' if match[2] else '[]'
    elif match := _ARRAY.fullmatch(told):
        told, suffix = match[1], f'[{match[2]}]'
    if match := _BOUNDED.fullmatch(told):
        told = f'{match[1]}<={match[2]}'
    return _BUILTIN.get(told, told), suffix


def _class_of(kind: Any, element: str) -> Any:
    """The class of a field that is a message; making one has loaded its package."""
    kind()
    package, _, name = element.partition('/')
    return getattr(sys.modules[f'{package}.msg'], name)
