"""A dot on a sheet: tasks are won when it has been moved far enough; see doc/worlds.md."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.world import Seen


class MyWorlds:
    """Two tasks, four start states of each."""

    instructions = ('push the red cube left', 'push the red cube right')
    starts = 4

    def __init__(self, options):
        unknown = set(options) - {'metres', 'size'}
        if unknown:
            raise ConfigError('option', sorted(unknown), 'metres=M, size=PIXELS')
        self.metres = float(options.get('metres', 0.005))
        self.size = int(options.get('size', 96))

    def task(self, number):
        return Dot(self, self.instructions[number])

    def close(self):
        pass


class Dot:
    """One task."""

    limit = 24

    def __init__(self, worlds, instruction):
        self.instruction = instruction
        self._far, self._size = worlds.metres, worlds.size

    def start(self, number):
        self._begun = np.random.default_rng(number).uniform(0.0, 0.5, 3)
        self._place = self._begun

    def look(self):
        picture = np.full((self._size, self._size, 3), 200, np.uint8)
        row, column = (self._place[:2] * self._size).astype(int) % self._size
        picture[row, column] = 0
        return Seen({'image': picture}, np.concatenate((self._place, np.zeros(3))), 0.5)

    def play(self, actions):
        for count, action in enumerate(actions, start=1):
            self._place = self._place + action[:3]
            if np.abs(self._place - self._begun).max() >= self._far:
                return True, count
        return False, len(actions)
