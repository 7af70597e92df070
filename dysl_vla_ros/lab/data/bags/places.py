"""The files of a bag: a file, or a folder, with or without its ``metadata.yaml``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from dysl_vla_ros.bundle.git_lfs import pointer_words
from dysl_vla_ros.lab.data.bags.records import unreadable

METADATA = 'metadata.yaml'
NO_METADATA = (f'no {METADATA}: the recorder was ended before it wrote it; the files are read '
               'without (ros2 bag reindex writes a new one)')  # fmt: skip
ENDINGS = ('.mcap', '.db3')
PACKED = '.zstd'
_EXPECTED = 'an .mcap or .db3 file that ros2 bag record wrote, or the folder with them'


def bag_files(path: Path) -> tuple[list[Path], list[str]]:
    """The files of a bag in the order of recording, and what is wrong but was worked around.

    Args:
        path: The folder that ``ros2 bag record`` made, one of its files, or its metadata.yaml.

    Raises:
        ConfigError: There is no file of a recording; says what there is, and what to do.
    """
    if path.name == METADATA:
        path = path.parent
    if path.is_dir():
        files, notes = _in_folder(path)
    elif path.is_file():
        files, notes = [path], []
    else:
        raise unreadable(path, 'no such file or folder', _EXPECTED)
    for file in files:
        if words := pointer_words(file):
            raise unreadable(file, 'a pointer', f'the recording itself: {words}')
        if file.suffix == '.bag':
            raise unreadable(file, 'a bag of ROS 1', 'one of ROS 2: pip install rosbags; '
                             f'rosbags-convert --src {file.name} --dst {file.stem}')  # fmt: skip
    whole = [file for file in files if file.stat().st_size]
    if not whole:
        raise unreadable(path, 'a file of 0 bytes: the recorder was ended before it wrote, or '
                         'the disk was full', _EXPECTED)  # fmt: skip
    notes += [f'{file.name}: 0 bytes, left out' for file in files if file not in whole]
    return whole, notes


def _in_folder(folder: Path) -> tuple[list[Path], list[str]]:
    there = _without_packed_twins(
        sorted((file for file in folder.iterdir() if _stored(file)), key=_natural)
    )
    listed, notes = _listed(folder)
    if not there:
        below = sorted(
            {str(file.parent.relative_to(folder)) for ending in ENDINGS
             for file in folder.glob(f'*/*{ending}*')})  # fmt: skip
        old = next(folder.glob('*.bag'), None)
        if old is not None:
            return [old], notes
        if below:
            raise unreadable(folder, f'{len(below)} bags below it', 'one bag: ' +
                             ', '.join(below[:8]))  # fmt: skip
        told = f'{METADATA} names {", ".join(listed)}, which is not there: ' if listed else ''
        raise unreadable(folder, f'{told}no .mcap and no .db3 in it', _EXPECTED)
    kinds = {ending for ending in ENDINGS for file in there if ending in file.suffixes}
    if len(kinds) > 1 and not listed:
        raise unreadable(folder, f'.mcap and .db3 files: {", ".join(f.name for f in there)}',
                         'one recording: name one file')  # fmt: skip
    if listed:
        kinds = {ending for ending in kinds if any(ending in name for name in listed)}
        there = [file for file in there if not kinds or {*file.suffixes} & kinds]
    names = {file.name for file in there} | {file.name + PACKED for file in there}
    names |= {file.name.removesuffix(PACKED) for file in there}
    gone = [name for name in listed if name not in names]
    if gone:
        notes.append(f'{len(gone)} of {len(listed)} files that {METADATA} names are not there: '
                     f'{", ".join(gone[:4])}; the rest is read')  # fmt: skip
    order = {name: place for place, name in enumerate(listed)}
    last = len(order)
    there.sort(key=lambda file: (order.get(file.name, order.get(
        file.name.removesuffix(PACKED), last)), _natural(file)))  # fmt: skip
    return there, notes


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the files in metadata.yaml, which a killed recorder never wrote."""
    path = folder / METADATA
    if not path.is_file():
        return [], [NO_METADATA]
    try:
        document = yaml.safe_load(path.read_text('utf-8', 'replace'))
        names = document['rosbag2_bagfile_information']['relative_file_paths']
        return [Path(str(name)).name for name in names], []
    except (yaml.YAMLError, TypeError, KeyError):
        return [], [f'{METADATA} cannot be read; the files are read without (ros2 bag reindex '
                    'writes a new one)']  # fmt: skip


def _stored(file: Path) -> bool:
    return file.is_file() and file.name.removesuffix(PACKED).endswith(ENDINGS)


def _without_packed_twins(files: Sequence[Path]) -> list[Path]:
    """A recorder that is killed while it compresses a file leaves both."""
    names = {file.name for file in files}
    return [
        file
        for file in files
        if not (file.name.endswith(PACKED) and file.name.removesuffix(PACKED) in names)
    ]


def _natural(file: Path) -> list[tuple[int, str]]:
    """So that ``bag_10`` comes after ``bag_9``."""
    return [(int(part), '') if part.isdigit() else (-1, part)
            for part in re.split(r'(\d+)', file.name)]  # fmt: skip
