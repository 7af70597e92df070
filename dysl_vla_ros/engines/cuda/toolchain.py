"""What Inductor needs of a machine to make libraries for its GPU, known before weights are loaded.

Running compiled pieces needs none of it. A packaged piece includes the headers of a CUDA toolkit,
which wheels of torch do not bring where torch looks for them, and is linked with the driver.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_SYSTEM = ('/usr/include', '/usr/local/include')
_HEADERS = ('cuda.h', 'cuda_runtime_api.h')
_PATIENCE_S = 60.0


def lacking() -> list[str]:
    """What is not there, one phrase each, with what would be right; nothing where all is.

    Only what surely stops a build: what torch finds in ways of its own is not complained of.
    """
    found = []
    compiler = shutil.which(os.environ.get('CXX') or 'g++')
    if compiler is None:
        found.append('a C++ compiler (apt install g++, or the variable CXX)')
    if importlib.util.find_spec('triton') is None:
        found.append('triton (it comes with builds of torch for CUDA)')
    try:
        from torch.utils import cpp_extension
    except ImportError as error:
        return [*found, f'what torch compiles with ({error}: pip install setuptools)']
    if cpp_extension.CUDA_HOME is None:
        return [
            *found,
            'a CUDA toolkit of the version that torch was built with (nvcc on the path, '
            '/usr/local/cuda, or the variable CUDA_HOME)',
        ]
    folders = [*cpp_extension.include_paths('cuda'), *_SYSTEM, *_listed('CPATH'),
               *_listed('CPLUS_INCLUDE_PATH')]  # fmt: skip
    headers = [h for h in _HEADERS if not any(Path(folder, h).is_file() for folder in folders)]
    if headers:
        found.append(f'{", ".join(headers)} of the CUDA toolkit in {cpp_extension.CUDA_HOME}')
    libraries = cpp_extension.library_paths('cuda')
    if compiler is not None and not _links(compiler, libraries):
        found.append(
            'libcuda.so to link with (it comes with the driver; where only libcuda.so.1 is there, '
            'the stubs of the toolkit: the variable LIBRARY_PATH)'
        )
    return found


def _listed(variable: str) -> list[str]:
    return [folder for folder in os.environ.get(variable, '').split(os.pathsep) if folder]


def _links(compiler: str, libraries: Sequence[str]) -> bool:
    """Whether a program can be linked with the driver, by the compiler itself."""
    folders = [*libraries, *(str(Path(folder, 'stubs')) for folder in libraries)]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, 'a.cpp')
        source.write_text('int main() { return 0; }\n', encoding='utf-8')
        flags = [f'-L{one}' for one in folders]
        call = [compiler, str(source), '-o', str(Path(folder, 'a')), *flags, '-lcuda']
        try:
            done = subprocess.run(call, capture_output=True, timeout=_PATIENCE_S, check=False)
        except (OSError, subprocess.SubprocessError):
            return True  # nothing is known
    return done.returncode == 0
