"""What became of a fault, as it goes into table and report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Case:
    """What became of a fault; every field goes into the report.

    Attributes:
        outcome: ``recovered`` by itself, ``latched`` (a reset is needed), ``stopped`` (a start
            is needed), ``ended`` (a process is gone), ``refused``.
        returned: Whether an operator's requests brought the motion back.
    """

    name: str
    kind: str
    expected: str
    verdict: str = 'unclear'
    reasons: list[str] = field(default_factory=list)
    state: str = ''
    states: list[list[Any]] = field(default_factory=list)
    rest_s: float | None = None
    commanded: float = 0.0
    commanded_share: float = 0.0
    measured: float = 0.0
    step: float = 0.0
    jump: float = 0.0
    lead: float = 0.0
    windows: int = 0
    outcome: str = ''
    returned: bool | None = None
    warned: list[str] = field(default_factory=list)
    late_s: float = 0.0
    seconds: float = 0.0
    attempts: int = 1

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            key: round(value, 4) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }
