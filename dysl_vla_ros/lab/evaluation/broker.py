"""The same policy over the same link, played by openpi's own ``ActionChunkBroker``: to compare.

The broker gives out one action per period and asks again when the chunk is used up: while it waits
for the answer, the arm gets no command and stands at its last target.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.engines.remote.contract import contract_of
from dysl_vla_ros.engines.remote.request import ASK, request_of
from dysl_vla_ros.errors import DyslError, EngineError
from dysl_vla_ros.lab.evaluation.episodes import EpisodeResult, EpisodeSpec
from dysl_vla_ros.lab.evaluation.link_weather import WeatherLink
from dysl_vla_ros.lab.evaluation.stepped_arm import SteppedArm
from dysl_vla_ros.lab.evaluation.tally import Tally
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.sim.world import World

_DEADLINE_S = 60.0


class _Served:
    """What the broker wraps."""

    def __init__(self, link: WeatherLink) -> None:
        self._link = link
        self.chunks = 0
        self.cost = Tally()

    def infer(self, obs: Mapping[str, Any]) -> dict[str, Any]:
        self.chunks += 1
        answer = self._link.ask(obs, _DEADLINE_S)
        said = answer[ASK]
        # The layers of both passes where one was run again, the controllers of the last alone.
        self.cost.spent(said['layers_spent'], len(said['scores']))
        self.cost.reruns += int(said['rerun'])
        self.cost.pass_seconds.append(1e-3 * answer['server_timing']['infer_ms'])
        return {'actions': answer['actions']}

    def reset(self) -> None:
        """Nothing is kept here."""


def broker_episode(
    world: World, policy: Policy, planner: MotionPlanner, config: NodeConfig, spec: EpisodeSpec,
    link: WeatherLink, latency: float,
) -> EpisodeResult:  # fmt: skip
    """One episode; arguments as ``run_episode``.

    Raises:
        EngineError: openpi's client is not installed.
    """
    try:
        from openpi_client.action_chunk_broker import ActionChunkBroker
    except ImportError as error:
        raise EngineError(f'mode broker: {error}: pip install openpi-client') from None
    manifest = policy.manifest
    contract, period = contract_of(manifest), manifest.action.period_s
    episode = world.reset(spec.seed, spec.family, spec.split)
    told, served = spec.instruction or episode.instruction, _Served(link)
    broker = ActionChunkBroker(served, manifest.action.horizon)
    arm = SteppedArm(world, config, period)
    while world.time < spec.time_limit:
        seen, chunks = arm.observe(policy, told), served.chunks
        try:
            row = contract.physical(broker.infer(request_of(seen, contract))['actions'][None])
            if served.chunks > chunks:
                waited = latency + link.take()
                if waited > 0.0:
                    arm.wait(waited)
            target = planner.targets(row, arm.commanded)[-1]
        except DyslError:  # the reference would hang or end here
            break
        arm.play(target, float(row[0, -1]))
        if arm.won:
            break
    cost = served.cost
    return arm.result(spec, told, policy, len(cost.pass_seconds), cost, lost=link.lost)
