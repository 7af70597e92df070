"""What ``dysl doctor`` says of a parameter file: what the node would say of it, without ROS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dysl_vla_ros.cli.finding import Finding
from dysl_vla_ros.errors import DyslError

if TYPE_CHECKING:
    from dysl_vla_ros.config import NodeConfig

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
    part, needed, fits = f'parameters {path.name}', 'the node', ''
    try:
        from dysl_vla_ros.node_parameters import NODE, node_parameters, nodes_of

        said: set[str] = set()
        for node in nodes_of(path):
            found = node_parameters(path, node)
            said |= found.said
            runs = found.config.engine
            runs = replace(runs, path=engine or runs.path, plans=plans or runs.plans)
            config = replace(found.config, engine=runs)
            if engine or found.said & _OF_A_POLICY:
                fits = f', fit for {_against_policy(config)}'
    except ImportError as error:
        return Judged(Finding(part, 'broken', f'cannot be checked: {error}', needed, 'see above'))
    except DyslError as error:
        return Judged(Finding(part, 'broken', str(error), needed, _FIX))
    return Judged(Finding(part, 'ok', f'{len(said)} parameters of {NODE}{fits}', needed), config)


def _against_policy(config: NodeConfig) -> str:
    """Its name; refused where the node would not take both together."""
    from dysl_vla_ros.contract import engine_of, with_bundle
    from dysl_vla_ros.remote_policy import manifest_of

    manifest = manifest_of(engine_of(config))
    with_bundle(config, manifest)
    return manifest.name
