"""What ``--pace`` says: how deep and how often, in free and in fine motion."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dysl_vla_ros.errors import ConfigError

SIGNALS = ('never', 'continuity', 'gripper', 'either', 'still', 'distance', 'exits')
_LIMITED = ('still', 'distance', 'exits')
WORDS = (
    'SIGNAL:EXIT@LEFT/EXIT@LEFT: how passes leave and what is left of a chunk when the next one '
    'is asked for, in free and in fine motion; exit 0 is dense; SIGNAL is never, continuity, '
    'gripper, either (of these two), still<RADIANS (no joint moved further in either of the last '
    'two chunks), distance<METRES (privileged, of the tabletop) or exits>RMS (two neighbouring '
    'exits differ by more): gripper:5@0.3/8@0.7'
)
_SHAPE = re.compile(r'([a-z]+)(?:[<>]([0-9.]+))?:(\d+)@([0-9.]+)/(\d+)@([0-9.]+)')


@dataclass(frozen=True)
class Pace:
    """How passes leave, and when the next one is asked for.

    Attributes:
        exit_layer: As ``skip.exit_layer``; 0 is dense.
        left: Share of the chunk that is left when the next pass is asked for.
    """

    exit_layer: int
    left: float


@dataclass(frozen=True)
class Paces:
    """What ``--pace`` says.

    Attributes:
        signal: What tells fine from free motion.
        limit: Of ``still`` [rad], ``distance`` [m] and ``exits`` (root mean square), else 0.
        free: In free motion.
        fine: In fine motion.
    """

    signal: str
    limit: float
    free: Pace
    fine: Pace

    @classmethod
    def read(cls, text: str, layers_total: int = 10_000) -> Paces:
        """Parse ``gripper:5@0.3/8@0.7``.

        Raises:
            ConfigError: It cannot be read, or does not fit the depth.
        """
        found = _SHAPE.fullmatch(text)
        if found is None or found[1] not in SIGNALS:
            raise ConfigError('pace', text, WORDS)
        signal, limit, *numbers = found.groups()
        try:
            bound = float(limit) if limit else 0.0
            free, fine = (Pace(int(a), float(b)) for a, b in (numbers[:2], numbers[2:]))
        except ValueError:
            raise ConfigError('pace', text, WORDS) from None
        if (signal in _LIMITED) != bool(bound):
            raise ConfigError('pace', text, 'a limit with still, distance and exits, none with '
                              'others')  # fmt: skip
        for pace in (free, fine):
            if not 0.05 <= pace.left <= 0.95:
                raise ConfigError('pace', text, 'shares left within [0.05, 0.95]')
            if pace.exit_layer > layers_total - 2:
                raise ConfigError('pace', text, f'exits up to {layers_total - 2}')
        if signal == 'exits' and (free.exit_layer < 2 or 0 < fine.exit_layer <= free.exit_layer):
            raise ConfigError('pace', text, 'a free exit of 2 or more, and a deeper fine one')
        return cls(signal, bound, free, fine)
