"""Small files of the kernel; one that is missing, unreadable or not a number is None, never 0."""

from __future__ import annotations

from pathlib import Path

Reading = str | float | int
Readings = dict[str, Reading]


def text(path: Path) -> str | None:
    """Content without surrounding blanks and NUL bytes; None when there is none."""
    try:
        found = path.read_text(encoding='utf-8', errors='replace').strip(' \t\r\n\0')
    except OSError:
        return None
    return found or None


def number(path: Path) -> float | None:
    """Content as a number; None when it is none."""
    found = text(path)
    if found is None:
        return None
    try:
        return float(found)
    except ValueError:
        return None


def scaled(path: Path, factor: float) -> float | None:
    """Content times a factor, for units; None when it is no number."""
    found = number(path)
    return None if found is None else found * factor


def known(**values: Reading | None) -> Readings:
    """The values that could be read."""
    return {name: value for name, value in values.items() if value is not None}


def thermal_zone(root: Path, kinds: tuple[str, ...]) -> float | None:
    """Temperature of the first zone of one of these types [degrees Celsius].

    Args:
        root: Of the file system.
        kinds: Zone types in lower case.
    """
    for zone in sorted((root / 'sys/class/thermal').glob('thermal_zone*')):
        if (text(zone / 'type') or '').lower() in kinds:
            return scaled(zone / 'temp', 1e-3)
    return None
