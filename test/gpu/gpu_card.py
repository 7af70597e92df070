"""What the GPU tests measured, for the card and the line of JSON at the end of their run."""

from __future__ import annotations

import platform
import time

FIGURES: dict[str, object] = {}
"""By name, in the order in which they were measured; of this run."""
_BEGAN = time.monotonic()


def tell(name, value):
    """Put a figure on the card."""
    FIGURES[name] = value


def gpu():
    """The GPU's name; None where there is none, or no torch that sees it."""
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def document(passed, failed, skipped):
    """The line of JSON.

    Args:
        passed: How many tests did.
        failed: How many, errors included.
        skipped: Why, one line each.
    """
    try:
        import torch

        version = torch.__version__
    except ImportError:
        version = None
    return {
        'what': 'make test-gpu', 'gpu': gpu(), 'torch': version,
        'python': platform.python_version(), 'passed': passed, 'failed': failed,
        'skipped': skipped, 'seconds': round(time.monotonic() - _BEGAN, 1), 'figures': FIGURES,
        'date': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
    }  # fmt: skip


def card(found):
    """Its lines for people."""
    yield f'{found["gpu"] or "no NVIDIA GPU: nothing was measured"}, torch {found["torch"]}'
    yield (f'{found["passed"]} passed, {found["failed"]} failed, {len(found["skipped"])} skipped '
           f'in {found["seconds"]:.0f} s')  # fmt: skip
    for name, value in found['figures'].items():
        yield f'  {name}: {value:.4g}' if isinstance(value, float) else f'  {name}: {value}'
    for reason in found['skipped']:
        yield f'  skipped: {reason}'
