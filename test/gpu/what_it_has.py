"""Which Python can run the GPU tests: ``make test-gpu`` asks each that it finds.

Prints ``gpu`` or ``cpu``, for what its torch sees, then what it lacks; nothing without torch.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

NEEDED = ('numpy', 'onnx', 'pytest', 'safetensors')
"""Beside torch; ``onnxscript`` and ``onnx_ir`` are wanted too, for the four rows alone."""


def lacking(modules=NEEDED):
    """Those that cannot be imported, whatever the reason."""
    found = []
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # one that is broken is as good as none
            found.append(module)
    return found


def main():
    """Say it in one line; what libraries print goes elsewhere."""
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        try:
            import torch
        except Exception:
            return 1
        words = ['gpu' if torch.cuda.is_available() else 'cpu', *lacking()]
    print(*words)
    return 0


if __name__ == '__main__':
    sys.exit(main())
