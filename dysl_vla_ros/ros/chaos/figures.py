"""What the judge asks for, and what it found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rules:
    """What the windows must obey besides the description.

    Attributes:
        period_s: Of the commands [s].
        rest_s: A window ends within this of its start, at rest [s].
        max_lead: Farthest that the command may be from the arm [rad].
        gap_s: Without a window for so long, the next one may begin where the arm is [s].
    """

    period_s: float = 1.0 / 30.0
    rest_s: float = 0.5
    max_lead: float = 0.45
    gap_s: float = 0.25


@dataclass
class Motion:
    """What was commanded and what moved in an interval.

    Attributes:
        windows: How many of the node's own.
        commanded: Peak speed of the ideal controller [rad/s].
        commanded_share: The same as a share of the limit, of the worst joint.
        measured: Peak speed of the arm [rad/s].
        step: Largest way of the desired position within one period [rad].
        jump: Largest distance of a first point from what the window before said [rad].
        lead: Largest distance of the desired position from the arm [rad].
        problems: Sentences, each once, the worst value of each.
    """

    windows: int = 0
    commanded: float = 0.0
    commanded_share: float = 0.0
    measured: float = 0.0
    step: float = 0.0
    jump: float = 0.0
    lead: float = 0.0
    problems: dict[str, str] = field(default_factory=dict)
    _worst: dict[str, float] = field(default_factory=dict)

    def blame(self, what: str, sentence: str, amount: float = 0.0) -> None:
        """Keep the worst sentence of its kind."""
        if what not in self._worst or amount > self._worst[what]:
            self._worst[what], self.problems[what] = amount, sentence
