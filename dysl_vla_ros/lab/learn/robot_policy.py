"""A policy for the robot of any data set: its joints, cameras, rate and actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import NormalisationSpec
from dysl_vla_ros.lab.data.demonstrations import Demonstrations, normalise
from dysl_vla_ros.lab.data.observation_file import MOST, write_observations
from dysl_vla_ros.lab.data.robot_reading import Reading, reading_from
from dysl_vla_ros.lab.data.robot_samples import FIT, RobotSamples
from dysl_vla_ros.lab.data.turns import between, of_vectors, vectors
from dysl_vla_ros.lab.data.words import build_tokenizer, encode_all, longest
from dysl_vla_ros.lab.learn.baselines import baselines, error
from dysl_vla_ros.lab.learn.dense import fit
from dysl_vla_ros.lab.learn.train import TrainSettings
from dysl_vla_ros.lab.model.checkpoint import Checkpoint, with_card
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.robot_contract import RobotContract
from dysl_vla_ros.lab.model.shapes import PolicyConfig, Statistics
from dysl_vla_ros.lab.workspace import Workspace

CARD = 'reading'
NAME = 'train'
_SPARE_WORDS = 4
_LEAST_SHARE = 0.02
"""A number that moves less than this share of the widest is not stretched to [-1, 1]: its noise
would become the loss."""
_AT_A_TIME = 64


@dataclass(frozen=True)
class Scores:
    """Action error on held-out episodes, normalised.

    Attributes:
        policy: The policy's.
        shuffled: The policy's with pictures of other frames.
        baselines: By name.
    """

    policy: float
    shuffled: float
    baselines: Mapping[str, float]

    @property
    def best(self) -> str:
        """The baseline with the smallest error."""
        return min(self.baselines, key=lambda name: self.baselines[name])

    @property
    def below(self) -> float:
        """How far the policy lies below the best baseline, as a share of it."""
        best = self.baselines[self.best]
        return 1.0 - self.policy / best if best > 0 else 0.0


def train_robot(
    samples: RobotSamples, reading: Reading, settings: TrainSettings, network: Mapping[str, Any],
    space: Workspace, start: Checkpoint | None = None,
) -> tuple[Checkpoint, Scores]:  # fmt: skip
    """Train from scratch, or ``start`` further; judge on the held-out episodes.

    Args:
        samples: A set, loaded.
        reading: How it was read.
        settings: Of the training.
        network: Changes to the network's default shape.
        space: What an interrupted run left in its folder is continued.
        start: Of the same robot.
    """
    checkpoint = start or fresh(samples.training, reading, network, settings.seed)
    result = fit(NAME, checkpoint, samples.training, settings, space, 1.0)
    checkpoint = replace(checkpoint, network=result.network)
    scores = judge(checkpoint, samples, space.device)
    space.note('held_out', episodes=list(samples.episodes), frames=samples.held_out.frames,
               policy=scores.policy, shuffled_pictures=scores.shuffled, **scores.baselines,
               below_the_best=scores.below)  # fmt: skip
    return with_card(checkpoint, **{CARD: reading.as_json()}), scores


def write_held_out(
    path: Path, checkpoint: Checkpoint, samples: RobotSamples, reading: Reading
) -> None:  # fmt: skip
    """Held-out states, pass by pass: a policy's depth is judged on what it has not learnt.

    Args:
        path: Of the file, for ``--observations``.
        checkpoint: Of the robot of the set.
        samples: A set, loaded.
        reading: How it was read.

    Raises:
        ConfigError: A camera is called as an array of the file.
    """
    rows, numbers, stamps = [], [], []
    for number, passes in zip(samples.episodes, samples.passes(reading.played), strict=True):
        rows.append(passes)
        numbers.append(np.full(len(passes), number))
        stamps.append((passes - passes[0]) * samples.every / reading.fps)
    when = {'episode': np.concatenate(numbers)[:MOST], 'stamp': np.concatenate(stamps)[:MOST]}
    robot = checkpoint.robot
    hand = max(len(robot.fingers), 1) if robot is not None and robot.state_gripper else 0
    write_observations(path, samples.held_out, np.concatenate(rows)[:MOST], hand, when)


def reading_of(checkpoint: Checkpoint) -> Reading | None:
    """How the set of a checkpoint was read; None for the bundled arm's."""
    found = checkpoint.card.get(CARD)
    return None if found is None or checkpoint.robot is None else reading_from(found)


