"""A ROS domain that no other run on this machine uses at the same time."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

from dysl_vla_ros.errors import DyslError

DOMAINS = range(1, 100)
"""Above 101 the ports of a domain collide with those Linux gives to ordinary sockets."""


class ReservedDomain:
    """Holds one domain until the process ends, by a file lock: nothing to clean up.

    Attributes:
        number: The ROS domain id.
    """

    def __init__(self) -> None:
        """Take the first free one, beginning at a place that depends on the process.

        Raises:
            DyslError: All are taken.
        """
        folder = Path(tempfile.gettempdir())
        start = os.getpid() % len(DOMAINS)
        for domain in (*DOMAINS[start:], *DOMAINS[:start]):
            file = _locked(folder / f'dysl_vla_ros_domain_{domain}.lock')
            if file is not None:
                self._file, self.number = file, domain
                return
        raise DyslError(
            f'all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are in use; set ROS_DOMAIN_ID'
        )


def _locked(path: Path) -> IO[str] | None:
    try:
        file = path.open('a', encoding='utf-8')
    except OSError:  # another user's
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
