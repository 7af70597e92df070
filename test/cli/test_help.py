"""Every help names its defaults, has an example that is a call, and fits a terminal."""

from __future__ import annotations

import argparse
import importlib
import re
import shlex

import pytest

from dysl_vla_ros.cli.main import COMMANDS, main, module_of, parser_of, version


@pytest.mark.parametrize('command', COMMANDS)
def test_a_help_has_a_text_and_a_default_for_every_option_and_an_example(
    command, capsys, monkeypatch
):
    monkeypatch.setenv('COLUMNS', '80')
    assert main(['help', command]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    options, _, examples = text.rpartition('\nexample')
    assert options
    for action in parser_of(command)._actions:
        assert action.help, action.dest
        flag = action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction)
        if action.option_strings and not flag and not action.required:
            # Python 3.13 writes '-r, --remap NAME', what comes before it '-r NAME, --remap NAME'.
            after = re.split(rf'\n  {re.escape(action.option_strings[0])}[ ,]', options)[1]
            own = re.split(r'\n  -', after)[0]
            assert 'default' in own.lower(), own
    calls = [shlex.split(line) for line in examples.splitlines()[1:]]
    assert calls and all(call[:2] == ['dysl', command] for call in calls)
    for call in calls:
        parser_of(command).parse_args(call[2:])


@pytest.mark.parametrize('words', [['--help'], ['help'], ['-h'], ['train', 'help']])
def test_help_is_found_where_one_looks_for_it(words, capsys):
    assert main(words) == 0
    assert 'usage: dysl' in capsys.readouterr().out


def test_the_version_is_the_package_s(capsys):
    assert main(['--version']) == 0
    assert capsys.readouterr().out == f'dysl {version()}\n'


@pytest.mark.parametrize('command', COMMANDS)
def test_what_an_interruption_leaves_is_said(command, capsys, monkeypatch):
    module = importlib.import_module(module_of(command))

    def interrupted(given):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, 'run', interrupted)
    example = shlex.split(module.EXAMPLE.strip().splitlines()[0])
    assert main(example[1:]) == 130
    found = capsys.readouterr().err
    assert found.startswith(f'dysl {command}: interrupted') and len(found.splitlines()) == 1
