"""Controllers and adapters for an OpenVLA-OFT, in a file beside its published folder.

The published folder is never written to: what distillation and calibration add, a hundredth of
the weights, lies in one safetensors file of its own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.checkpoint import load_tensors, save_tensors
from dysl_vla_ros.lab.model.openvla_oft import OftConfig, visible
from dysl_vla_ros.lab.model.skipping import Controller, SkipModules

KIND = 'openvla_oft_skipping'


class OftController(Controller):
    """A controller that leaves the padding out of its mean, in training as on the robot."""

    def __init__(self, config: OftConfig) -> None:
        super().__init__(config.width)
        self.config = config

    def logit(self, hidden: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().logit(hidden, visible(hidden, self.config) if mask is None else mask)


@dataclass(frozen=True)
class OftSkipping:
    """What makes a dense OpenVLA-OFT a layer-skipping one.

    Attributes:
        modules: Controllers and adapters.
        calibration: Guidance numbers; None before calibration.
        card: Where they come from: data, steps, figures.
    """

    modules: SkipModules
    calibration: CalibrationSpec | None = None
    card: dict[str, Any] = field(default_factory=dict)


def oft_skip_modules(layout: LayerLayout, config: OftConfig, rank: int = 0) -> SkipModules:
    """Untrained controllers and adapters; ``rank`` of the adapters, 0 takes width / 16."""
    modules = SkipModules(layout, config.width, rank)
    for layer in layout.dynamic_layers:
        fresh = OftController(config)
        fresh.load_state_dict(modules.controller(layer).state_dict())
        modules.controllers[str(layer)] = fresh
    return modules


def save_oft_skipping(path: Path, skipping: OftSkipping) -> None:
    """Write atomically."""
    modules = skipping.modules
    header: dict[str, Any] = {
        'skips': KIND, 'layers_total': modules.layout.layers_total,
        'static_layers': modules.layout.static_layers, 'rank': modules.rank,
        'card': skipping.card,
    }  # fmt: skip
    if skipping.calibration is not None:
        header['calibration'] = dataclasses.asdict(skipping.calibration)
    save_tensors(path, dict(modules.state_dict()), header)


def load_oft_skipping(path: Path, config: OftConfig) -> OftSkipping:
    """Read what ``save_oft_skipping`` wrote, in float32 on the CPU.

    Args:
        path: The file.
        config: Of the model that it belongs to.

    Raises:
        BundleError: Another file, or made for a model of another shape.
    """
    tensors, header = load_tensors(path)
    if header.get('skips') != KIND:
        raise BundleError(f'{path}: expected controllers and adapters of an OpenVLA-OFT')
    if header['layers_total'] != config.layers:
        raise BundleError(
            f'{path}: made for {header["layers_total"]} layers: expected {config.layers}, as the '
            'model has'
        )
    layout = LayerLayout(config.layers, tuple(header['static_layers']))
    modules = oft_skip_modules(layout, config, header['rank'])
    try:
        modules.load_state_dict({name: value.float() for name, value in tensors.items()})
    except RuntimeError as error:
        raise BundleError(f'{path}: does not fit the model: {error}') from None
    calibration = header.get('calibration')
    if calibration is not None:
        calibration = CalibrationSpec(**{**calibration, 'weights': tuple(calibration['weights'])})
    return OftSkipping(modules.eval(), calibration, header.get('card', {}))

