"""Tests that need what only ``make test-all`` installs are marked slow, or nothing runs them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import OFFLINE

HERE = Path(__file__).parent
OF_TEST_ALL = {'accelerate', 'av', 'matplotlib', 'pyarrow', 'torch'}
MARKED = {'slow', 'gpu'}


def needed(tree: ast.AST) -> set[str]:
    """Libraries without which what is below is skipped."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {str(call.args[0].value).split('.')[0] for call in calls
            if isinstance(call.func, ast.Attribute) and call.func.attr == 'importorskip'
            and isinstance(call.args[0], ast.Constant)} & OF_TEST_ALL  # fmt: skip


def marks(*nodes: ast.AST) -> set[str]:
    found = (part for node in nodes for part in ast.walk(node))
    return {part.attr for part in found if isinstance(part, ast.Attribute)} & MARKED


def unmarked(source: str) -> Iterator[str]:
    """Tests of a module that would be skipped by ``make test`` and left out by ``test-all``."""
    body = ast.parse(source).body
    tests = [node for node in body if isinstance(node, ast.FunctionDef)]
    rest = [node for node in body if node not in tests]
    of_all = [
        node
        for node in rest
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == 'pytestmark' for t in node.targets)
    ]
    if marks(*of_all):
        return
    if any(needed(node) for node in rest):
        yield 'pytestmark'
    for node in tests:
        if needed(node) and not marks(*node.decorator_list):
            yield node.name


def test_what_needs_a_library_of_the_training_is_marked_slow():
    found = [
        f'{path.relative_to(HERE)}: {name}'
        for path in HERE.rglob('test_*.py')
        if not any(path.is_relative_to(HERE / folder) for folder in OFFLINE)
        for name in unmarked(path.read_text('utf-8'))
    ]
    assert found == []


def test_one_that_is_not_is_found():
    assert list(unmarked("def test_a():\n    pytest.importorskip('av')\n")) == ['test_a']
    assert list(unmarked("pytest.importorskip('torch', reason='x')\n")) == ['pytestmark']
    assert not list(unmarked("pytestmark = pytest.mark.slow\npytest.importorskip('av')\n"))
    assert not list(unmarked("@pytest.mark.slow\ndef test_a():\n    pytest.importorskip('av')\n"))
