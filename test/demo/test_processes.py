"""Children of the demo: stopped and awaited, and a dead one is reported with its log."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

import pytest

from dysl_vla_ros.demo.processes import ChildError, Children


@dataclass(frozen=True)
class Script:
    """Stands for a node: python code instead of a module."""

    name: str
    code: str

    def command_line(self, python):
        return [python, '-c', self.code]


WAITS = (
    'import signal, sys, time\n'
    'signal.signal(signal.SIGINT, lambda *a: sys.exit(0))\n'
    'print("up", flush=True)\n'
    'time.sleep(60)'
)


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, 'took too long'
        time.sleep(0.02)


def test_children_get_sigint_and_are_awaited():
    with Children([Script('a', WAITS)], dict(os.environ)) as children:
        _, process, log = children._running[0]
        until(lambda: log.read_text() == 'up\n')
        children.check()
    assert process.poll() == 0
    assert children.exit_codes == {'a': 0}


def test_a_child_that_ends_is_reported_with_its_code_and_the_end_of_its_log():
    code = 'import sys; print("no such bundle"); sys.exit(3)'
    with Children([Script('vla_node', code)], dict(os.environ)) as children:
        until(lambda: children._running[0][1].poll() is not None)
        with pytest.raises(ChildError, match=r'(?s)vla_node ended with code 3.*no such bundle'):
            children.check()


def test_the_interpreter_of_the_demo_runs_the_nodes():
    code = f'import sys; sys.exit(0 if sys.executable == {sys.executable!r} else 1)'
    with Children([Script('a', code)], dict(os.environ)) as children:
        until(lambda: children._running[0][1].poll() is not None)
    assert children.exit_codes == {'a': 0}


def test_a_child_knows_whom_it_ends_with():
    code = 'import os, sys; sys.exit(os.environ["DYSL_ENDS_WITH"] != str(os.getppid()))'
    with Children([Script('a', code)], dict(os.environ)) as children:
        until(lambda: children._running[0][1].poll() is not None)
    assert children.exit_codes == {'a': 0}


@dataclass(frozen=True)
class Onlooker(Script):
    """A node whose end ends nothing, as the recorder's."""

    essential: bool = False


def test_the_end_of_an_onlooker_is_no_error_but_its_code_is_kept():
    code = 'print("no space left"); raise SystemExit(3)'
    with Children([Onlooker('a', code)], dict(os.environ)) as children:
        ((_, process, _),) = children._running
        process.wait(30)
        children.check()
    assert children.exit_codes == {'a': 3}
    assert children.reasons == {'a': '  no space left'}


def test_what_was_fatal_is_said_before_the_warnings_around_it():
    code = (
        'print("[FATAL] [1.0] [vla_node]: engine.path: no such bundle")\n'
        'for k in range(20): print(f"[WARN] [1.0] [vla_node]: late {k}")\n'
        'raise SystemExit(1)'
    )
    with Children([Script('vla_node', code)], dict(os.environ)) as children:
        until(lambda: children._running[0][1].poll() is not None)
        with pytest.raises(ChildError) as told:
            children.check()
    first, second, third, *_ = str(told.value).splitlines()
    assert first == 'vla_node ended with code 1:' and 'no such bundle' in second
    assert 'late 5' in third and str(told.value).count('no such bundle') == 1
