"""Which options of ``dysl evaluate`` are of which world, and of which modes: others are refused.

Every option stands in ``PLACES``; one that could change nothing would look like a control that
passed, or like a setting that made no difference.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field

from dysl_vla_ros.cli.ignored import either, refuse_ignored
from dysl_vla_ros.cli.values import PACKAGE
from dysl_vla_ros.lab.evaluation.modes import NOISY, SERVED, Mode

TABLETOP, LIBERO, OTHER = 'tabletop', 'libero', f'{PACKAGE}NAME'


@dataclass(frozen=True)
class Place:
    """Where an option has a meaning.

    Attributes:
        worlds: That take it.
        here: Another world -> what to do there in its place.
    """

    worlds: tuple[str, ...] = (TABLETOP, LIBERO, OTHER)
    here: Mapping[str, str] = field(default_factory=dict)


def _elsewhere(text: str) -> Mapping[str, str]:
    return {LIBERO: text, OTHER: text}


_EVERYWHERE, _DRAWN = Place(), Place((TABLETOP, LIBERO))
_LIBERO, _BENCHMARK = Place((LIBERO,)), (LIBERO, OTHER)
PLACES: Mapping[str, Place] = {
    **dict.fromkeys(('--world', '--engine', '--modes', '--exit-layer', '--tolerance',
                     '--deer-ratio', '--pace', '--random-depth', '--workers', '--keep',
                     '--json'), _EVERYWHERE),
    **dict.fromkeys(('--videos', '--video-of', '--video-limit', '--video-kind'), _DRAWN),
    **dict.fromkeys(('--links', '--noise', '--skip-rule', '--tau', '--params-file', '--plot',
                     '--split'), Place((TABLETOP,))),
    '--episodes': Place((TABLETOP,), _elsewhere('--starts')),
    '--families': Place((TABLETOP,), _elsewhere('--tasks')),
    '--first-seed': Place((TABLETOP,), {LIBERO: '--first-start'}),
    '--latency': Place((TABLETOP,), _elsewhere('none: it waits while the policy computes')),
    '--time-limit': Place((TABLETOP,), _elsewhere('none: each task has its own')),
    '--probe': Place((TABLETOP,), _elsewhere('--control other_words or blank')),
    '--suite': _LIBERO,
    '--thin': _LIBERO,
    '--first-start': Place((LIBERO,), {TABLETOP: '--first-seed'}),
    '--tasks': Place(_BENCHMARK, {TABLETOP: '--families'}),
    '--starts': Place(_BENCHMARK, {TABLETOP: '--episodes'}),
    '--control': Place(_BENCHMARK, {TABLETOP: '--probe shuffled_instruction or blank_image'}),
    '--replan': Place(_BENCHMARK, {TABLETOP: 'timing.request_threshold in --params-file'}),
    '--observations': Place(_BENCHMARK),
    '--option': Place((OTHER,)),
}  # fmt: skip

_GUIDED: tuple[Mode, ...] = ('auto', 'no_rerun', *SERVED)
OF_MODES: Mapping[str, tuple[Mode, ...]] = {
    '--exit-layer': ('fixed',), '--tolerance': ('oracle',), '--deer-ratio': ('deer',),
    '--links': SERVED, '--noise': tuple(NOISY), '--pace': ('paced',),
    '--random-depth': ('random',), '--observations': ('deer',), '--skip-rule': _GUIDED,
    '--tau': (*_GUIDED, 'ceil', 'level', 'printed', 'max_skip', 'no_pre_skip', 'closed',
              'static_only', 'random', 'paced'),
}  # fmt: skip
"""Option -> modes of which one must be played for it to change anything."""


def refuse_idle(given: argparse.Namespace) -> None:
    """Refuse options that would change nothing in this world, or with these modes.

    Args:
        given: As ``cli.calls.Parser`` makes it.

    Raises:
        ConfigError: Names them, and the worlds or modes that take them.
    """
    world = OTHER if given.world.startswith(PACKAGE) else given.world
    idle = [one for one in given.said if one in PLACES and world not in PLACES[one].worlds]
    why = '; '.join(_whose(one, world) for one in idle)
    refuse_ignored(given, idle, f'beside --world {given.world}', why)
    idle = [
        one for one in given.said if not set(OF_MODES.get(one, given.modes)) & set(given.modes)
    ]
    why = '; '.join(f'{one} is of mode {either(OF_MODES[one])}' for one in idle)
    refuse_ignored(given, idle, f'beside --modes {" ".join(given.modes)}', why)


def _whose(option: str, world: str) -> str:
    place = PLACES[option]
    text = f'{option} is of --world {either(place.worlds)}'
    return text if world not in place.here else f'{text}, here {place.here[world]}'
