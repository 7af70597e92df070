"""The whole machine at one moment, and what changed between two of them.

A latency without power mode, clock and temperature beside it cannot be compared with another.
"""

from __future__ import annotations

from pathlib import Path

from dysl_vla_ros.hardware import cpu, jetson, nvidia_smi
from dysl_vla_ros.hardware.files import Readings

_COUNTERS = {
    'overcurrent_events': 'over-current events',
    'cpu_throttle_events': 'thermal throttle events of the processor',
}


def read(root: Path = Path('/')) -> Readings:
    """Everything that can be read; takes up to a second where ``nvidia-smi`` is asked.

    Args:
        root: Of the file system; another one in tests, where no program is asked.
    """
    card = nvidia_smi.read() if root == Path('/') else {}
    return {**cpu.read(root), **card, **jetson.read(root)}


def slowdowns(before: Readings, after: Readings) -> list[str]:
    """Sentences about what slowed the machine between two readings; empty when nothing did.

    Args:
        before: From ``read``.
        after: Read later on the same machine.
    """
    found = []
    for when, readings in (('before', before), ('after', after)):
        reason = readings.get('throttled', 'no')
        if reason != 'no':
            found.append(f'throttled {when} the run: {reason}')
    for key, words in _COUNTERS.items():
        first, last = before.get(key), after.get(key)
        if isinstance(first, int) and isinstance(last, int) and last > first:
            found.append(f'{last - first} {words} during the run')
    load, threads = before.get('load_1min'), before.get('cpu_threads')
    if isinstance(load, float) and isinstance(threads, int) and load > threads:
        found.append(f'other programs were running: load {load:.1f} on {threads} CPU threads')
    for readings in (before, after):
        if readings.get('on_battery') == 'yes':
            found.append('on battery')
            break
    return found
