"""Which interpreter, preset and bundle the processes under test use; nothing of ours leaks in."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dysl_vla_ros.demo import processes
from dysl_vla_ros.errors import ConfigError

_PACKAGE = 'dysl_vla_ros'
_BOOTSTRAP_GUARD = '_ROS_WHEELS_BOOTSTRAP_COMPLETE'
"""Set by the ROS wheels' start-up hook; a child from another environment must run it again."""


@dataclass(frozen=True)
class Environment:
    """An environment whose executables are started.

    Attributes:
        python: Its interpreter.
        package: Folder of its ``dysl_vla_ros``.
        env: Variables of the children.
    """

    python: str
    package: Path
    env: dict[str, str]

    @property
    def preset(self) -> Path | None:
        """The simulation's parameter file of that environment, if it can be found."""
        return self._data('config/robots/sim.yaml')

    @property
    def bundle(self) -> Path | None:
        """The bundled policy of that environment, if it can be found."""
        found = self._data('resource/models/tabletop/manifest.json') or self._data(
            'models/tabletop/manifest.json'
        )
        return None if found is None else found.parent

    def _data(self, name: str) -> Path | None:
        """In the source tree beside the package, or in ``share`` of its environment."""
        places = [self.package.parent]
        places += [parent / 'share' / _PACKAGE for parent in self.package.parents]
        return next((p / name for p in places if (p / name).is_file()), None)


def find_environment(prefix: Path | None, domain: int) -> Environment:
    """This environment, or that below ``prefix``.

    Args:
        prefix: Folder of a virtual environment with its own ``dysl_vla_ros``; None for ours.
        domain: ROS domain of the graph.

    Raises:
        ConfigError: There is no such environment, or the package is not in it.
    """
    env = processes.environment(domain)
    own = Path(__file__).resolve().parents[3]
    path = [part for part in env.get('PYTHONPATH', '').split(os.pathsep) if part]
    if prefix is None:
        # The children import what this process imports, wherever they are started.
        env['PYTHONPATH'] = os.pathsep.join([str(own), *path])
        return Environment(sys.executable, own / _PACKAGE, env)
    python = prefix.expanduser().absolute() / 'bin' / 'python'
    if not python.exists():
        raise ConfigError('--prefix', str(prefix), f'an environment: {python} is not there')
    if env.pop(_BOOTSTRAP_GUARD, None) is not None:
        libraries = env.pop('LD_LIBRARY_PATH', '').split(os.pathsep)
        kept = [p for p in libraries if p and not p.startswith(sys.prefix)]
        if kept:
            env['LD_LIBRARY_PATH'] = os.pathsep.join(kept)
    path = [part for part in path if not (Path(part) / _PACKAGE).is_dir()]
    env['PYTHONPATH'] = os.pathsep.join(path)
    if not path:
        del env['PYTHONPATH']
    env.pop('VIRTUAL_ENV', None)
    found = subprocess.run(
        [str(python), '-c', f'import {_PACKAGE}; print({_PACKAGE}.__file__)'],
        env=env, cwd='/', capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode:
        raise ConfigError(
            '--prefix', str(prefix), f'an environment with {_PACKAGE}: '
            + (found.stderr.strip().splitlines() or ['it cannot be imported'])[-1],
        )  # fmt: skip
    return Environment(str(python), Path(found.stdout.strip()).parent, env)
