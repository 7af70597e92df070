"""How ``dysl`` reads a command line: a wrong call is one line, the help names every default."""

from __future__ import annotations

import argparse
import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

_KINDS = {'int': 'a whole number', 'float': 'a number', 'Path': 'a path'}
_LONGEST_CHOICES = 30
_FLAGS = (argparse.BooleanOptionalAction, argparse._StoreTrueAction, argparse._HelpAction)


def _path(text: str) -> Path:
    """An empty text, as of a variable that is not set, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("'': expected a path; . is the current folder")
    return Path(text)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a call, and what was probably meant."""

    def __init__(self, command: str, text: str, example: str = '') -> None:
        """Prepare.

        Args:
            command: Name of the subcommand.
            text: What it does.
            example: Calls that do something, one a line.
        """
        calls = [f'  {line.strip()}' for line in example.splitlines() if line.strip()]
        title = 'example:' if len(calls) == 1 else 'examples:'
        super().__init__(
            prog=f'dysl {command}', description=text, formatter_class=_Help, allow_abbrev=False,
            epilog='\n'.join([title, *calls]) if calls else None,
        )  # fmt: skip
        self.register('type', Path, _path)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; ``said`` are the options that the call has, with what was typed."""
        words = sys.argv[1:] if args is None else list(args)
        given = super().parse_args(words, namespace)
        self._refuse_empty(words)
        given.said = self._said(words)
        return given

    def _said(self, words: list[str]) -> dict[str, str]:
        """Option -> its words, as they were typed; of a flag there are none."""
        found: dict[str, list[str]] = {}
        option, left = '', 0.0
        for word in words:
            name, equals, value = word.partition('=')
            if name in self._option_string_actions:
                nargs = self._option_string_actions[name].nargs
                left = 1 if nargs is None else nargs if isinstance(nargs, int) else math.inf
                option, found[name] = name, [value] * bool(equals)
                left -= bool(equals)
            elif left > 0:
                found[option].append(word)
                left -= 1
        return {option: ' '.join(said) for option, said in found.items()}

    def _refuse_empty(self, words: list[str]) -> None:
        """An empty text, as of a variable that is not set, would quietly be the default."""
        for before, word in zip(['', *words], words, strict=False):
            option, equals, value = word.partition('=')
            if word and (option not in self._option_string_actions or not equals or value):
                continue
            name = option or (before if before in self._option_string_actions else '')
            way = f', or {name} left away for its default' if name else ''
            self.error(f"{name or 'an argument'} = '': expected a text{way}")

    def options(self) -> frozenset[str]:
        """Every option, as it is written."""
        return frozenset(self._option_string_actions)

    def format_usage(self) -> str:
        """What must be given; the options are listed below it."""
        return f'usage: {self._call()}\n'

    def format_help(self) -> str:
        """The help, with the short usage."""
        self.usage = self._call().replace('%', '%%')
        return super().format_help()

    def _call(self) -> str:
        must = [_placeholder(action) for action in self._actions
                if action.required or not action.option_strings]  # fmt: skip
        return ' '.join([self.prog, '[OPTION ...]', *must])

    def error(self, message: str) -> NoReturn:
        """Leave with code 2 and one line."""
        print(f'{self.prog}: {self._told(message)}', file=sys.stderr)
        sys.exit(2)

    def _told(self, message: str) -> str:
        more = f'; {self.prog} --help says what it takes'
        required = re.fullmatch(r'the following arguments are required: (.*)', message)
        if required:
            return f'{required[1]} {"are" if "," in required[1] else "is"} missing{more}'
        stray = re.fullmatch(r'unrecognized arguments: (.*)', message)
        if stray:
            return self._stray(stray[1].split(' ')[0]) + more
        about = re.fullmatch(r'argument ([^:]+): (.*)', message, re.DOTALL)
        if about is None:
            return message + more
        name, said = about[1].split('/')[-1], about[2]
        kind = re.fullmatch(r"invalid (\w+) value: ('.*'|\".*\")", said, re.DOTALL)
        if kind:
            return f'{name} = {kind[2]}: expected {_KINDS.get(kind[1], kind[1])}{more}'
        if re.match(r"['\"].*: expected ", said, re.DOTALL):
            return f'{name} = {said}{more}'
        return f'{name}: {said}{more}'

    def _stray(self, word: str) -> str:
        if not word.startswith('-'):
            return f'{word!r} is one argument too many'
        option = word.partition('=')[0]
        known = [name for name in self._option_string_actions if name.startswith('--')]
        return f'there is no option {option}{meant(option, known)}'

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        # A default is not checked: '' stands for "not given" and is no choice to name.
        choices = [str(choice) for choice in action.choices if choice != '']
        raise argparse.ArgumentError(
            action, f'{value!r}: expected one of {", ".join(choices)}'
            + meant(str(value), choices)
        )  # fmt: skip


def meant(word: str, known: Iterable[str]) -> str:
    """', did you mean X?' of the nearest names; '' where none is near."""
    near = get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f': did you mean {" or ".join(near)}?' if near else ''


class _Help(argparse.RawDescriptionHelpFormatter):
    """Names the default of each option whose text does not; long choices stand in the text."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return '\n'.join(
            line if line.startswith('  ') else textwrap.fill(line, width, initial_indent=indent,
                                                             subsequent_indent=indent)
            for line in text.splitlines()
        )  # fmt: skip

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return action.dest.upper()

    def _metavar_formatter(
        self, action: argparse.Action, default_metavar: str
    ) -> Callable[[int], tuple[str, ...]]:
        if action.metavar is None and len(_choices(action)) > _LONGEST_CHOICES:
            return lambda size: (default_metavar,) * size
        return super()._metavar_formatter(action, default_metavar)

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or '', action.default
        if action.metavar is None and len(_choices(action)) > _LONGEST_CHOICES:
            named = all(str(choice) in text for choice in action.choices or ())
            text = text if named else f'{text}; one of {_choices(action)}'
        if isinstance(action, _FLAGS) or not action.option_strings or action.required:
            return text
        if 'default' in text.lower() or default == argparse.SUPPRESS:
            return text
        several = isinstance(default, (list, tuple))
        shown = ' '.join(map(str, default)) if several else '' if default is None else str(default)
        return f'{text} (default: {shown or "none"})'


def _choices(action: argparse.Action) -> str:
    return ', '.join(str(choice) for choice in action.choices or () if choice != '')


def _placeholder(action: argparse.Action) -> str:
    shown = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.option_strings:
        shown = f'{action.option_strings[-1]} {shown}'
    several = {'*': f'[{shown} ...]', '+': f'{shown} ...', '?': f'[{shown}]'}
    return several.get(str(action.nargs), shown)
