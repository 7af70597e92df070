"""What a folder holds, read from its small files and the headers of the large ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.model.oft_costs import (
    distillation_bytes,
    distillation_flops,
    pass_flops,
    sizes,
)
from dysl_vla_ros.lab.model.oft_survey import survey_oft
from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint
from dysl_vla_ros.lab.model.openvla_survey import is_openvla, survey_openvla
from dysl_vla_ros.lab.model.published_settings import OftSettings, known_robot
from dysl_vla_ros.lab.model.survey import Asked

STATIC_SHARE = 0.2
CALIBRATION_FRAMES = 64
_ONLY_SERVED = (
    'dysl serve FOLDER runs it in torch; it has no export, for it writes its actions as words, '
    'one after another, and each needs the keys and values of the layers that ran before'
)
_EXPORTED_PER_S = 1e7
"""Weights per second: a full-size layer of 0.2 billion takes 20 s on one core."""
ADAPTER_STEPS, CONTROLLER_STEPS = 2000, 3000


@dataclass(frozen=True)
class Step:
    """What a command will take; computed.

    Attributes:
        command: The command.
        memory: Bytes of working memory.
        disk: Bytes written.
        flops: Floating-point operations on the GPU.
        seconds: What it takes beside, on one core of a CPU.
        note: What else there is to say.
    """

    command: str
    memory: float
    disk: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0
    note: str = ''


@dataclass(frozen=True)
class Report:
    """What a folder is, and what can be done with it.

    Attributes:
        family: Kind of model; '' for one that is not supported.
        facts: Names and values, for people and as JSON.
        missing: What keeps a command from running, with the remedy.
        steps: What the commands will take; empty where they cannot run.
        only: What alone can be done with it, and why; '' where it can be exported.
    """

    family: str
    facts: Mapping[str, Any]
    missing: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    only: str = ''

    @property
    def supported(self) -> bool:
        """Whether it can be exported."""
        return bool(self.family) and not self.missing and not self.only

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {'supported': self.supported, 'family': self.family, **self.facts,
                'missing': list(self.missing), 'only': self.only,
                'computed': [asdict(step) for step in self.steps]}  # fmt: skip


def inspect_folder(folder: Path, asked: Asked) -> Report:
    """Look at a published folder; nothing is written, no weight is read.

    Whatever is wrong with it stands in the report.
    """
    facts: dict[str, Any] = {'folder': str(folder)}
    if not folder.is_dir():
        return Report('', facts, (f'{folder}: no such folder',))
    if is_openvla(folder):
        return _openvla(folder, asked, facts)
    found = survey_oft(folder, asked)
    missing = tuple(str(error) for error in found.wrong)
    if not found.oft:
        return Report('', facts, missing)
    facts['family'] = 'openvla_oft'
    facts['statistics'] = {key: known_robot(key) for key in sorted(found.statistics)}
    if found.unnorm_key:
        facts['unnorm_key'] = found.unnorm_key
    if found.dims is not None:
        facts |= {'action numbers': found.dims[0], 'proprioception numbers': found.dims[1]}
    if found.settings is not None:
        facts |= _contract(found.settings)
    steps: tuple[Step, ...] = ()
    if found.checkpoint is not None:
        facts |= _shape(found.checkpoint)
        steps = _steps(found.checkpoint, asked.batch)
    return Report('openvla_oft', facts, missing, steps)


def _openvla(folder: Path, asked: Asked, facts: dict[str, Any]) -> Report:
    """A plain OpenVLA: served from torch, and not exported."""
    facts['family'] = 'openvla'
    try:
        checkpoint, settings = survey_openvla(folder, asked)
    except (BundleError, ConfigError) as error:
        return Report('openvla', facts, (str(error),), only=_ONLY_SERVED)
    config, weights = checkpoint.config, checkpoint.parameters()
    facts |= {'action numbers': config.action_dim, 'proprioception numbers': 0,
              **_contract(settings), 'layers': config.text.layers, 'width': config.width,
              'picture [pixels]': config.image_size,
              'prompt, longest [tokens]': checkpoint.prompt_tokens,
              'weights': weights}  # fmt: skip
    serve = Step('dysl serve FOLDER', 4.0 * weights,
                 note='FP32 on a CPU; half of it, bfloat16, on a GPU')  # fmt: skip
    return Report('openvla', facts, (), (serve,), _ONLY_SERVED)


def _contract(settings: OftSettings) -> dict[str, Any]:
    return {
        'cameras': list(settings.cameras), 'actions per chunk': settings.horizon,
        'action space': settings.space, 'action period [s]': settings.period_s,
        '-1 and 1 stand for': settings.bounds,
        'units of 1.0 [m, rad]': list(settings.units) or 'as in the data set',
        'proprioception': settings.source,
        'fingers in it, closed and open': [list(pair) for pair in settings.fingers],
        'pictures': ('turned by 180 degrees, ' if settings.rotate_180 else '')
        + f'squashed, centre crop of {settings.crop_area:g}',
    }  # fmt: skip


def _shape(checkpoint: OftCheckpoint) -> dict[str, Any]:
    config, found = checkpoint.config, sizes(checkpoint.config)
    static = len(evenly(config.layers).static_layers)
    return {
        'vision': 'towers that the instruction modulates (FiLM, OFT+)' if config.film else
        'two towers', 'layers': config.layers, 'width': config.width,
        'picture [pixels]': config.image_size,
        'prompt, longest [tokens]': config.prompt_tokens, 'sequence [tokens]': config.tokens,
        'weights': found.total, 'weights of a layer': found.layer,
        'static layers, at a share of 0.2': static,
        'a dense pass [GFLOP]': round(pass_flops(config) / 1e9, 3),
    }  # fmt: skip


def _steps(checkpoint: OftCheckpoint, batch: int) -> tuple[Step, ...]:
    config, found = checkpoint.config, sizes(checkpoint.config)
    flops = pass_flops(config)
    layout = evenly(config.layers)
    training = distillation_bytes(config, layout, batch)
    skipping = training['trained'] / 4
    steps = [
        Step(f'dysl export FOLDER BUNDLE --precision {precision}', 3.0 * 4 * found.largest,
             float(size * found.total), seconds=found.total / _EXPORTED_PER_S,
             note='one part in memory at a time')
        for precision, size in (('fp32', 4), ('fp16', 2))
    ]  # fmt: skip
    steps.append(Step('dysl verify BUNDLE --against FOLDER', 2.0 * 4 * found.total,
                      seconds=found.total / _EXPORTED_PER_S,
                      note='folder and bundle, both in FP32'))  # fmt: skip
    steps.append(Step('dysl calibrate FOLDER --dataset D',
                      2.0 * found.total + 3.0 * 2 * batch * config.tokens * config.width
                      * config.layers, flops=CALIBRATION_FRAMES * flops,
                      note=f'GPU memory in bfloat16, {CALIBRATION_FRAMES} frames'))  # fmt: skip
    distil = distillation_flops(config, batch, ADAPTER_STEPS, CONTROLLER_STEPS)
    steps.append(Step(
        f'dysl distill FOLDER --dataset D --batch {batch}', training['all'], skipping, distil,
        note=f'GPU memory [GB]: weights {training["weights"] / 1e9:.1f} in bfloat16, trained '
        f'{training["trained"] / 1e9:.1f}, stage 1 {training["stage 1"] / 1e9:.1f}, stage 2 '
        f'{training["stage 2"] / 1e9:.1f}; {ADAPTER_STEPS} + {CONTROLLER_STEPS} updates',
    ))  # fmt: skip
    return tuple(steps)


def evenly(layers: int) -> LayerLayout:
    """Static layers as many as will be chosen; which ones changes little in what they cost."""
    count = round(STATIC_SHARE * layers) + (2 if layers < 20 else 0)
    count = min(max(count, 2), layers)
    static = {round(number * (layers - 1) / (count - 1)) for number in range(count)}
    return LayerLayout(layers, tuple(sorted(static)))
