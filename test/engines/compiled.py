"""Small C libraries for tests; skips, saying so, where there is no compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def shared_library(source: Path, target: Path) -> Path:
    """Compile one C file into a shared library."""
    compiler = shutil.which('cc') or shutil.which('gcc')
    if compiler is None:
        pytest.skip('needs a C compiler: apt install gcc')
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [compiler, '-shared', '-fPIC', '-O1', '-Wall', '-o', target, source], check=True
    )
    return target


def with_libraries(folder: Path, **variables: str) -> dict[str, str]:
    """The environment, with a folder in front of where libraries are searched."""
    paths = [str(folder), os.environ.get('LD_LIBRARY_PATH', '')]
    return {**os.environ, **variables, 'LD_LIBRARY_PATH': ':'.join(filter(None, paths))}
