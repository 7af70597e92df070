"""Lines of commands can be copied: nothing cuts them, and their brackets are no style."""

from __future__ import annotations

import ast
from pathlib import Path

from dysl_vla_ros.cli.output import Output

COMMANDS = Path(__file__).parents[2] / 'dysl_vla_ros/cli'


def test_a_long_path_with_brackets_is_printed_as_it_is(capsys):
    path = f'runs/[red]{"x" * 100}[/red]/policy.safetensors'
    Output(width=40).say(f'{path}: now dysl export {path} BUNDLE')
    assert capsys.readouterr().out == f'{path}: now dysl export {path} BUNDLE\n'


def test_no_command_prints_a_line_as_a_table_is_printed():
    """Such a line is cut at the width of the terminal, or at 80 columns where it is piped."""
    found = []
    for file in sorted(COMMANDS.glob('*.py')):
        source = file.read_text('utf-8')
        for call in ast.walk(ast.parse(source)):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            kept = 'soft_wrap=True' in (ast.get_source_segment(source, call) or '')
            text = [one for one in call.args if isinstance(one, (ast.JoinedStr, ast.BinOp))
                    or (isinstance(one, ast.Constant) and isinstance(one.value, str))]  # fmt: skip
            if call.func.attr == 'print' and text and not kept:
                found.append(f'{file.name}:{call.lineno}')
    assert not found, 'Output.say'
