"""How a mode changes the policy: as deployed, or with every skip plan replaced (baselines)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.data_types import Observation, SkipPlan
from dysl_vla_ros.lab.evaluation.paces import Paces
from dysl_vla_ros.policy import Pass, Policy

Mode = Literal[
    'full', 'auto', 'ceil', 'level', 'printed', 'max_skip', 'fixed', 'by_instruction',
    'no_pre_skip', 'no_rerun',
    'closed', 'static_only', 'random', 'deer', 'oracle', 'remote', 'verified', 'broker',
    'blocking', 'blend', 'noise_critical', 'noise_free', 'paced',
]  # fmt: skip
MODES: tuple[Mode, ...] = get_args(Mode)
SERVED: tuple[Mode, ...] = ('remote', 'verified', 'broker')
"""Modes with a policy server."""
STREAMED: tuple[Mode, ...] = ('blocking', 'blend')
"""Modes that are played without the control loop, one target per period."""
FREE = ('reach', 'carry')
"""Phases of free motion."""
CRITICAL = ('grasp', 'release')
"""Phases in which the gripper acts."""
NOISY: dict[Mode, tuple[str, ...]] = {'noise_critical': CRITICAL, 'noise_free': FREE}
"""Mode -> phases of the task in which the weights have noise."""
DESCRIPTIONS: dict[Mode, str] = {
    'full': 'every layer of every pass',
    'auto': 'guidance before the pass, verification after it',
    'ceil': 'auto with that guidance rule',
    'level': 'auto with that guidance rule',
    'printed': 'ceil with the sign that the paper prints',
    'max_skip': 'every controller live in every pass, no guidance, no verification',
    'fixed': 'every pass leaves at --exit-layer, one row for each',
    'by_instruction': 'every pass leaves where the bundle says for the instruction',
    'no_pre_skip': 'every controller live in every pass, with the verification after it: what '
    'skip.mode max_skip runs on a robot',
    'no_rerun': 'auto without the verification after the pass',
    'closed': 'every controller evaluated, none obeyed: what the controllers cost',
    'static_only': 'every segment jumped at once',
    'random': 'jumps at random places, the same mean depth as auto',
    'deer': 'leaves where two neighbouring exits agree (DeeR-VLA), one row for each --deer-ratio',
    'oracle': 'runs everything and plays the shallowest exit within --tolerance of dense; layers '
    'are counted as if it had known',
    'remote': 'auto by a policy server, one row for each of --links',
    'verified': 'auto here, full passes after a drop by a policy server, one row for each of '
    '--links',
    'broker': "as remote, played by openpi's own ActionChunkBroker (pip install openpi-client)",
    'blocking': 'full, a chunk played to its end before the next pass begins',
    'blend': "full, played as LeRobot's asynchronous client does: old and new targets averaged",
    'noise_critical': 'full, with noise on the weights of all layers while the arm grasps or '
    'releases, a row for each --noise',
    'noise_free': 'the same noise while it reaches or carries',
    'paced': 'shallow and seldom in free motion, deep and often in fine, a row for each --pace',
}
_VERIFIED = ('auto', 'ceil', 'level', 'printed', 'no_pre_skip', 'full', 'remote', 'verified')
_SKIP_MODES: dict[Mode, str] = {
    'full': 'full', 'max_skip': 'max_skip', 'no_pre_skip': 'max_skip', 'fixed': 'fixed',
    'by_instruction': 'by_instruction',
    'deer': 'full', 'oracle': 'full', 'noise_critical': 'full', 'noise_free': 'full',
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row of a table: a mode with its number.

    Attributes:
        mode: Which.
        exit_layer: Of ``fixed``; 0 = the parameters' or the bundle's.
        tolerance: Of ``oracle``: largest root mean square of the difference to dense, in the
            model's normalised action space; 0 plays dense.
        share: Of ``random``: mean share of the dynamic layers that it runs.
        ratio: Of ``deer``: share that leaves at an exit, over that of the exit before.
        link: Of ``remote`` and ``verified``: how good their link is.
        noise: Of ``noise_critical`` and ``noise_free``: its standard deviation, as a share of
            each matrix's root mean square.
        pace: Of ``paced``: ``Paces.read``.
        deployed: Whether a mode of the node's is played as a node plays it, with every other
            parameter as it is; otherwise it is what ``DESCRIPTIONS`` says, and ``max_skip`` has
            no verification.
    """

    mode: Mode
    exit_layer: int = 0
    tolerance: float = 0.0
    share: float = 0.0
    ratio: float = 0.0
    link: str = ''
    noise: float = 0.0
    pace: str = ''
    deployed: bool = False

    @property
    def name(self) -> str:
        """As tables and reports call it: ``'fixed 8'``."""
        if self.mode == 'fixed' and self.exit_layer:
            return f'fixed {self.exit_layer}'
        if self.link:
            return f'{self.mode} {self.link}'
        if self.noise:
            return f'{self.mode} {self.noise:g}'
        if self.pace:
            return f'{self.mode} {self.pace}'
        if self.mode == 'deer':
            return f'deer {self.ratio:g}'
        return f'oracle {self.tolerance:g}' if self.mode == 'oracle' else self.mode

    @property
    def settings(self) -> dict[str, Any]:
        """What was given of its numbers, by field: not all of them are in its name."""
        given = ((one.name, getattr(self, one.name), one.default) for one in fields(self))
        return {name: value for name, value, default in given
                if name != 'mode' and value != default}  # fmt: skip


