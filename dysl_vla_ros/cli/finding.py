"""One line of what ``dysl doctor`` reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        part: What was looked at.
        state: ``ok``, ``missing`` (an optional part is not there) or ``broken``.
        found: Version, or what is wrong.
        needed_for: What does not work without it.
        fix: The command that gets or mends it; '' when nothing is to be done.
    """

    part: str
    state: str
    found: str
    needed_for: str = ''
    fix: str = ''
