"""A link to a policy server as bad as one likes, in simulated time: for evaluations.

The server, the sockets and the policies at both ends are the real ones; what is made up is how
long an answer takes, and that some never come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from dysl_vla_ros.errors import ConfigError, LinkError

_WAIT_S = 60.0


@dataclass(frozen=True)
class Weather:
    """How good a link is.

    Attributes:
        delay: Added to every answer [s].
        unanswered: Share of the requests that are never answered.
        cut: Share of the requests during which the connection is cut.
        down: From when on nothing gets through [s]; infinity for never.
    """

    delay: float = 0.0
    unanswered: float = 0.0
    cut: float = 0.0
    down: float = float('inf')

    @classmethod
    def read(cls, text: str) -> Weather:
        """From ``'0.3'`` or ``'0.1,unanswered=0.05'``.

        Raises:
            ConfigError: It says something else.
        """
        found: dict[str, float] = {}
        known = [item.name for item in fields(cls)]
        for part in text.split(','):
            name, equals, number = part.partition('=')
            name, number = (name, number) if equals else ('delay', part)
            try:
                value = float(number)
            except ValueError:
                value = -1.0
            most = {'delay': 10.0, 'down': 3600.0}.get(name, 1.0)
            if name not in known or name in found or not 0 <= value <= most:
                raise ConfigError('links', text, 'a delay in seconds, then any of unanswered=SHARE'
                                  ', cut=SHARE, down=SECONDS, with commas between')  # fmt: skip
            found[name] = value
        return cls(**found)


class WeatherLink:
    """``Link``, with what the weather makes of each request.

    Attributes:
        lost: Requests that got no answer.
    """

    def __init__(self, link: Any, weather: Weather, seed: int, now: Callable[[], float]) -> None:
        """Wrap a link.

        Args:
            link: Connected.
            weather: How good it is said to be.
            seed: Of what happens to which request.
            now: Simulated time [s].
        """
        self._link, self._weather, self._now = link, weather, now
        self._chance = np.random.default_rng(seed)
        self._spent = 0.0
        self.lost = 0
        self.address = link.address

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._now() < self._weather.down

    def report(self) -> dict[str, str | float]:
        """As ``Link.report``."""
        found: dict[str, str | float] = self._link.report()
        return found if self.up else {**found, 'state': 'down: so it was said'}

    def ask(self, request: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
        """As ``Link.ask``; how long it took in simulated time is there to ``take``.

        Raises:
            LinkError: No answer within the deadline.
        """
        weather = self._weather
        unanswered, first, second = self._chance.random(3)
        tries = 1 + int(first < weather.cut)
        broken = first < weather.cut and second < weather.cut
        seconds = tries * weather.delay
        if not self.up or unanswered < weather.unanswered or seconds > deadline_s or broken:
            self._spent += min(seconds, deadline_s) if broken else deadline_s
            self.lost += 1
            raise LinkError(f'no answer of {self.address.url} within {deadline_s:g} s')
        answer: dict[str, Any] = self._link.ask(request, _WAIT_S)
        self._spent += seconds
        return answer

    def take(self) -> float:
        """Seconds that requests took since the last call."""
        spent, self._spent = self._spent, 0.0
        return spent

    def close(self) -> None:
        """The link is another's."""
