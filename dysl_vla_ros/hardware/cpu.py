"""The processor: governor, clock, temperature, and what else keeps it busy."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from dysl_vla_ros.hardware.files import Readings, known, number, scaled, text, thermal_zone

_PACKAGE_ZONES = ('x86_pkg_temp', 'cpu-thermal', 'cpu-therm', 'cpu_thermal')


def read(root: Path = Path('/')) -> Readings:
    """What Linux says of the processor.

    Args:
        root: Of the file system; another one in tests.

    Returns:
        Of ``cpu``, ``cpu_threads`` (that this process may use), ``cpu_governor``,
        ``cpu_clock_mhz`` (mean over cores), ``cpu_clock_max_mhz``, ``cpu_temp_c``,
        ``cpu_throttle_events`` (counted since boot), ``on_battery`` (``yes`` or ``no``) and
        ``load_1min`` (processes that want to run) those that can be read.
    """
    cores = sorted((root / 'sys/devices/system/cpu').glob('cpu[0-9]*'))
    clocks = [scaled(core / 'cpufreq/scaling_cur_freq', 1e-3) for core in cores]
    running = [clock for clock in clocks if clock is not None]
    governors = {text(core / 'cpufreq/scaling_governor') for core in cores} - {None}
    events = [number(core / 'thermal_throttle/core_throttle_count') for core in cores]
    counted = [int(count) for count in events if count is not None]
    limits = [scaled(core / 'cpufreq/scaling_max_freq', 1e-3) for core in cores]
    return known(
        cpu=_name(root),
        cpu_threads=_threads(),
        cpu_governor=', '.join(sorted(map(str, governors))) or None,
        cpu_clock_mhz=sum(running) / len(running) if running else None,
        cpu_clock_max_mhz=max((limit for limit in limits if limit is not None), default=None),
        cpu_temp_c=thermal_zone(root, _PACKAGE_ZONES),
        cpu_throttle_events=sum(counted) if counted else None,
        on_battery=_on_battery(root),
        load_1min=_load(root),
    )


def _name(root: Path) -> str | None:
    found = re.search(r'^model name\s*:\s*(.+)$', text(root / 'proc/cpuinfo') or '', re.MULTILINE)
    return found[1].strip() if found else platform.machine() or None


def _threads() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def _load(root: Path) -> float | None:
    words = (text(root / 'proc/loadavg') or '').split()
    try:
        return float(words[0])
    except (IndexError, ValueError):
        return None


def _on_battery(root: Path) -> str | None:
    for supply in sorted((root / 'sys/class/power_supply').glob('*')):
        if text(supply / 'type') == 'Mains':
            online = number(supply / 'online')
            return None if online is None else ('no' if online else 'yes')
    return None
