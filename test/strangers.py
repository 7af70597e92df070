"""A stranger's package, put on the path as pip would."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

STRANGER = Path(__file__).resolve().parent / 'stranger'
PACKAGES = ('my_vla', 'my_engine', 'my_world')


def install(place: Path, points: str = '') -> None:
    """What pip leaves in site-packages: the packages, and metadata with their entry points."""
    for package in PACKAGES:
        shutil.copytree(STRANGER / package, place / package)
    information = place / 'my_vla-1.0.dist-info'
    information.mkdir()
    (information / 'METADATA').write_text('Metadata-Version: 2.1\nName: my-vla\nVersion: 1.0\n')
    write_points(place, points or entry_points())


def write_points(place: Path, points: str) -> None:
    """Its entry points, others than before."""
    (place / 'my_vla-1.0.dist-info' / 'entry_points.txt').write_text(points)


def entry_points(group: str = '') -> str:
    """The entry points of the stranger's own pyproject.toml, as pip writes them; of a group."""
    text = (STRANGER / 'pyproject.toml').read_text()
    found = re.findall(r'^\[project\.entry-points\."(\S+)"\]\n((?:\w+ = .*\n)+)', text, re.M)
    assert len(found) == 3
    return ''.join(f'[{name}]\n{lines.replace(chr(34), "")}\n' for name, lines in found
                   if group in ('', name))  # fmt: skip


def forget(modules: dict) -> None:
    """Before the next test has a copy of its own."""
    for name in [name for name in modules if name.split('.')[0] in PACKAGES]:
        del modules[name]
