"""A run of ``-m gpu`` prints a card, and ends with one line of JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gpu_card import card, document

_found: dict[str, Any] = {}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The card; nothing where GPU tests are only some of many."""
    if config.option.markexpr != 'gpu':
        return
    stats = terminalreporter.stats
    counts = {kind: len(stats.get(kind, ())) for kind in ('passed', 'failed', 'error')}
    skipped = dict.fromkeys(_reason(report) for report in stats.get('skipped', ()))
    _found.update(document(counts['passed'], counts['failed'] + counts['error'], list(skipped)))
    terminalreporter.section('GPU')
    for line in card(_found):
        terminalreporter.write_line(line)


def pytest_unconfigure() -> None:
    """The last line."""
    if _found:
        print(json.dumps(_found), flush=True)


def _reason(report: Any) -> str:
    words = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return str(words).removeprefix('Skipped: ')
