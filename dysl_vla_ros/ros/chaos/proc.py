"""What /proc says about a process and its children."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path('/proc')


@dataclass(frozen=True)
class Usage:
    """Of one process at one instant.

    Attributes:
        rss_mb: Resident memory [MB].
        descriptors: Open file descriptors.
        threads: Threads.
    """

    rss_mb: float
    descriptors: int
    threads: int


def usage(pid: int) -> Usage | None:
    """What the process uses, or None when it is not there (any more)."""
    try:
        text = (_PROC / str(pid) / 'status').read_text()
        descriptors = len(os.listdir(_PROC / str(pid) / 'fd'))
    except OSError:
        return None
    fields = dict(line.split(':', 1) for line in text.splitlines() if ':' in line)
    if 'VmRSS' not in fields:  # a zombie
        return None
    return Usage(int(fields['VmRSS'].split()[0]) / 1024.0, descriptors, int(fields['Threads']))


def children(pid: int) -> dict[int, str]:
    """Direct children of a process: process id -> command line."""
    found = {}
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / 'stat').read_text()
            words = (folder / 'cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
        except OSError:
            continue
        # The name in parentheses may hold anything; the parent is the second field after it.
        if int(stat.rpartition(')')[2].split()[1]) == pid:
            found[int(folder.name)] = words.strip()
    return found


def model_process(node: int) -> int | None:
    """The node's child that runs the model, or None when the node has none."""
    for pid, words in children(node).items():
        if 'policy_process' in words:
            return pid
    return None
