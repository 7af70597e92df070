"""Runs episode after episode by itself: tells, watches, stops, lays out the next one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim.goals import FAMILIES, Episode, Family, Split
from dysl_vla_ros.sim.request import find_episode
from dysl_vla_ros.sim.world import World

SETTLE_S = 0.5
"""The arm must have been without commands for this long before the scene changes."""
FRESH_S = 1.0
"""After a reset, before the instruction: old pictures must have left the pipeline, and an arm that
was moved in an instant is believed only after a while."""
SUCCESS_S = 0.5
"""Success counts once it has lasted this long."""

Step = Literal['idle', 'fresh', 'running', 'stopping', 'done']
Outcome = Literal['none', 'running', 'success', 'failure']


@dataclass(frozen=True)
class DirectorSettings:
    """How episodes follow each other.

    Attributes:
        first_seed: Seeds count up from here.
        families: Taken in turn.
        split: Scenes and phrasings.
        time_limit: Longest episode [s].
        instruction: One that a person gave: it is tried once, in a scene that holds it; '' = the
            episodes' own, without end.
    """

    first_seed: int = 0
    families: tuple[Family, ...] = FAMILIES
    split: Split = 'train'
    time_limit: float = 30.0
    instruction: str = ''

    def __post_init__(self) -> None:
        """Check what a user may set."""
        unknown = [family for family in self.families if family not in FAMILIES]
        if unknown or not self.families:
            raise ConfigError('episodes.families', self.families, f'some of {FAMILIES}')
        if self.first_seed < 0:
            raise ConfigError('seed', self.first_seed, 'an integer >= 0')
        if self.time_limit <= 0:
            raise ConfigError('episodes.time_limit_s', self.time_limit, 'more than 0')


class Director:
    """A state machine over a World; time is the caller's."""

    def __init__(self, world: World, settings: DirectorSettings) -> None:
        """Lay out the first episode; nothing is said yet."""
        self.world = world
        self.settings = settings
        self.episodes = 0
        self.successes = 0
        self.outcome: Outcome = 'none'
        self.last_outcome: Outcome = 'none'
        self._seed = settings.first_seed
        self._step: Step = 'idle'
        self._since = 0.0
        self._good_since: float | None = None
        self._asked: DirectorSettings | None = None
        self.episode = self._lay_out()

    @property
    def instruction(self) -> str:
        """What the policy should be told now; empty = stop."""
        return self.episode.instruction if self._step == 'running' else ''

    @property
    def seed(self) -> int:
        """Of the episode on the table."""
        return self.episode.seed

    def update(
        self, now: float, listening: bool, last_command: float | None, obeys: bool = False
    ) -> None:
        """Let the facts of this instant take effect.

        Args:
            now: Current time [s].
            listening: Whether anybody hears the instruction.
            last_command: When the last trajectory arrived; None before the first.
            obeys: Whether the policy's node says that it is under way: silence alone is no stop,
                it may be one that has stalled and will go on.
        """
        quiet = not obeys and (last_command is None or now - last_command >= SETTLE_S)
        if self._step == 'idle':
            if listening:
                self._go('fresh', now)
        elif self._step == 'fresh':
            if now - self._since >= FRESH_S:
                self._begin(now)
        elif self._step == 'running':
            self._judge(now)
        elif self._asked is not None:
            if quiet and now - self._since >= SETTLE_S:
                self._take_asked(now)
        elif self._step == 'stopping' and self.settings.instruction:
            self._go('done', now)
        elif self._step == 'stopping' and quiet and now - self._since >= SETTLE_S:
            said = self.episode.instruction
            self._seed += 1
            self.episode = self._lay_out()
            # The node starts on a new instruction only: one that was just given is passed over.
            while self.episode.instruction == said:
                self._seed += 1
                self.episode = self._lay_out()
            self._go('fresh', now)

    def skip_to(self, seed: int, now: float) -> None:
        """Lay out another episode at once; the one that was running does not count."""
        if seed < 0:
            raise ConfigError('seed', seed, 'an integer >= 0')
        self._seed = seed
        self.episode = self._lay_out()
        self._go('fresh' if self._step != 'idle' else 'idle', now)

    def ask(self, instruction: str, seed: int, now: float) -> None:
        """Next, what a person asks for: the policy is stopped first, then the scene is changed.

        Args:
            instruction: Tried once; '' goes on with the episodes' own.
            seed: Scenes are looked through from here on.
            now: Current time [s].

        Raises:
            ConfigError: Nobody could judge it; nothing is changed.
        """
        if seed < 0:
            raise ConfigError('seed', seed, 'an integer >= 0')
        if instruction:
            find_episode(instruction, seed)
        self._asked = replace(self.settings, instruction=instruction, first_seed=seed)
        if self._step == 'idle':
            self._take_asked(now)
            self._go('idle', now)
        else:
            self._go('stopping', now)

    def _take_asked(self, now: float) -> None:
        assert self._asked is not None
        self.settings, self._asked = self._asked, None
        self._seed = self.settings.first_seed
        self.episode = self._lay_out()
        self._go('fresh', now)

    def _begin(self, now: float) -> None:
        self.outcome = 'running'
        self._good_since = None
        self._go('running', now)

    def _judge(self, now: float) -> None:
        if self.world.success():
            self._good_since = self._good_since if self._good_since is not None else now
        else:
            self._good_since = None
        won = self._good_since is not None and now - self._good_since >= SUCCESS_S
        if not won and now - self._since < self.settings.time_limit:
            return
        self.episodes += 1
        self.successes += int(won)
        self.outcome = self.last_outcome = 'success' if won else 'failure'
        self._go('stopping', now)

    def _lay_out(self) -> Episode:
        if self.settings.instruction:
            made = self.world.lay_out(find_episode(self.settings.instruction, self._seed))
        else:
            families = self.settings.families
            family = families[self._seed % len(families)]
            made = self.world.reset(self._seed, family, self.settings.split)
        self.outcome = 'none'  # of this one; how the last one ended is last_outcome
        return made

    def _go(self, step: Step, now: float) -> None:
        self._step, self._since = step, now