def fresh(
    data: Demonstrations, reading: Reading, network: Mapping[str, Any], seed: int
) -> Checkpoint:
    """An untrained policy that fits the set."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(data.instructions)
    statistics, displacement = robot_statistics(data, reading)
    absolute = reading.space == 'joint_position'
    config = PolicyConfig(
        vocabulary=tokenizer.get_vocab_size(), cameras=reading.cameras,
        instruction_tokens=longest(tokenizer, data.instructions) + _SPARE_WORDS,
        proprioception_dim=data.proprioception.shape[1], action_horizon=reading.horizon,
        action_dim=data.chunk.shape[2],
        direct=absolute and data.chunk.shape[2] == data.proprioception.shape[1], **network,
    )  # fmt: skip
    return Checkpoint(config, statistics, tokenizer.to_str(), PolicyNetwork(config),
                      robot=robot_contract(reading, displacement))  # fmt: skip


def robot_contract(reading: Reading, displacement: NormalisationSpec | None) -> RobotContract:
    """What the numbers of the policy mean."""
    state, action = reading.state, reading.action
    joints = state if reading.source == 'joints' else action
    names = tuple(name for n, name in enumerate(joints.names) if n not in joints.gripper)
    cartesian = reading.space.startswith('eef')
    # Joints are moved in no frame: there the usual names stand, which parameters may replace.
    frame, tip = ('', '') if cartesian else (RobotContract.frame_id, RobotContract.tip_link)
    return RobotContract(
        joint_names=names if reading.source == 'joints' else (), period_s=1.0 / reading.fps,
        frame_id=frame, tip_link=tip, gripper_threshold=None, space=reading.space,
        fingers=_fingers(state.gripper, len(state.names)), gripper=bool(action.gripper),
        state_gripper=bool(state.gripper), source=reading.source, fit=FIT,
        displacement=displacement,
    )  # fmt: skip


def _fingers(grippers: tuple[int, ...], size: int) -> tuple[tuple[float, float], ...]:
    """(closed, open) of each number of a hand that ends the state with several; else none."""
    last = tuple(range(size - len(grippers), size))
    return ((0.0, 1.0),) * len(grippers) if len(grippers) > 1 and grippers == last else ()


def robot_statistics(
    data: Demonstrations, reading: Reading
) -> tuple[Statistics, NormalisationSpec | None]:
    """Normalisation by quantiles, and, of absolute actions, that of their steps.

    Where joints and actions are the same quantities both get the same range, so that to stand
    still is the same numbers in and out.
    """
    state, first = data.proprioception, data.chunk[:, 0]
    if reading.space == 'joint_position' and state.shape[1] == first.shape[1]:
        both = np.concatenate([state, first])
        spec = _absolute(both, reading.state.gripper)
        statistics = Statistics(proprioception=spec, action=spec)
    else:
        increments = reading.space.endswith('delta')
        action = (_symmetric if increments else _absolute)(first, reading.action.gripper)
        statistics = Statistics(_absolute(state, reading.state.gripper), action)
    if reading.space.endswith('delta'):
        return statistics, None
    return statistics, _symmetric(_steps(data.chunk, reading.space), reading.action.gripper)


def _steps(chunks: NDArray[np.float32], space: str) -> NDArray[np.float32]:
    """What absolute actions add to the ones before them, (n, dim), as the node takes steps."""
    steps = np.diff(chunks, axis=1)
    if space == 'eef_pose':
        before, after = (of_vectors(part[..., 3:6].reshape(-1, 3))
                         for part in (chunks[:, :-1], chunks[:, 1:]))  # fmt: skip
        steps[..., 3:6] = vectors(between(before, after)).reshape(steps[..., 3:6].shape)
    return steps.reshape(-1, chunks.shape[2])


def judge(checkpoint: Checkpoint, samples: RobotSamples, device: torch.device) -> Scores:
    """Action error on held-out episodes beside the baselines."""
    data = samples.held_out
    wanted = normalise(data.chunk, checkpoint.statistics.action)
    order = np.random.default_rng(0).permutation(data.frames)
    network = checkpoint.network.to(device).eval()
    seen = error(predict(checkpoint, network, data, np.arange(data.frames), device), wanted)
    shuffled = error(predict(checkpoint, network, data, order, device), wanted)
    checkpoint.network.cpu()
    return Scores(seen, shuffled, baselines(samples, checkpoint.statistics))


@torch.no_grad()
def predict(
    checkpoint: Checkpoint, network: PolicyNetwork, data: Demonstrations,
    pictures: NDArray[np.int64], device: torch.device,
) -> NDArray[np.float32]:  # fmt: skip
    """Normalised chunks for every frame, dense.

    Args:
        checkpoint: Tokenizer and statistics.
        network: Its network, on the device.
        data: Frames.
        pictures: Frame whose pictures each frame is shown.
        device: Where it runs.
    """
    tokens = encode_all(checkpoint.tokenizer, data.instructions,
                        checkpoint.config.instruction_tokens)  # fmt: skip
    state = normalise(data.proprioception, checkpoint.statistics.proprioception)
    found = []
    for start in range(0, data.frames, _AT_A_TIME):
        rows = np.arange(start, min(start + _AT_A_TIME, data.frames))
        images = tuple(
            torch.from_numpy(data.images[camera.name][pictures[rows]]).to(device)
            .permute(0, 3, 1, 2).float() / 127.5 - 1.0
            for camera in checkpoint.config.cameras
        )  # fmt: skip
        actions, _, _ = network(images, torch.from_numpy(tokens[data.goal[rows]]).to(device),
                                torch.from_numpy(state[rows]).to(device))  # fmt: skip
        found.append(actions.float().cpu().numpy())
    return np.concatenate(found)


def _absolute(values: NDArray[np.float32], grippers: tuple[int, ...]) -> NormalisationSpec:
    """1 % and 99 % quantiles; an opening is 0 to 1."""
    low, high = np.quantile(values, 0.01, axis=0), np.quantile(values, 0.99, axis=0)
    middle, half = (low + high) / 2.0, (high - low) / 2.0
    half = np.maximum(half, max(_LEAST_SHARE * float(half.max()), 1e-6))
    return _spec(middle - half, middle + half, grippers)


def _symmetric(values: NDArray[np.float32], grippers: tuple[int, ...]) -> NormalisationSpec:
    """99 % of the size, so that rest is 0; an opening is 0 to 1."""
    reach = np.quantile(np.abs(values), 0.99, axis=0)
    reach = np.maximum(reach, max(_LEAST_SHARE * float(reach.max()), 1e-6))
    return _spec(-reach, reach, grippers)


def _spec(
    low: NDArray[np.float64], high: NDArray[np.float64], grippers: tuple[int, ...]
) -> NormalisationSpec:
    low, high = low.copy(), high.copy()
    low[list(grippers)], high[list(grippers)] = 0.0, 1.0
    return NormalisationSpec(tuple(low.tolist()), tuple(high.tolist()), (True,) * len(low))
