"""Power mode, clocks and temperature of the board, from files of the kernel; absent is absent."""

from __future__ import annotations

from pathlib import Path

_GPU_CLOCKS = ('gpu', 'ga10b', 'gv11b', 'gp10b', '17000000')
_GPU_ZONES = ('gpu-thermal', 'gpu-therm', 'gpu_thermal')


def read(root: Path = Path('/')) -> dict[str, str]:
    """The keys of `dysl_vla: hardware` that this machine can tell.

    Args:
        root: Of the file system; another one in tests.
    """
    found: dict[str, str] = {}
    clock = _gpu_clock_hz(root)
    if clock is not None:
        found['gpu_clock_mhz'] = f'{clock / 1e6:.0f}'
    temperature = _gpu_temperature(root)
    if temperature is not None:
        found['gpu_temp_c'] = f'{temperature:.1f}'
    mode = _text(root / 'var/lib/nvpmodel/status')
    if mode:
        found['power_mode'] = mode.rpartition(':')[2].strip()
    return found


def _gpu_clock_hz(root: Path) -> float | None:
    for device in sorted((root / 'sys/class/devfreq').glob('*')):
        if any(part in device.name for part in _GPU_CLOCKS):
            return _number(device / 'cur_freq')
    return None


def _gpu_temperature(root: Path) -> float | None:
    for zone in sorted((root / 'sys/class/thermal').glob('thermal_zone*')):
        if _text(zone / 'type').lower() in _GPU_ZONES:
            milli = _number(zone / 'temp')
            return None if milli is None else milli / 1e3
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8').strip()
    except (OSError, UnicodeDecodeError):
        return ''


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None
