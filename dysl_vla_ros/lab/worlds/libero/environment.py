"""Where the benchmark is installed: an environment of its own, made by ``make libero``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from dysl_vla_ros.errors import ConfigError

VARIABLE = 'DYSL_LIBERO_PYTHON'
FOLDER = '.libero'
APT = 'sudo apt install libegl1 libgl1 libgles2'
_CHECK = (
    'import os; os.environ.setdefault("MUJOCO_GL", "egl"); import libero.libero; '
    'import mujoco; mujoco.GLContext(8, 8)'
)
_PATIENCE_S = 120.0


def interpreter() -> Path:
    """The Python of the benchmark's environment.

    Raises:
        ConfigError: There is none; says how it is made.
    """
    named = os.environ.get(VARIABLE, '')
    root = Path(__file__).resolve().parents[4]
    places = [Path(named)] if named else [
        folder / FOLDER / 'bin' / 'python' for folder in dict.fromkeys((Path.cwd(), root))
    ]  # fmt: skip
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(VARIABLE, named or str(places[0]), 'the Python of an environment with '
                      'LIBERO: run make libero (2.1 GB, Python 3.10 or 3.11)')  # fmt: skip


def missing() -> str:
    """Why LIBERO cannot run here, in one line; '' when it can."""
    try:
        python = interpreter()
    except ConfigError as error:
        return str(error)
    try:
        found = subprocess.run([str(python), '-c', _CHECK], capture_output=True, text=True,
                               timeout=_PATIENCE_S, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f'{python}: {error}'
    if found.returncode == 0:
        return ''
    last = (found.stderr.strip().splitlines() or ['no word'])[-1]
    graphics = any(word in found.stderr for word in ('EGL', 'GLES', 'libGL', 'OpenGL'))
    return f'{last}: {APT}' if graphics else f'{last}: run make libero'


def main() -> int:
    """Say whether LIBERO runs here; what is missing in one line."""
    found = missing()
    print(found or f'{interpreter()}: LIBERO runs')
    return 1 if found else 0


if __name__ == '__main__':
    raise SystemExit(main())
