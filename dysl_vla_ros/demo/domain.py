"""A ROS domain that no other run on this machine uses at the same time."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import IO

from dysl_vla_ros.errors import DyslError

DOMAINS = range(1, 100)
"""Above 101 the ports of a domain collide with those Linux gives to ordinary sockets."""


_PORTS, _PORTS_PER_DOMAIN, _UNICAST, _PARTICIPANTS = 7400, 250, 10, 10
"""Where participants of a domain listen, by the RTPS standard (9.6.1): one for multicast, then two
for each participant of a machine; as many as are looked for here."""


class ReservedDomain:
    """Holds one domain until the process ends, by a file lock: nothing to clean up.

    Nobody on this machine listens in it: a robot's drivers do not know of our locks.

    Attributes:
        number: The ROS domain id.
    """

    def __init__(self) -> None:
        """Take the first free one, beginning at a place that depends on the process.

        Raises:
            DyslError: All are taken.
        """
        start = os.getpid() % len(DOMAINS)
        for domain in (*DOMAINS[start:], *DOMAINS[:start]):
            file = _locked(_lock_of(domain)) if is_quiet(domain) else None
            if file is not None:
                self._file, self.number = file, domain
                return
        raise DyslError(
            f'all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are in use; set ROS_DOMAIN_ID'
        )


def is_reserved(domain: int) -> bool:
    """Whether a run of ours, this one or another, holds it."""
    path = _lock_of(domain)
    if not path.is_file():
        return False
    file = _locked(path)
    if file is None:
        return True
    file.close()
    return False


def is_quiet(domain: int) -> bool:
    """Whether no participant of it listens on this machine."""
    first = _PORTS + _PORTS_PER_DOMAIN * domain
    ports = (first, *(first + _UNICAST + 2 * number for number in range(_PARTICIPANTS)))
    return all(_is_free(port) for port in ports)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _lock_of(domain: int) -> Path:
    return Path(tempfile.gettempdir()) / f'dysl_vla_ros_domain_{domain}.lock'


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
