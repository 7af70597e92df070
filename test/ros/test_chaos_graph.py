"""Which process a fault of the model hits, over stand-ins for the node."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dysl_vla_ros.ros.chaos import proc
from dysl_vla_ros.ros.chaos.environment import Environment
from dysl_vla_ros.ros.chaos.graph import NODE, Graph

WITH_A_CHILD = """
import subprocess, sys, time
child = [sys.executable, '-c', 'import time; time.sleep(60)', 'policy_process']
subprocess.Popen(child)
time.sleep(60)
"""
ALONE = 'import time\ntime.sleep(60)\n'


@pytest.fixture
def graph(tmp_path):
    """A graph whose node is the program in ``node.py``."""
    package = tmp_path / 'dysl_vla_ros' / 'ros'
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / '__init__.py').write_text('')
    env = {'PYTHONPATH': str(tmp_path)}
    with Graph(Environment(sys.executable, package.parent, env), 'fake') as made:
        made.program = package / f'{NODE}.py'
        yield made


def started(graph, program):
    # What is started in the background of a shell ignores Ctrl-C; the node does not.
    heeds = 'import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n'
    graph.program.write_text(heeds + program)
    graph.start_node()
    return graph.pid(NODE)


def wait_for(condition):
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    assert condition()


def running(pid):
    try:
        return ') Z' not in Path(f'/proc/{pid}/stat').read_text()
    except OSError:
        return False


def test_the_models_process_is_the_nodes_child_and_the_node_where_it_has_none(graph):
    assert graph.model() == 0
    node = started(graph, ALONE)
    assert graph.model() == node
    node = started(graph, WITH_A_CHILD)
    wait_for(lambda: proc.model_process(node) is not None)
    assert graph.model() not in (0, node)


def test_a_model_that_was_killed_is_not_mistaken_for_the_node(graph):
    node = started(graph, WITH_A_CHILD)
    wait_for(lambda: proc.model_process(node) is not None)
    graph.send(graph.model(), signal.SIGKILL)
    wait_for(lambda: 'policy_process' not in ' '.join(proc.children(node).values()))
    assert graph.model() == 0
    graph.send(graph.model(), signal.SIGKILL)  # nobody
    assert graph.alive(NODE)


def test_only_processes_of_the_graph_get_signals(graph):
    started(graph, ALONE)
    stranger = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
    try:
        graph.send(stranger.pid, signal.SIGKILL)
        time.sleep(0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_a_process_printed_is_read_also_where_it_is_no_text(graph):
    started(graph, "import os, time\nos.write(1, b'\\xff broken')\ntime.sleep(60)\n")
    wait_for(lambda: graph.log(NODE).endswith('\ufffd broken'))


def test_the_end_leaves_no_child(graph):
    node = started(graph, WITH_A_CHILD)
    wait_for(lambda: proc.model_process(node) is not None)
    model = graph.model()
    graph.end(NODE)
    wait_for(lambda: not running(model))
    assert not graph.alive(NODE)
