"""Which options of ``dysl recipe`` act in which world, and from which stage on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from dysl_vla_ros.cli.ignored import refuse_ignored
from dysl_vla_ros.errors import ConfigError

STAGES = ('demonstrations', 'dense', 'dagger', 'policy', 'bundle')
_ROUND = ('--round-seconds', '--round-episodes')
FIRST: Mapping[str, str] = {
    **dict.fromkeys(('--preset', '--world', '--suite', '--episodes', '--folder', '--results',
                     '--workers', '--device', '--until', '--collect-seconds'), 'demonstrations'),
    **dict.fromkeys(('--steps', '--precision', '--start', '--train-seconds', '--seed'), 'dense'),
    **dict.fromkeys(('--rounds', *_ROUND), 'dagger'),
}  # fmt: skip
"""Option -> first stage that it changes; the demonstrations of LIBERO know no ``--seed``."""


def refuse_idle(given: argparse.Namespace) -> None:
    """Refuse options that would change nothing in this world, or before the last stage.

    Args:
        given: As ``cli.calls.Parser`` makes it.

    Raises:
        ConfigError: Names them, and what they need.
    """
    if given.world == 'libero':
        refuse_ignored(given, ('--start', '--collect-seconds'), 'beside --world libero',
                       'its demonstrations are counted (--episodes), and its first training '
                       'begins with nothing')  # fmt: skip
    else:
        refuse_ignored(given, ('--suite', '--episodes', '--steps'), 'beside --world tabletop',
                       'they are of LIBERO; limits are --collect-seconds and --train-seconds'
                       )  # fmt: skip
        if given.until == 'demonstrations':
            raise ConfigError('until', given.until, 'dense, dagger, policy or bundle; the '
                              'demonstrations alone: dysl collect')  # fmt: skip
    last = STAGES.index(given.until)
    idle = [one for one in given.said if STAGES.index(FIRST.get(one, STAGES[0])) > last]
    why = '; '.join(f'{one} acts from --until {FIRST[one]} on' for one in idle)
    refuse_ignored(given, idle, f'beside --until {given.until}', why)
    if given.rounds == 0:
        refuse_ignored(given, _ROUND, 'beside --rounds 0', 'there is no round')
    if given.start is not None:
        _beside_start(given)


def _beside_start(given: argparse.Namespace) -> None:
    refuse_ignored(given, ('--train-seconds',), 'beside --start', 'it takes the place of the '
                   'first training')  # fmt: skip
    trains = given.until in STAGES[3:] or (given.until == 'dagger' and given.rounds != 0)
    if not trains and not given.start.expanduser().is_dir():
        refuse_ignored(given, ('--collect-seconds', '--precision'), 'beside --start CHECKPOINT '
                       f'and --until {given.until}', 'nothing is collected or trained'
                       )  # fmt: skip
