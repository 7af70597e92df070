"""The commands of doc/orin.md are commands that exist, with options that exist."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from dysl_vla_ros import bringup
from dysl_vla_ros.cli.main import COMMANDS

PAGE = (Path(__file__).resolve().parents[2] / 'doc' / 'orin.md').read_text(encoding='utf-8')
BLOCKS = [block.replace('\\\n', ' ') for block in re.findall(r'```\n(.*?)```', PAGE, re.DOTALL)]
LINES = [line.split(' #')[0].strip() for block in BLOCKS for line in block.splitlines()]
INLINE = re.findall(r'`(dysl [^`]+)`', PAGE)
DYSL = [line for line in LINES + INLINE if line.startswith('dysl ')]


@pytest.mark.parametrize('line', DYSL)
def test_a_command_of_the_page_parses(line):
    command, *words = shlex.split(line)[1:]
    assert command in COMMANDS
    if line in INLINE and command in ('build', 'export') and words[:1] != ['bundle']:
        words = ['checkpoint', 'bundle', *words] if command == 'export' else ['bundle', *words]
    parser = argparse.ArgumentParser(exit_on_error=False)
    importlib.import_module(f'dysl_vla_ros.cli.{command}').add_options(parser)
    if '--help' not in words:
        parser.parse_args(words)


def test_the_page_shows_every_step_from_build_to_bench():
    shown = {line.split()[1] for line in DYSL}
    assert {'doctor', 'export', 'build', 'verify', 'bench'} <= shown


def test_the_launch_command_has_arguments_that_exist():
    (line,) = [line for line in LINES if line.startswith('ros2 launch')]
    words = [word.partition(':=') for word in line.split()[4:]]
    assert words
    bringup.check({name: value for name, _, value in words})


def test_the_page_says_that_it_was_not_run_on_a_board():
    assert 'Nothing on this page was run on a board' in PAGE
