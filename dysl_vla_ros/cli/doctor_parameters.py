"""What ``dysl doctor`` says of a parameter file: what the node would say of it, without ROS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dysl_vla_ros.cli.finding import Finding
from dysl_vla_ros.errors import ConfigError, DyslError

if TYPE_CHECKING:
    from dysl_vla_ros.config import NodeConfig

_NODE = 'vla_node'
_FIX = 'doc/reference.md has every parameter'
_OF_A_POLICY = {'engine.path', 'engine.backend', 'rerun.where'}
"""A file that says none of them leaves it to the launch which policy runs."""


@dataclass(frozen=True)
class Judged:
    """What came out.

    Attributes:
        finding: For people.
        config: The node's configuration, with the engine that was asked for; None where it is
            refused.
    """

    finding: Finding
    config: NodeConfig | None = None


def judged(path: Path, engine: str = '', plans: str = '') -> Judged:
    """Judge a file by itself, and against the bundle or server that it names; never raises.

    Args:
        path: The file.
        engine: A bundle in place of the file's, as ``engine:=`` of the launch; '' keeps it.
        plans: As ``engine``, of ``engine.plans``.
    """
    part, needed = f'parameters {path.name}', 'the node'
    try:
        config, said = judge(path)
        runs = config.engine
        runs = replace(runs, path=engine or runs.path, plans=plans or runs.plans)
        config = replace(config, engine=runs)
        fits = ''
        if engine or said & _OF_A_POLICY:
            fits = f', fit for {_against_policy(config)}'
    except ImportError as error:
        return Judged(Finding(part, 'broken', f'cannot be checked: {error}', needed, 'see above'))
    except DyslError as error:
        return Judged(Finding(part, 'broken', str(error), needed, _FIX))
    return Judged(Finding(part, 'ok', f'{len(said)} parameters of {_NODE}{fits}', needed), config)


def judge(path: Path) -> tuple[NodeConfig, frozenset[str]]:
    """The node's configuration by a file, and the names of what it says.

    Raises:
        ConfigError: It cannot be read, says nothing to the node, or says something wrong.
        ImportError: A library is missing.
    """
    from dysl_vla_ros.config import NODE_ONLY, from_flat
    from dysl_vla_ros.parameter_check import check_once, check_reach, check_values
    from dysl_vla_ros.parameter_file import OF_ROS, of_others, parameters_for, sections

    check_once(path)
    check_values(path)
    own = [one for one in sections(path) if one.rpartition('/')[2] == _NODE and '*' not in one]
    check_reach(path, [f'/{_NODE}', *own])
    said = {name: value for name, value in parameters_for(path, _NODE)
            if not name.startswith(OF_ROS)}  # fmt: skip
    for name, (default, _) in NODE_ONLY.items():
        if name in said and not isinstance(said[name], type(default)):
            raise ConfigError(name, said[name], f'a {type(default).__name__}')
    values = {name: value for name, value in said.items() if name not in NODE_ONLY}
    return from_flat(values, of_others([path], _NODE)), frozenset(said)


def _against_policy(config: NodeConfig) -> str:
    """Its name; refused where the node would not take both together."""
    from dysl_vla_ros.contract import engine_of, with_bundle
    from dysl_vla_ros.remote_policy import manifest_of

    manifest = manifest_of(engine_of(config))
    with_bundle(config, manifest)
    return manifest.name
