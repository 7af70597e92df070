"""Which parameters a ROS parameter file sets for a node, read without ROS.

Every section counts that may apply to the node: ``/**``, its name with or without a namespace,
flat or nested. A key that is written twice counts twice, for ROS reads both. What YAML has and
ROS does not read, aliases and what they merge, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dysl_vla_ros.errors import ConfigError

_BODY = 'ros__parameters'
_DEEPEST = 20
_EXPONENT = re.compile(r'[-+]?[0-9]+[eE][-+]?[0-9]+')
"""A number for ROS, and a text for PyYAML."""
OF_ROS = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')
"""Parameters that rclpy declares for itself."""


@dataclass(frozen=True)
class Written:
    """One entry as it stands in a file.

    Attributes:
        section: Full name or pattern of the nodes that it is for, ``/left/vla_node``.
        name: Of the parameter, in full.
        value: Its value.
    """

    section: str
    name: str
    value: Any


def sections(path: Path) -> list[str]:
    """Full names or patterns of the nodes that a file has parameters for, in its order.

    Raises:
        ConfigError: As ``parameters_for``.
    """
    root = _tree(path)
    bodies = [] if root is None else _bodies(root, '', 0, path)
    return [*dict.fromkeys(section for section, _, _ in bodies)]


def written(path: Path) -> list[Written]:
    """Every entry of every section, in the order of the file.

    Raises:
        ConfigError: As ``parameters_for``.
    """
    root = _tree(path)
    bodies = [] if root is None else _bodies(root, '', 0, path)
    return [Written(section, name, value) for section, body, depth in bodies
            for name, value in _flat(body, '', depth, path)]  # fmt: skip


def parameters_for(path: Path, node: str, for_all: bool = True) -> list[tuple[str, Any]]:
    """Full names and values, in the order of the file.

    Args:
        path: A YAML file.
        node: Name of the node, without a namespace.
        for_all: Whether sections count that are written for every node.

    Raises:
        ConfigError: It cannot be read, or is no parameter file.
    """
    names = (node, '*', '**') if for_all else (node,)
    root = _tree(path)
    bodies = [] if root is None else _bodies(root, '', 0, path)
    return [entry for section, body, depth in bodies if section.rpartition('/')[2] in names
            for entry in _flat(body, '', depth, path)]  # fmt: skip


def of_others(paths: Iterable[Path], node: str) -> set[str]:
    """Names that stand in sections for every node alone, ``/**``: they may be another node's.

    Args:
        paths: Parameter files that a node was given.
        node: Name of the node; what a section of its own names is the node's.

    Raises:
        ConfigError: As ``parameters_for``.
    """
    everybodys: set[str] = set()
    own: set[str] = set()
    for path in paths:
        everybodys |= {name for name, _ in parameters_for(path, node)}
        own |= {name for name, _ in parameters_for(path, node, for_all=False)}
    return everybodys - own


def _tree(path: Path) -> yaml.Node | None:
    try:
        text = path.read_text('utf-8')
        tree: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        aliases = [event for event in yaml.parse(text, Loader=yaml.SafeLoader)
                   if isinstance(event, yaml.AliasEvent)]  # fmt: skip
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        words = ' '.join(str(error).split())
        raise ConfigError('params_file', str(path), f'a YAML parameter file ({words})') from None
    for event in aliases:
        raise ConfigError(
            path.name, f'*{event.anchor}', 'values that are written out: ROS reads no aliases'
        )
    if tree is not None and not isinstance(tree, yaml.MappingNode):
        raise ConfigError('params_file', str(path), 'sections, each of a node')
    return tree


def _bodies(
    tree: yaml.Node, section: str, depth: int, path: Path
) -> Iterator[tuple[str, yaml.Node, int]]:
    """Sections with what stands in them, and how deep."""
    for key, value in _pairs(tree, depth, path):
        if not isinstance(value, yaml.MappingNode):
            right = 'a mapping of parameters' if key == _BODY else f'a section that holds {_BODY}'
            raise ConfigError(f'{path.name}: {section}/{key}', _value(value), right)
        if key == _BODY:
            yield section, value, depth + 1
        else:
            yield from _bodies(value, f'{section}/{key.strip("/")}', depth + 1, path)


def _flat(tree: yaml.Node, prefix: str, depth: int, path: Path) -> Iterator[tuple[str, Any]]:
    for key, value in _pairs(tree, depth, path):
        if isinstance(value, yaml.MappingNode):
            yield from _flat(value, f'{prefix}{key}.', depth + 1, path)
        else:
            yield f'{prefix}{key}', _value(value)


def _pairs(tree: yaml.Node, depth: int, path: Path) -> Iterator[tuple[str, yaml.Node]]:
    if depth > _DEEPEST:
        raise ConfigError('params_file', str(path), f'at most {_DEEPEST} levels')
    for key, value in tree.value:
        yield str(key.value), value


def _value(tree: yaml.Node) -> Any:
    if isinstance(tree, yaml.SequenceNode):
        return [_value(one) for one in tree.value]
    plain = isinstance(tree, yaml.ScalarNode) and tree.style is None
    if plain and _EXPONENT.fullmatch(tree.value):
        return float(tree.value)
    loader = yaml.SafeLoader('')
    try:
        return loader.construct_object(tree, deep=True)
    finally:
        loader.dispose()
