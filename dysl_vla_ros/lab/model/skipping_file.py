"""Controllers and adapters for a published model, in a file beside its folder.

The published folder is never written to: what distillation and calibration add, a hundredth of
the weights, lies in one safetensors file of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.manifest import CalibrationSpec
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.checkpoint import load_tensors, save_tensors, weights_of
from dysl_vla_ros.lab.model.skipping import SkipModules


@dataclass(frozen=True)
class Skipping:
    """What makes a dense model a layer-skipping one.

    Attributes:
        modules: Controllers and adapters.
        calibration: Guidance numbers; None before calibration.
        card: Where they come from: data, steps, figures.
    """

    modules: SkipModules
    calibration: CalibrationSpec | None = None
    card: dict[str, Any] = field(default_factory=dict)


def save_skipping(path: Path, skipping: Skipping, family: str) -> None:
    """Write atomically."""
    modules = skipping.modules
    header: dict[str, Any] = {
        'skips': f'{family}_skipping', 'layers_total': modules.layout.layers_total,
        'static_layers': modules.layout.static_layers, 'rank': modules.rank,
        'card': skipping.card,
    }  # fmt: skip
    if skipping.calibration is not None:
        header['calibration'] = skipping.calibration.told()
    save_tensors(path, dict(modules.state_dict()), header)


def load_skipping(
    path: Path, family: str, layers: int, make: Callable[[LayerLayout, int], SkipModules]
) -> Skipping:
    """Read what ``save_skipping`` wrote, in float32 on the CPU.

    Args:
        path: The file.
        family: Of the model that it belongs to.
        layers: Of the model.
        make: Untrained modules for a layout and a rank.

    Raises:
        BundleError: Another file, or made for a model of another family or shape.
    """
    if not path.is_file():
        raise BundleError(f'{path}: no such file; expected controllers and adapters, as '
                          'dysl distill writes them')  # fmt: skip
    tensors, header = load_tensors(path)
    if header.get('skips') != f'{family}_skipping':
        raise BundleError(f'{path}: {header.get("skips")!r}: expected controllers and adapters of '
                          f'{family}')  # fmt: skip
    if header['layers_total'] != layers:
        raise BundleError(
            f'{path}: made for {header["layers_total"]} layers: expected {layers}, as the model '
            'has'
        )
    modules = make(LayerLayout(layers, tuple(header['static_layers'])), header['rank'])
    try:
        modules.load_state_dict(weights_of(tensors, path))
    except RuntimeError as error:
        raise BundleError(f'{path}: does not fit the model: {error}') from None
    calibration = header.get('calibration')
    if calibration is not None:
        calibration = CalibrationSpec(**{**calibration, 'weights': tuple(calibration['weights'])})
    return Skipping(modules.eval(), calibration, header.get('card', {}))
