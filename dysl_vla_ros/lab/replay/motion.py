"""A replay of motion only: recorded chunks under another calibration, without a model.

That is what a flight file holds, and a recording of `~/chunk_info` without pictures: which layers
ran stays as it was; where continuity drops, and would have asked for a re-run, is found anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.manifest import CalibrationSpec, Manifest
from dysl_vla_ros.bundle.strict_json import load
from dysl_vla_ros.config import NodeConfig, SkipConfig
from dysl_vla_ros.core.skip_policy import SkipPolicy
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.data.bags.bag import Bag
from dysl_vla_ros.lab.guidance.bag import accepted_chunk
from dysl_vla_ros.lab.guidance.recordings import AcceptedChunk
from dysl_vla_ros.loop_settings import skip_settings

TYPE = 'diagnostic_msgs/msg/DiagnosticStatus'
ENDING = '/chunk_info'
_LARGEST = 128 << 20


@dataclass(frozen=True)
class ToldChunk:
    """An accepted chunk, as `~/chunk_info` tells of it."""

    chunk: AcceptedChunk
    values: Mapping[str, str]


@dataclass(frozen=True)
class MotionRow:
    """One chunk.

    Attributes:
        index: Counts up from 0.
        mode: Of its pass.
        mask: Layers that ran.
        least_then: Lowest continuity, as it was published.
        least_now: The same under this calibration.
        drops: First action of a drop, then and now.
    """

    index: int
    mode: str
    mask: str
    least_then: float | None
    least_now: float | None
    drops: tuple[int | None, int | None]


def chunks_of_flight(path: Path) -> list[ToldChunk]:
    """The accepted chunks of a flight file.

    Raises:
        ConfigError: It is none, or holds no chunk.
    """
    try:
        document = load(path, _LARGEST)
    except BundleError as error:
        raise ConfigError('bag', str(path), f'a flight file ({error})') from None
    if not isinstance(document, dict) or not isinstance(document.get('chunks'), list):
        raise ConfigError('bag', str(path), 'a flight file, with a list of chunks, or a recording')
    return _told([dict(one) for one in document['chunks'] if isinstance(one, dict)], path)


def chunks_of_bag(bag: Bag, topic: str = '') -> list[ToldChunk]:
    """The accepted chunks of a recording.

    Raises:
        ConfigError: It has no topic of chunks, or no chunk on it.
    """
    found = bag.find(TYPE, ending=ENDING)
    if topic and topic not in found:
        raise ConfigError('--topic', topic, f'a topic of chunks: {", ".join(found) or "none"}')
    if not found:
        raise ConfigError('bag', str(bag.path), f'a topic that ends with {ENDING}: it has '
                          f'{bag.listed()}')  # fmt: skip
    values = [
        {entry.key: entry.value for entry in message.message.values}
        for message in bag.messages([topic or found[0]])
    ]
    return _told(values, bag.path)


def _told(values: Sequence[Mapping[str, Any]], path: Path) -> list[ToldChunk]:
    plain = [{str(k): str(v) for k, v in one.items()} for one in values]
    taken = [one for one in plain if one.get('outcome') == 'accepted']
    if not taken:
        raise ConfigError('bag', str(path), f'an accepted chunk: there are {len(plain)} others')
    return [ToldChunk(accepted_chunk(one, number), one) for number, one in enumerate(taken)]


def replay_motion(
    chunks: Sequence[ToldChunk], manifest: Manifest, calibration: CalibrationSpec, rule: str = ''
) -> list[MotionRow]:
    """Every chunk verified anew.

    Args:
        chunks: In order.
        manifest: Of the bundle, for its segments.
        calibration: When continuity drops.
        rule: Guidance rule; '' is the calibration's.

    Raises:
        ConfigError: The chunks are of another policy.
    """
    settings = skip_settings(NodeConfig(skip=SkipConfig(rule=rule)), calibration)
    skip = SkipPolicy(manifest.layout.segments, settings)
    rows: list[MotionRow] = []
    before: AcceptedChunk | None = None
    for index, told in enumerate(chunks):
        chunk = told.chunk
        if chunk.displacements.shape[1] != len(settings.weights):
            raise ConfigError(
                f'chunk_info[{index}].displacements', chunk.displacements.shape,
                f'{len(settings.weights)} numbers per action, as {manifest.name} has: --engine '
                'names the bundle that was recorded, with fake --params-file its arm',
            )  # fmt: skip
        if before is not None:
            rest = before.displacements[before.dropped :]
            played = min(max(chunk.counter - before.counter, 0), len(rest))
            if chunk.epoch != before.epoch or played == len(rest):
                skip.restart()
            else:
                for move in rest[:played]:
                    skip.played(move)
        verdict = skip.verify(chunk.displacements[chunk.dropped :], False)
        skip.accepted(verdict, told.values.get('mode') == 'rerun')
        rows.append(_row(index, told, verdict.continuity, verdict.drop_index))
        before = chunk
    return rows


def motion_to_json(rows: Sequence[MotionRow]) -> list[dict[str, Any]]:
    """For the report."""
    return [{**vars(row), 'drops': list(row.drops)} for row in rows]


def _row(
    index: int, told: ToldChunk, continuity: Sequence[float | None], drop: int | None
) -> MotionRow:
    values, dropped = told.values, told.chunk.dropped
    then = [float(word) for word in values['continuity'].split() if word != 'n/a']
    said = values.get('drop_index', 'n/a')
    return MotionRow(
        index, values.get('mode', ''), values.get('layer_mask', ''), min(then, default=None),
        min((value for value in continuity if value is not None), default=None),
        (int(said) if said.isdigit() else None, None if drop is None else drop + dropped),
    )  # fmt: skip