def rows_of(
    modes: Iterable[Mode],
    exit_layers: Sequence[int],
    ratios: Sequence[float],
    tolerances: Sequence[float],
    random_depth: float | None,
    links: Mapping[Mode, Sequence[str]] | None = None,
    noises: Sequence[float] = (),
    paces: Sequence[str] = (),
) -> list[Row]:
    """A row for each mode, or for each of its numbers, in the order of the modes.

    Args:
        modes: Which.
        exit_layers: Of ``fixed``; none: the parameters' or the bundle's.
        ratios: Of ``deer``.
        tolerances: Of ``oracle``.
        random_depth: Of ``random``; None where it is found later.
        links: Mode that has a link -> how good it is, row by row.
        noises: Of the modes with noise.
        paces: Of ``paced``.
    """
    several: dict[Mode, list[Row]] = {
        'fixed': [Row('fixed', exit_layer=layer) for layer in exit_layers or (0,)],
        'deer': [Row('deer', ratio=ratio) for ratio in ratios],
        'oracle': [Row('oracle', tolerance=tolerance) for tolerance in tolerances],
        'random': [Row('random', share=random_depth or 0.0)],
        'paced': [Row('paced', pace=pace) for pace in paces],
        **{mode: [Row(mode, noise=noise) for noise in noises] for mode in NOISY},
        **{mode: [Row(mode, link=link) for link in each] for mode, each in (links or {}).items()},
    }
    return [row for mode in modes for row in several.get(mode, [Row(mode)])]


class PlannedPolicy:
    """A policy whose skip plan is chosen here instead of by the skip policy."""

    def __init__(self, policy: Policy, choose: Callable[[], SkipPlan]) -> None:
        """Wrap an opened policy."""
        self._policy = policy
        self._choose = choose
        self.manifest = policy.manifest

    def tokens(self, instruction: str) -> NDArray[np.int64]:
        """As the wrapped policy."""
        return self._policy.tokens(instruction)

    def predict(self, observation: Observation, plan: SkipPlan) -> Pass:
        """Ignore the plan that was asked for."""
        return self._policy.predict(observation, self._choose())

    def rerun(self, first: Pass) -> Pass:
        """As the wrapped policy."""
        return self._policy.rerun(first)


def mode_policy(policy: Policy, row: Row, seed: int) -> Any:
    """The policy of a mode that replaces every plan; any other mode's is as it is.

    Args:
        policy: Opened.
        row: Which; ``oracle`` and ``deer`` are made by the workers.
        seed: Of ``random``.
    """
    layout = policy.manifest.layout
    if row.mode == 'static_only':
        plan = SkipPlan(layout.open_plan().allow, 'open')
        return PlannedPolicy(policy, lambda: plan)
    if row.mode == 'closed':
        return PlannedPolicy(policy, layout.watched_plan)
    if row.mode == 'random':
        generator = np.random.default_rng(seed)

        def choose() -> SkipPlan:
            # A Beta distribution with this mean; 0 and 1 are its limits.
            mean = min(max(row.share, 1e-3), 1 - 1e-3)
            shares = generator.beta(2 * mean, 2 * (1 - mean), len(layout.segments))
            allow = tuple(
                first + round(float(share) * (end - first))
                for share, (first, end) in zip(shares, layout.segments, strict=True)
            )
            return SkipPlan(allow, 'open')

        return PlannedPolicy(policy, choose)
    return policy


def mode_config(config: NodeConfig, row: Row) -> NodeConfig:
    """The control loop's parameters for a row; baselines have no post-skip verification."""
    if row.deployed:
        exit_layer = row.exit_layer or config.skip.exit_layer
        return replace(config, skip=replace(config.skip, mode=row.mode, exit_layer=exit_layer))
    if row.mode not in _VERIFIED:
        config = replace(config, rerun=replace(config.rerun, enabled=False))
    skip = replace(config.skip, mode=_SKIP_MODES.get(row.mode, 'auto'))
    if row.mode in ('ceil', 'level', 'printed'):
        skip = replace(skip, rule=row.mode)
    if row.exit_layer:
        skip = replace(skip, exit_layer=row.exit_layer)
    if row.pace:  # asked for as early as either pace wants it; the policy says when it is due
        paces = Paces.read(row.pace)
        left = max(paces.free.left, paces.fine.left)
        config = replace(config, timing=replace(config.timing, request_threshold=left))
    return replace(config, skip=skip)
