"""What a parameter file makes of the node, read without ROS as ROS reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dysl_vla_ros.config import NodeConfig, from_flat, of_the_node
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.parameter_check import check_once, check_reach, check_values, reaches
from dysl_vla_ros.parameter_file import OF_ROS, sections, written

NODE = 'vla_node'


@dataclass(frozen=True)
class NodeParameters:
    """A file, as one node takes it.

    Attributes:
        config: The configuration; what the file leaves open has its default.
        said: Names of what it says.
    """

    config: NodeConfig
    said: frozenset[str]


def nodes_of(path: Path, name: str = NODE) -> list[str]:
    """Full names of the nodes of a name that a file has sections for; ``/NAME`` without one.

    Raises:
        ConfigError: It cannot be read, or is no parameter file.
    """
    own = [one for one in sections(path) if one.rpartition('/')[2] == name and '*' not in one]
    return own or [f'/{name}']


def node_parameters(path: Path, node: str = f'/{NODE}') -> NodeParameters:
    """A file as a node takes it: its own sections before those that are for several.

    Args:
        path: A YAML parameter file.
        node: Full name.

    Raises:
        ConfigError: It cannot be read, says nothing to the node, something twice, something
            unknown or something wrong.
    """
    check_once(path)
    check_values(path)
    check_reach(path, [node])
    entries = [entry for entry in written(path) if reaches(entry.section, node)]
    shared = {one.name: one.value for one in entries if '*' in one.section}
    own = {one.name: one.value for one in entries if '*' not in one.section}
    said = {name: value for name, value in {**shared, **own}.items()
            if not name.startswith(OF_ROS)}  # fmt: skip
    alone = of_the_node(said)
    values = {name: value for name, value in said.items() if name not in alone}
    return NodeParameters(from_flat(values, shared.keys() - own.keys()), frozenset(said))


def load_yaml(path: Path, name: str = NODE) -> NodeConfig:
    """The configuration that a file gives the one node of a name, in whatever namespace.

    Raises:
        ConfigError: As ``node_parameters``, or it has sections for several of the name.
    """
    nodes = nodes_of(path, name)
    if len(nodes) > 1:
        raise ConfigError('params_file', str(path), f'one {name}: it has {", ".join(nodes)}')
    return node_parameters(path, nodes[0]).config
