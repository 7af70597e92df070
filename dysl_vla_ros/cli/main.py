"""The console program ``dysl``; subcommands are imported only when they are called."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dysl_vla_ros.cli.calls import Parser, meant
from dysl_vla_ros.cli.failures import INTERRUPTED, WRONG_CALL, explain

COMMANDS = {
    'anchors': 'Tuned exits, shallow models, other distillations to compare with (resumes)',
    'bench': 'What a pass costs on this machine, and what skipping gains',
    'build': 'Compile a bundle for the GPU of this machine (TensorRT, or torch)',
    'calibrate': 'Choose static layers, and when to skip, from what the policy did',
    'chaos': 'Put faults into the running graph and judge what comes of them',
    'collect': 'Demonstrations or corrections as a LeRobot dataset (resumes)',
    'demo': 'Run the simulated arm and the node, live in the terminal',
    'distill': 'Adapters and controllers around a frozen checkpoint (resumes)',
    'doctor': 'Say what is installed, what is missing, and how to get it',
    'evaluate': 'Closed-loop success, depth and latency over many episodes',
    'export': 'Turn a checkpoint or a published folder into a bundle, one graph per part',
    'film': 'An episode or a recording as a video or a picture, with its layers',
    'headroom': 'How much dynamic depth could save at best, beside every fixed exit (resumes)',
    'import': 'Recorded topics, or a LeRobot set of any robot, as a set to train on',
    'inspect': 'Say what a folder is, what is supported, what is missing, what it takes',
    'recipe': 'From nothing to a bundle: every stage of the training (resumes)',
    'replay': 'Recorded observations through a policy again, and what if',
    'results': 'The page of all comparisons from committed JSON, and the runs it lacks (resumes)',
    'serve': 'A policy behind a socket, for other robots and harnesses (openpi, vla-eval)',
    'soak': 'Run the demo for a long time: memory, descriptors, threads, rate',
    'train': 'The dense policy from datasets; several GPUs by accelerate launch (resumes)',
    'verify': 'Compare an engine with FP32: every segment, and many ways through the stack',
    'view': 'A running graph in the browser: cameras, arm, layers, and the buttons that matter',
}
_HELP = ('-h', '--help', 'help')
_NO_READER = 141
"""128 + SIGPIPE: whoever read the output has left, as with ``dysl doctor | head``."""

MODULES = {'import': 'import_set'}
"""Where the command is a word of Python's own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: Command line; ``sys.argv[1:]`` by default.

    Returns:
        Exit code: 0, 1 after a failure that is explained in one line, 2 for a wrong call.
    """
    words = _without_help_verb(list(sys.argv[1:] if arguments is None else arguments))
    name = f'dysl {words[0]}' if words and words[0] in COMMANDS else 'dysl'
    kept: str | Callable[[argparse.Namespace], str] = ''
    options = frozenset[str]()
    given: argparse.Namespace | None = None
    try:
        if not words or words[0] not in COMMANDS:
            return _about(words)
        module = importlib.import_module(module_of(words[0]))
        parser = parser_of(words[0])
        options = parser.options()
        given = parser.parse_args(words[1:])
        kept = getattr(module, 'KEPT', '')
        code: int = module.run(given)
        sys.stdout.flush()
        return code
    except SystemExit as end:
        if given is None:  # of argparse: help, or a wrong call that is explained
            return end.code if isinstance(end.code, int) else WRONG_CALL
        text, code = explain(end, options)
        print(f'{name}: {text}', file=sys.stderr)
        return code
    except KeyboardInterrupt:
        told = kept(given) if given is not None and callable(kept) else kept
        print(f'{name}: interrupted{"; " if told else ""}{told}', file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NO_READER
    except Exception as error:
        text, code = explain(error, options)
        print(f'{name}: {text}', file=sys.stderr)
        return code


def parser_of(command: str) -> Parser:
    """The parser of a subcommand, with its options and its example."""
    module = importlib.import_module(module_of(command))
    parser = Parser(command, COMMANDS[command], getattr(module, 'EXAMPLE', ''))
    module.add_options(parser)
    return parser


def version() -> str:
    """Of the package; of a source tree that was never installed: unknown."""
    try:
        return importlib.metadata.version('dysl_vla_ros')
    except importlib.metadata.PackageNotFoundError:
        return 'of a source folder that is not installed'


def _without_help_verb(words: list[str]) -> list[str]:
    """``dysl help train`` and ``dysl train help`` -> ``dysl train --help``."""
    if words[:1] == ['help']:
        return [*words[1:2], '--help'] if words[1:] else ['--help']
    if len(words) == 2 and words[1] == 'help' and not Path('help').exists():
        return [words[0], '--help']
    return words


def _about(words: Sequence[str]) -> int:
    """What ``dysl`` says without a subcommand."""
    if words and words[0] in _HELP:
        _overview().print_help()
        return 0
    if words and words[0] == '--version':
        print(f'dysl {version()}')
        return 0
    if not words:
        said = f'which command? {", ".join(COMMANDS)}'
    elif words[0].startswith('-'):
        said = f'there is no option {words[0]} before a command'
        said += meant(words[0], ['--help', '--version'])
    else:
        said = f'there is no command {words[0]!r}{meant(words[0].lower(), COMMANDS)}'
    print(f'dysl: {said}; dysl --help explains each', file=sys.stderr)
    return WRONG_CALL


def _overview() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='dysl', description='Tools of dysl_vla_ros.',
        epilog='dysl COMMAND --help: its options, their defaults, and an example',
    )  # fmt: skip
    parser.add_argument('--version', action='store_true', help='say which version this is')
    chosen = parser.add_subparsers(dest='command', metavar='COMMAND')
    for name, text in COMMANDS.items():
        chosen.add_parser(name, help=text)
    return parser


def module_of(command: str) -> str:
    """Where a command's options and its work are."""
    return f'dysl_vla_ros.cli.{MODULES.get(command, command)}'


if __name__ == '__main__':
    sys.exit(main())
