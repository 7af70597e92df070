"""Engines of other packages: an entry point brings one in, nothing here is edited.

A package that adds a back end says so in its metadata,

    [project.entry-points.'dysl_vla_ros.engines']
    my_engine = 'my_package.engine:open_engine'

and from then on ``engine.backend: package:my_engine`` runs bundles on it, in the node and in every
command with ``--backend``. See doc/add_an_engine.md.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.engines.check import check_engine
from dysl_vla_ros.engines.engine import Engine
from dysl_vla_ros.errors import DyslError, EngineError

GROUP = 'dysl_vla_ros.engines'
PREFIX = 'package:'
_OFFLINE = tuple(f'dysl_vla_ros.{part}' for part in ('lab', 'cli', 'demo', 'sim', 'ros'))
"""What an engine has no business with: a robot may lack what these import."""


class BackEnd(Protocol):
    """What an entry point names."""

    def __call__(self, bundle: Bundle, threads: int) -> Engine:
        """Open a bundle on this machine.

        Args:
            bundle: Checked: every file is as it was exported.
            threads: ``engine.threads``.
        """


def installed() -> dict[str, list[EntryPoint]]:
    """Engines of other packages, by name; more than one is an error where it is opened."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def open_installed(backend: str, bundle: Bundle, threads: int) -> Engine:
    """Open a bundle on the engine that ``package:NAME`` means, and try it.

    Raises:
        EngineError: None of that name, or two; it cannot be loaded, fails, breaks the protocol,
            or imports what no robot has.
    """
    name = backend.removeprefix(PREFIX)
    points = installed().get(name, [])
    if len(points) != 1:
        known = ', '.join(sorted(installed())) or 'none is installed'
        raise EngineError(
            f"engine.backend = '{backend}': expected one engine of this name under the entry "
            f'point {GROUP}, found {len(points)} ({known}); see doc/add_an_engine.md'
        )
    point, before = points[0], set(sys.modules)
    title = f'{GROUP}: {name} = {point.value!r}'
    try:
        back_end: BackEnd = point.load()
    except Exception as error:
        raise EngineError(f'{title} cannot be loaded: {error!r}; install its package again, or '
                          'uninstall it') from error  # fmt: skip
    if not callable(back_end):
        raise EngineError(f'{title} is a {type(back_end).__name__}: expected a function of a '
                          'bundle and a number of threads')  # fmt: skip
    try:
        engine = back_end(bundle, threads)
    except DyslError:
        raise
    except Exception as error:
        raise EngineError(f'{title} fails: {error!r}') from error
    strange = sorted(module for module in set(sys.modules) - before
                     if module.startswith(_OFFLINE))  # fmt: skip
    if strange:
        raise EngineError(
            f'{title} imports {strange[0]}, which is not there on every robot: expected nothing '
            'of this package but bundle, data_types, engines, errors'
        )
    return check_engine(engine, bundle.manifest, name)
