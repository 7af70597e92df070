"""What a parameter file would lose without a word: keys that stand twice, sections for nobody.

ROS takes the last of two values, and passes over a section whose name is no node's. Where that
was a speed limit, the arm is faster than it was written down. Values that it cannot read end it
with the number of a line; here they are named.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.parameter_file import sections, written

_TOKEN = '[A-Za-z0-9_]+'
_ALIKE = 0.8
"""Ratio of ``difflib`` from which a name is taken for another one, misspelt."""


def check_once(path: Path) -> None:
    """Refuse a file in which one section says two things of one parameter.

    Raises:
        ConfigError: Names the parameter and both values, or the file cannot be read.
    """
    known: dict[tuple[str, str], Any] = {}
    for entry in written(path):
        before = known.setdefault((entry.section, entry.name), entry.value)
        if repr(before) != repr(entry.value):
            raise ConfigError(
                f'{path.name}: {entry.name}', [before, entry.value],
                f'one value: it stands twice in the section {_shown(entry.section)}',
            )  # fmt: skip


def check_values(path: Path) -> None:
    """Refuse parameters without a value, and lists of several kinds, which ROS does not read.

    Raises:
        ConfigError: Names the parameter and its value, or the file cannot be read.
    """
    for entry in written(path):
        where = f'{path.name}: {entry.name}'
        if entry.value is None:
            raise ConfigError(where, 'nothing', "a value; '' for an empty text")
        kinds = {type(value) for value in entry.value} if isinstance(entry.value, list) else set()
        if kinds & {list, dict, type(None)}:
            raise ConfigError(where, entry.value, 'a list of values, without lists in it')
        if len(kinds) > 1:
            way = ', as in [1.0, 2.5]' if kinds == {int, float} else ''
            raise ConfigError(where, entry.value, f'a list of one kind: ROS reads no other{way}')


def check_reach(path: Path, nodes: Sequence[str]) -> None:
    """Refuse a file that says nothing to any node of a launch, or that misspells one.

    Args:
        path: A parameter file.
        nodes: Their full names, ``/left/vla_node``; the first is the one that an error asks for.

    Raises:
        ConfigError: Names the section and what it should be called.
    """
    there = sections(path)
    right = f'{_shown(nodes[0])} or /**'
    names = {node.rpartition('/')[2] for node in nodes}
    for section in there:
        own = section.rpartition('/')[2]
        if own not in names and difflib.get_close_matches(own, names, cutoff=_ALIKE):
            raise ConfigError(f'{path.name}: section', _shown(section), right)
    if not any(reaches(section, node) for section in there for node in nodes):
        found = ', '.join(map(_shown, there)) or 'none with ros__parameters'
        raise ConfigError('params_file', str(path), f'a section {right}; it has {found}')


def reaches(section: str, node: str) -> bool:
    """Whether ROS gives a node the parameters of a section.

    Args:
        section: Its name; ``*`` stands for one part of a name, ``**`` for any number.
        node: Its full name.
    """
    pattern = ''.join(
        f'(/{_TOKEN})*' if part == '**' else f'/{_TOKEN}' if part == '*' else f'/{re.escape(part)}'
        for part in section.strip('/').split('/')
    )
    return re.fullmatch(pattern, node) is not None


def _shown(section: str) -> str:
    return section if '*' in section or section.count('/') > 1 else section.lstrip('/')
