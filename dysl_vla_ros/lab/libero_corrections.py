"""Corrections of a LIBERO policy: it leads the arm somewhere, and the expert goes on from there.

DAgger by handing over (Kelly et al., arXiv 1810.02890, with a script for the human): what is kept
begins where the policy's own motion led, so the labels are the expert's next actions, as in a
demonstration. The policy leads for a time that is drawn, or until it stands still, which is how a
lost episode ends. What it wins before that, and what the expert cannot win any more, is not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dysl_vla_ros.bundle.folder import open_bundle
from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.lab.data.libero import HORIZON, LiberoCollect, collect_libero
from dysl_vla_ros.lab.evaluation.libero import LiberoTask
from dysl_vla_ros.lab.evaluation.modes import Row, mode_config
from dysl_vla_ros.lab.evaluation.world import Seen, play_episode
from dysl_vla_ros.lab.worlds.libero.client import LiberoClient
from dysl_vla_ros.policy import Policy, open_policy

FIRST_SEED = 100_000
"""Starts that are drawn from here on are of corrections; no evaluation uses them."""
_LONGEST = 0.6
"""Of the step limit: for how long at most the policy leads."""
_STILL_RAD, _STILL_OPENING, _STILL_LOOKS = 0.02, 0.02, 2


def correct_libero(
    folder: Path, bundle: Path, settings: LiberoCollect,
    progress: Callable[[int, int], None] | None = None, replan: int = 8,
) -> int:  # fmt: skip
    """Collect what is not there yet; what was interrupted is gone on with.

    Args:
        folder: Of these corrections; laid out as demonstrations are.
        bundle: Of the policy, which runs in full.
        settings: What to collect; its first seed should be ``FIRST_SEED`` or later.
        progress: Called with episodes there and wanted.
        replan: Actions of each chunk that the policy plays.

    Returns:
        Episodes that are there.

    Raises:
        ConfigError: LIBERO is not installed, or the folder holds something else.
    """
    digest = open_bundle(bundle).manifest.model_digest[:12]

    def stage(given: LiberoCollect, client: LiberoClient) -> Led:
        return Led(given, client, open_policy(EngineConfig(path=str(bundle))), replan)

    return collect_libero(folder, replace(settings, corrects=digest), progress, stage)


class Led:
    """A simulator in which a policy acts first."""

    def __init__(
        self, settings: LiberoCollect, client: LiberoClient, policy: Policy, replan: int
    ) -> None:
        """Args: as ``correct_libero``; the policy is used by this stage alone."""
        self._client = client
        self._settings, self._policy, self._replan = settings, policy, replan
        self._config = with_bundle(mode_config(NodeConfig(), Row('full')), policy.manifest)
        self._task: LiberoTask | None = None

    def demonstrate(self, task: int, seed: int) -> dict[str, Any]:
        """Goal, frames from the handing over on, and whether the expert reached it."""
        if self._task is None or self._task.task != task:
            self._task = LiberoTask(self._client, self._settings.suite, task, self._settings.keep)
        drawn = np.random.default_rng([seed, task, 41]).uniform(0.0, _LONGEST)
        led = UntilStill(self._task, round(drawn * self._task.limit))
        played = play_episode(
            led, self._policy, self._config, seed, led.instruction, self._replan
        )  # fmt: skip
        if played.success:
            return {'won': False}
        found: dict[str, Any] = self._client.ask('onward', seed, HORIZON)
        return found


class UntilStill:
    """A task that ends where the hand comes to rest, or after so many actions."""

    def __init__(self, task: LiberoTask, limit: int) -> None:
        """Args: the task, and the most actions."""
        self._task, self._limit = task, limit
        self._seen: list[Seen] = []
        self._stands = False

    @property
    def instruction(self) -> str:
        """The task in its true words."""
        return self._task.instruction

    @property
    def limit(self) -> int:
        """Actions that may be played; none any more once it stands."""
        return 0 if self._stands else self._limit

    def _stood(self) -> bool:
        """Whether neither arm nor gripper moved between the last looks."""
        seen = self._seen[-_STILL_LOOKS - 1 :]
        if len(seen) <= _STILL_LOOKS:
            return False
        moved = max(float(np.abs(one.joints - seen[-1].joints).max()) for one in seen)
        opened = max(abs(one.gripper - seen[-1].gripper) for one in seen)
        return moved < _STILL_RAD and opened < _STILL_OPENING

    def start(self, number: int) -> None:
        """A drawn start; the expert, which goes on later, sees how things lay."""
        self._seen.clear()
        self._stands = False
        self._task.start(number)
        self._task.follow(HORIZON)

    def look(self) -> Seen:
        """As the task."""
        self._seen.append(self._task.look())
        return self._seen[-1]

    def play(self, actions: FloatArray) -> tuple[bool, int]:
        """As the task; what was asked for is played to its end."""
        found = self._task.play(actions)
        self._stands = self._stood()
        return found
