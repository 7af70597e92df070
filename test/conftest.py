"""Shared helpers, and the offline tests (torch) as part of ``make test-all``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Helpers that tests of several folders share: ``import tiny_bundle``, ``import tiny_oft``.
# Tests of engines lie flat: a folder test/engines/tensorrt would be importable as ``tensorrt``.
HELPERS = ('.', 'bundle', 'engines', 'lab/data', 'lab/learn', 'lab/model')
sys.path[:0] = [str(HERE / folder) for folder in HELPERS]

# Of lab/, all but the evaluation.
OFFLINE = ('lab/model', 'lab/data', 'lab/worlds', 'lab/learn', 'lab/guidance', 'lab/export')
HAVE_TORCH = importlib.util.find_spec('torch') is not None
# Whole folders: their conftest.py imports torch too.
collect_ignore = [] if HAVE_TORCH else list(OFFLINE)


def pytest_report_header() -> str:
    """Say what is left out, and how to run it."""
    folders = ', '.join(f'test/{folder}' for folder in OFFLINE)
    if HAVE_TORCH:
        return f'{folders}: marked slow (torch)'
    return f'torch is not installed: {folders} are left out; make test-all runs them'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the offline parts are slow: importing torch alone takes seconds."""
    for item in items:
        if any(item.path.is_relative_to(HERE / folder) for folder in OFFLINE):
            item.add_marker(pytest.mark.slow)
