"""An NVIDIA Jetson, from files of its kernel (JetPack 5 to 7); elsewhere nothing is found.

Sources: NVIDIA's Jetson Linux developer guide, "Platform power and performance", and the kernel's
thermal and devfreq interfaces. The memory clock can be read by root only.
"""

from __future__ import annotations

import re
from pathlib import Path

from dysl_vla_ros.hardware.files import Readings, known, number, scaled, text, thermal_zone

_GPU_DEVICES = ('gpu', 'ga10b', 'gv11b', 'gp10b', '17000000')
_GPU_ZONES = ('gpu-thermal', 'gpu-therm', 'gpu_thermal')
_HOTTEST_ZONES = ('tj-thermal', 'tj-therm', 'tj_thermal')
_EMC_CLOCKS = (
    'sys/kernel/debug/bpmp/debug/clk/emc/rate',
    'sys/kernel/debug/clk/emc/clk_rate',
)


def read(root: Path = Path('/')) -> Readings:
    """What the board says.

    Args:
        root: Of the file system; another one in tests.

    Returns:
        Of ``board``, ``l4t``, ``power_mode``, ``gpu_clock_mhz``, ``gpu_clock_min_mhz``,
        ``gpu_clock_max_mhz``, ``emc_clock_mhz``, ``gpu_temp_c``, ``tj_temp_c``, ``throttled``
        (``no``, or which alerts are active) and ``overcurrent_events`` (counted since boot)
        those that can be read.
    """
    gpu = _gpu(root)
    clocks = {} if gpu is None else known(
        gpu_clock_mhz=scaled(gpu / 'cur_freq', 1e-6),
        gpu_clock_min_mhz=scaled(gpu / 'min_freq', 1e-6),
        gpu_clock_max_mhz=scaled(gpu / 'max_freq', 1e-6),
    )  # fmt: skip
    emc = [scaled(root / path, 1e-6) for path in _EMC_CLOCKS]
    return clocks | known(
        board=_board(root),
        l4t=_l4t(root),
        power_mode=_power_mode(root),
        emc_clock_mhz=next((clock for clock in emc if clock is not None), None),
        gpu_temp_c=thermal_zone(root, _GPU_ZONES),
        tj_temp_c=thermal_zone(root, _HOTTEST_ZONES),
        throttled=_throttled(root),
        overcurrent_events=_overcurrent_events(root),
    )


def _board(root: Path) -> str | None:
    model = text(root / 'proc/device-tree/model')
    return model if model is not None and 'NVIDIA' in model else None


def _l4t(root: Path) -> str | None:
    """``36.4.3`` from ``# R36 (release), REVISION: 4.3, ...``."""
    found = re.search(
        r'R(\d+) \(release\), REVISION: ([\d.]+)', text(root / 'etc/nv_tegra_release') or ''
    )
    return f'{found[1]}.{found[2]}' if found else None


def _power_mode(root: Path) -> str | None:
    """Name of the mode in ``pmode:0002 fmode:quiet``, or its number where it has no name."""
    found = re.search(r'pmode:(\d+)', text(root / 'var/lib/nvpmodel/status') or '')
    if found is None:
        return None
    mode = int(found[1])
    named = re.search(
        rf'^\s*<\s*POWER_MODEL\s+ID=0*{mode}\s+NAME=(\S+)\s*>',
        text(root / 'etc/nvpmodel.conf') or '',
        re.MULTILINE,
    )
    return named[1] if named else str(mode)


def _gpu(root: Path) -> Path | None:
    for device in sorted((root / 'sys/class/devfreq').glob('*')):
        if any(part in device.name for part in _GPU_DEVICES):
            return device
    return None


def _throttled(root: Path) -> str | None:
    """Which of the board's throttle alerts are active; None where it has none to ask."""
    active, asked = [], False
    for device in sorted((root / 'sys/class/thermal').glob('cooling_device*')):
        kind = text(device / 'type') or ''
        state = number(device / 'cur_state')
        if kind.endswith('-alert') and state is not None:
            asked = True
            if state > 0:
                active.append(kind)
    return (', '.join(active) or 'no') if asked else None


def _overcurrent_events(root: Path) -> int | None:
    counts = [
        number(path)
        for monitor in sorted((root / 'sys/class/hwmon').glob('hwmon*'))
        if text(monitor / 'name') == 'soctherm_oc'
        for path in sorted(monitor.glob('oc*_event_cnt'))
    ]
    found = [int(count) for count in counts if count is not None]
    return sum(found) if found else None
