"""Which options of ``dysl calibrate`` do something for which target: others are refused."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from dysl_vla_ros.cli.ignored import either, refuse_ignored
from dysl_vla_ros.cli.published import is_published

BUNDLE, CHECKPOINT, FOLDER = 'a bundle', 'a checkpoint', 'a published folder'
BUNDLE_BAG, CHECKPOINT_BAG = f'{BUNDLE} with --bag', f'{CHECKPOINT} with --bag'
SEEN, TOLD = f'{BUNDLE} with --observations', f'{BUNDLE} with --by-instruction'
GUIDED = f'{FOLDER} with --skipping'
WAYS = (BUNDLE, BUNDLE_BAG, SEEN, TOLD, CHECKPOINT, CHECKPOINT_BAG, FOLDER, GUIDED)

_OURS, _SCORED = WAYS[:6], (CHECKPOINT, CHECKPOINT_BAG, FOLDER)
_RECORDED = (BUNDLE, BUNDLE_BAG, CHECKPOINT, CHECKPOINT_BAG)
_PUBLISHED = (
    '--pictures', '--state', '--turned', '--no-turned', '--frames', '--shard', '--unnorm-key',
    '--cameras', '--horizon', '--prompt-tokens', '--bounds', '--libero-units',
    '--no-libero-units', '--action-space', '--period', '--proprioception', '--fingers',
    '--rotate-180', '--no-rotate-180', '--crop-area', '--option',
)  # fmt: skip
PLACES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(('--dataset', '--out', '--device'), WAYS),  # a bundle says itself why no set
    **dict.fromkeys(('--bag', '--observations', '--by-instruction'), _OURS),
    **dict.fromkeys(('--first-seed', '--time-limit', '--workers'), (BUNDLE, CHECKPOINT)),
    **dict.fromkeys(('--latency', '--compare'), (BUNDLE,)),
    **dict.fromkeys(('--weights', '--window', '--rule'), _RECORDED),
    **dict.fromkeys(('--static-share', '--tokens'), _SCORED),
    **dict.fromkeys(('--batch', '--batches'), (FOLDER,)),
    **dict.fromkeys(_PUBLISHED, (FOLDER, GUIDED)),
    '--topic': (BUNDLE_BAG, CHECKPOINT_BAG),
    '--episodes': (BUNDLE, CHECKPOINT, GUIDED),
    '--drop-rate': (*_RECORDED, GUIDED),
    '--depth': (*_RECORDED, SEEN, GUIDED),
    '--skipping': (GUIDED,),
}
"""Option -> targets, and what they are given with, for which it does something."""


def refuse_idle(given: argparse.Namespace) -> None:
    """Refuse options that would change nothing.

    Args:
        given: As ``cli.calls.Parser`` makes it; its target is there.

    Raises:
        ConfigError: Names them, and for what they do something.
    """
    way = _way(given)
    idle = [one for one in given.said if one in PLACES and way not in PLACES[one]]
    why = '; '.join(f'{one} is of {either(PLACES[one])}' for one in idle)
    refuse_ignored(given, idle, f'beside {way}', why)
    if not given.dataset:
        refuse_ignored(given, ('--static-share', '--tokens'), f'beside {way} without --dataset',
                       'layers are scored, and static ones chosen, on a set')  # fmt: skip


def what_is_kept(given: argparse.Namespace) -> str:
    """What an interruption leaves: episodes where a bundle is played, else nothing new."""
    if _way(given) in (BUNDLE, BUNDLE_BAG):
        return 'finished episodes are kept beside the report; the same command goes on'
    return f'nothing is kept, and {given.target} is as it was; the same command begins anew'


def _way(given: argparse.Namespace) -> str:
    if is_published(given.target):
        return FOLDER if given.skipping is None else GUIDED
    if not given.target.is_dir():
        return CHECKPOINT if given.bag is None else CHECKPOINT_BAG
    if given.by_instruction is not None:
        return TOLD
    if given.observations is not None:
        return SEEN
    return BUNDLE if given.bag is None else BUNDLE_BAG
