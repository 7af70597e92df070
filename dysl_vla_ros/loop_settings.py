"""What the parameters and the bundle's calibration mean for the parts of the control loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.core.governor import GovernorSettings
from dysl_vla_ros.core.skip_policy import SkipSettings
from dysl_vla_ros.core.watchdogs import Patience
from dysl_vla_ros.data_types import plain_words

HOLDS_POINTS = ('joint_commands', 'joint_state', 'twist', 'pose')
"""Command types whose receivers take points: what they were told last, they keep doing."""


_Area = TypeVar('_Area')


def governor_settings(config: NodeConfig) -> GovernorSettings:
    """What the parameters say about motion."""
    return GovernorSettings(
        period=1.0 / config.timing.command_rate_hz,
        look_ahead=config.chunk.command_window_s,
        rest=config.safety.rest_s,
        ramp=config.safety.brake_s,
        fade=config.chunk.seam_fade_s if config.chunk.seam_method == 'hermite' else 0.0,
        max_jump=config.safety.start_max_jump_rad,
        max_jump_m=config.safety.start_max_jump_m,
        holds_points=config.action.command_type in HOLDS_POINTS,
    )


def patience(config: NodeConfig) -> Patience:
    """How long the promises may stay broken."""
    safety = config.safety
    return Patience(
        starvation_hold=safety.starvation_hold_s,
        starvation_fault=safety.starvation_fault_s,
        follow_fault=safety.follow_fault_s,
        pass_age=config.inputs.max_observation_age_s,
    )


def skip_settings(config: NodeConfig, calibration: CalibrationSpec) -> SkipSettings:
    """The bundle's calibration, overridden where a parameter is set."""
    config = calibrated(config, calibration)
    own, skip, rerun = config.continuity, config.skip, config.rerun
    return SkipSettings(
        rule=skip.rule,  # type: ignore[arg-type]
        eta=skip.eta,
        window=own.window,
        threshold=own.threshold,
        hysteresis=own.hysteresis,
        weights=np.array(own.weights, dtype=np.float64),
        level_low=calibration.level_low,
        level_high=calibration.level_high,
        tau=skip.tau,
        rerun=rerun.enabled,
        max_consecutive=rerun.max_consecutive,
        stay_full_chunks=rerun.stay_full_chunks,
        exit_layer=skip.exit_layer,
        exits={plain_words(words): layer
               for words, layer in calibration.exit_by_instruction.items()},
    )  # fmt: skip


def calibrated(config: NodeConfig, calibration: CalibrationSpec) -> NodeConfig:
    """The configuration with what it leaves to the bundle's calibration filled in."""
    known = vars(calibration)
    return replace(
        config,
        skip=filled(config.skip, ('mode', 'exit_layer', 'rule', 'eta'), known),
        continuity=filled(
            config.continuity, ('window', 'threshold', 'hysteresis', 'weights'), known
        ),
    )


def filled(area: _Area, names: tuple[str, ...], bundle: Mapping[str, Any]) -> _Area:
    """A group of parameters, where what is empty or 0 is the bundle's."""
    empty = {name: bundle[name] for name in names if not getattr(area, name)}
    return replace(area, **empty)  # type: ignore[type-var]
