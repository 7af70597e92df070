"""The keys of the status `hardware` that this machine can tell; absent is absent.

Only files are read: the diagnostics come once a second, beside the control thread.
"""

from __future__ import annotations

from pathlib import Path

from dysl_vla_ros.hardware import jetson

_FORMATS = {'power_mode': '{}', 'gpu_clock_mhz': '{:.0f}', 'gpu_temp_c': '{:.1f}',
            'throttled': '{}'}  # fmt: skip


def read(root: Path = Path('/')) -> dict[str, str]:
    """Power mode, clock, temperature and throttling as text.

    Args:
        root: Of the file system; another one in tests.
    """
    found = jetson.read(root)
    return {key: form.format(found[key]) for key, form in _FORMATS.items() if key in found}
