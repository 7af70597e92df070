"""What a model family must supply to be exported: its contract, and its parts one at a time.

A part is built when it is asked for and belongs to the exporter, which may change its type and
drops it before it asks for the next. So a 7B model needs the memory of its largest part, not of
itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from dysl_vla_ros.bundle.manifest import (
    ActionSpec,
    CalibrationSpec,
    CameraSpec,
    InstructionSpec,
    ProprioceptionSpec,
)
from dysl_vla_ros.data_types import LayerLayout

TOKENIZER = 'tokenizer.json'


@dataclass(frozen=True)
class Part:
    """One graph to be.

    Attributes:
        module: Float32, on the CPU; no one else uses it.
        arguments: Example inputs, float32 or int64; their shapes become the graph's.
        inputs: Names of the inputs: of cameras, ``tokens``, ``proprioception``, ``patches``,
            ``hidden``.
        outputs: Names of the outputs: ``patches``, ``hidden``, ``hidden_out``, ``gate``,
            ``actions``.
    """

    module: nn.Module
    arguments: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def uncalibrated(action_dim: int) -> CalibrationSpec:
    """Guidance of a policy that was never recorded, until ``dysl calibrate``."""
    return CalibrationSpec(
        eta=0.1,
        window=5,
        threshold=0.3,
        hysteresis=0.15,
        weights=(1.0,) * action_dim,
        rule='level',
    )


def openvla_camera(name: str, size: int, rotate_180: bool, crop_area: float) -> CameraSpec:
    """A picture as OpenVLA and OpenVLA-OFT were trained on: squashed, cropped, in [0, 1]."""
    return CameraSpec(
        name, size, size, rotate_180=rotate_180, crop_area=crop_area, recipe='openvla',
        fit='squash', mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0),
    )  # fmt: skip


@dataclass(frozen=True)
class Contract:
    """All that the manifest says besides segments and files.

    Attributes:
        family: Kind of model.
        hidden_tokens: Length of the sequence.
        hidden_width: Size of a token.
        cameras: In the order of the vision graph's inputs.
        proprioception: Joints and gripper, with their normalisation.
        instruction: How text becomes tokens; its tokenizer is ``TOKENIZER``.
        action: What the numbers mean.
        calibration: Guidance numbers.
        tokenizer: JSON of the ``tokenizers`` library.
        card: Where the model comes from.
    """

    family: str
    hidden_tokens: int
    hidden_width: int
    cameras: tuple[CameraSpec, ...]
    proprioception: ProprioceptionSpec
    instruction: InstructionSpec
    action: ActionSpec
    calibration: CalibrationSpec
    tokenizer: str
    card: dict[str, Any] = field(default_factory=dict)


class Described(Protocol):
    """A model whose manifest can be written, whether or not it can be exported."""

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""

    def contract(self) -> Contract:
        """Everything but the weights."""


class Exportable(Described, Protocol):
    """A distilled model that can be taken apart."""

    @property
    def fingerprint(self) -> str:
        """Changes when a weight does; an interrupted export goes on only under the same one."""

    def part(self, name: str) -> Part:
        """Build one part in float32 from the names of ``part_names``.

        ``vision`` and ``embed`` make the state entering layer 0. ``layer_07`` gives, when layer 8
        is dynamic, the ``gate`` of its controller as a second output, so that asking it costs no
        launch. ``bridge_08`` is the adapter of layer 8. ``head`` makes ``actions``.
        """


def part_names(layout: LayerLayout) -> tuple[str, ...]:
    """Every part of a layout, in the order in which they run and are exported."""
    layers = (f'layer_{index:02d}' for index in range(layout.layers_total))
    bridges = (f'bridge_{index:02d}' for index in layout.dynamic_layers)
    return ('vision', 'embed', *layers, *bridges, 'head')


class GatedLayer(nn.Module):
    """A layer that also scores the state it made."""

    def __init__(self, layer: nn.Module, score: nn.Module) -> None:
        """Join a layer with the controller of the one that follows."""
        super().__init__()
        self.layer, self.score = layer, score

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(1, tokens, width) -> the state after the layer, and the score (1,)."""
        after = self.layer(hidden)
        return after, self.score(after)
