"""What ``dysl doctor`` says of a parameter file: what the node would say of it, without ROS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dysl_vla_ros.cli.finding import Finding
from dysl_vla_ros.errors import ConfigError, DyslError

if TYPE_CHECKING:
    from dysl_vla_ros.config import NodeConfig

_NODE = 'vla_node'
_FIX = 'doc/reference.md has every parameter'
_EXPONENT = re.compile(r'[-+]?[0-9]+[eE][-+]?[0-9]+')
"""A number for ROS, and a text for PyYAML."""


def parameter_finding(path: Path) -> Finding:
    """Judge a file; never raises."""
    part, needed = f'parameters {path.name}', 'the node'
    try:
        judged = judge(path)
    except ImportError as error:
        return Finding(part, 'broken', f'cannot be checked: {error}', needed, 'see above')
    except DyslError as error:
        return Finding(part, 'broken', str(error), needed, _FIX)
    return Finding(part, 'ok', f'{judged[1]} parameters of {_NODE}', needed)


def judge(path: Path) -> tuple[NodeConfig, int]:
    """The node's configuration by a file, and how many parameters it says.

    Raises:
        ConfigError: It cannot be read, says nothing to the node, or says something wrong.
        ImportError: A library is missing.
    """
    from dysl_vla_ros.config import NODE_ONLY, from_flat
    from dysl_vla_ros.parameter_check import check_once, check_reach
    from dysl_vla_ros.parameter_file import OF_ROS, of_others, parameters_for, sections

    check_once(path)
    own = [one for one in sections(path) if one.rpartition('/')[2] == _NODE and '*' not in one]
    check_reach(path, [f'/{_NODE}', *own])
    said = {name: _number(value) for name, value in parameters_for(path, _NODE)
            if not name.startswith(OF_ROS)}  # fmt: skip
    for name, (default, _) in NODE_ONLY.items():
        if name in said and not isinstance(said[name], type(default)):
            raise ConfigError(name, said[name], f'a {type(default).__name__}')
    values = {name: value for name, value in said.items() if name not in NODE_ONLY}
    return from_flat(values, of_others([path], _NODE)), len(said)


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(one) for one in value]
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
