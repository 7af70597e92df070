"""How a process ended, in words."""

from __future__ import annotations

import signal

OUT_OF_MEMORY = 12  # ENOMEM
NONSENSE = 13
_WORDS = {
    0: 'ended by itself',
    OUT_OF_MEMORY: 'ran out of memory',
    NONSENSE: 'was asked what it does not understand: are two releases installed?',
}


def describe_exit(code: int) -> str:
    """``'died of SIGSEGV'``, ``'ended with exit code 3'``.

    Args:
        code: As ``subprocess`` gives it: minus the signal, or the exit code.
    """
    if code >= 0:
        return _WORDS.get(code, f'ended with exit code {code}')
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f'signal {-code}'
    if name == 'SIGKILL':
        return 'died of SIGKILL (out of memory, or somebody killed it)'
    return f'died of {name}'
