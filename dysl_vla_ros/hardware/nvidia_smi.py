"""An NVIDIA card in a workstation, asked through the driver's own program ``nvidia-smi``."""

from __future__ import annotations

import shutil
import subprocess

from dysl_vla_ros.hardware.files import Reading, Readings

_TEXTS = {'gpu': 'name', 'gpu_driver': 'driver_version', 'gpu_pstate': 'pstate'}
_NUMBERS = {
    'gpu_clock_mhz': 'clocks.sm',
    'gpu_clock_max_mhz': 'clocks.max.sm',
    'gpu_memory_clock_mhz': 'clocks.mem',
    'gpu_temp_c': 'temperature.gpu',
    'gpu_power_w': 'power.draw',
    'gpu_power_limit_w': 'power.limit',
}
# The field has a new name since driver 535; an unknown one makes the whole call fail.
_REASONS = ('clocks_event_reasons.active', 'clocks_throttle_reasons.active')
# Bits of nvmlClocksEventReasons that slow the card down; idle and set clocks are not among them.
_SLOWING = {
    0x04: 'power cap',
    0x08: 'hardware slowdown',
    0x20: 'software thermal',
    0x40: 'hardware thermal',
    0x80: 'power brake',
}
_TIMEOUT_S = 10.0


def read(device: int = 0) -> Readings:
    """What the driver says of one card; nothing where there is no driver.

    Returns:
        Of ``gpu``, ``gpu_driver``, ``gpu_pstate``, ``gpu_clock_mhz``, ``gpu_clock_max_mhz``,
        ``gpu_memory_clock_mhz``, ``gpu_temp_c``, ``gpu_power_w``, ``gpu_power_limit_w`` and
        ``throttled`` (``no``, or why) those that it knows.
    """
    program = shutil.which('nvidia-smi')
    if program is None:
        return {}
    for reasons in _REASONS:
        fields = [*_TEXTS.values(), *_NUMBERS.values(), reasons]
        line = _query(program, device, fields)
        if line is not None:
            return parse(line)
    return {}


def parse(line: str) -> Readings:
    """One line of the program's CSV output, without units; ``[N/A]`` and the like are absent."""
    cells = [cell.strip() for cell in line.split(',')]
    names = [*_TEXTS, *_NUMBERS, 'throttled']
    if len(cells) != len(names):
        return {}
    found: Readings = {}
    for name, cell in zip(names, cells, strict=True):
        value = _value(name, cell)
        if value is not None:
            found[name] = value
    return found


def _value(name: str, cell: str) -> Reading | None:
    if not cell or cell.startswith('['):
        return None
    if name in _TEXTS:
        return cell
    try:
        if name != 'throttled':
            return float(cell)
        bits = int(cell, 16)
    except ValueError:
        return None
    return ', '.join(word for bit, word in _SLOWING.items() if bits & bit) or 'no'


def _query(program: str, device: int, fields: list[str]) -> str | None:
    try:
        done = subprocess.run(
            [
                program,
                f'--id={device}',
                f'--query-gpu={",".join(fields)}',
                '--format=csv,noheader,nounits',
            ],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else None
