"""OpenVLA-OFT from its published folder, one part at a time.

``open_oft`` reads shapes and statistics only; each part's weights are read when the part is asked
for. An exporter that asks for one layer, writes it and drops it needs memory for one layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from dysl_vla_ros.bundle.manifest import InstructionSpec, NormalisationSpec
from dysl_vla_ros.bundle.strict_json import expect
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.family import expect_oft, read_config
from dysl_vla_ros.lab.model.film_vision import open_film
from dysl_vla_ros.lab.model.fused_vision import FusedVision
from dysl_vla_ros.lab.model.openvla_oft import (
    OftConfig,
    OftEmbed,
    OftHead,
    OftLayer,
    OpenVlaOft,
    oft_vision,
)
from dysl_vla_ros.lab.model.published_model import (
    TOWERS,
    image_size,
    prompt_of,
    read_colours,
    read_tokenizer,
    text_shape,
    tower_shapes,
)
from dysl_vla_ros.lab.model.published_statistics import Bounds, normalisation, read_statistics
from dysl_vla_ros.lab.model.published_values import whole
from dysl_vla_ros.lab.model.tensor_files import TensorFiles, listing, open_folder, open_part
from dysl_vla_ros.lab.model.unread import MODEL, Piece, of_towers, read_by, unread

WORDS = 'language_model.model.embed_tokens.'
_DEFAULTS = OftConfig()
Module = TypeVar('Module', bound=nn.Module)
_WORDS_OUT = r'language_model\.lm_head\.weight'
"""Published with the model; an OFT writes no words."""


@dataclass(frozen=True)
class OftCheckpoint:
    """A published folder, opened: what it means at once, its weights when asked for.

    Attributes:
        folder: Where it lies.
        config: Shape of the network.
        action: Normalisation of the actions.
        proprioception: Normalisation of the proprioception; None for a model without.
        tokenizer: JSON of the ``tokenizers`` library.
        dtype: Of the parts that are handed out.
        weights: The model's tensors.
        head_weights: The action head's.
        state_weights: The proprioception projector's; None for a model without.
        film_weights: The towers of OFT+, which the instruction modulates; None for OFT.
    """

    folder: Path
    config: OftConfig
    action: NormalisationSpec
    proprioception: NormalisationSpec | None
    tokenizer: str
    dtype: torch.dtype
    weights: TensorFiles
    head_weights: TensorFiles
    state_weights: TensorFiles | None
    film_weights: TensorFiles | None = None

    @property
    def instruction(self) -> InstructionSpec:
        """How text becomes tokens."""
        return prompt_of(self.config.prompt_tokens, self.config.pad_id)

    def vision(self) -> FusedVision:
        """Both towers and the projector."""
        return self._filled(oft_vision, self._of_vision)

    def embed(self) -> OftEmbed:
        """Token embedding and proprioception projector."""
        return self._filled(OftEmbed, self._of_embed)

    def layer(self, index: int) -> OftLayer:
        """One decoder layer."""
        return self._filled(OftLayer, lambda part: self._of_layer(part, index))

    def head(self) -> OftHead:
        """Final norm and action head."""
        return self._filled(OftHead, self._of_head)

    def lacking(self) -> list[str]:
        """Tensors of any part that are missing or have another shape or kind; reads no weight."""
        return [text for module, files, prefix in self._pieces()
                for text in files.lacking(module, prefix)]  # fmt: skip

    def unread(self) -> list[str]:
        """Tensors of the folder that no part reads."""
        pieces = self._pieces()
        towers = of_towers(TOWERS, self.config.towers)
        own = f'{_WORDS_OUT}|{towers}' if self.film_weights is None else (
            rf'{_WORDS_OUT}|vision_backbone\..*')  # fmt: skip
        found = unread(self.weights, read_by(pieces, self.weights), MODEL, own)
        for files in (self.head_weights, self.state_weights, self.film_weights):
            if files is not None:
                found += unread(files, read_by(pieces, files), spared=towers)
        return found

    def _pieces(self) -> list[Piece]:
        """All parts, without memory for their weights."""
        layer = _empty(OftLayer, self.config)
        return [
            *self._of_vision(_empty(oft_vision, self.config)),
            *self._of_embed(_empty(OftEmbed, self.config)),
            *(piece for index in range(self.config.layers)
              for piece in self._of_layer(layer, index)),
            *self._of_head(_empty(OftHead, self.config)),
        ]  # fmt: skip

    def _filled(
        self, kind: Callable[[OftConfig], Module], of: Callable[[Module], list[Piece]]
    ) -> Module:
        part = _empty(kind, self.config)
        for module, files, prefix in of(part):
            files.fill(module, prefix, self.dtype)
        return part

    def _of_vision(self, part: FusedVision) -> list[Piece]:
        eyes = self.film_weights or self.weights
        pieces: list[Piece] = [
            (tower, eyes, prefix) for tower, prefix in zip(part.towers, TOWERS, strict=True)
        ]
        pieces.append((part.projector, self.weights, 'projector.'))
        if self.film_weights is not None:
            pieces.append((part.get_submodule('words'), self.weights, WORDS))
        return pieces

    def _of_embed(self, part: OftEmbed) -> list[Piece]:
        pieces: list[Piece] = [(part.embed_tokens, self.weights, WORDS)]
        if self.state_weights is not None:
            pieces.append((part.proprio_projector, self.state_weights, ''))
        return pieces

    def _of_layer(self, part: OftLayer, index: int) -> list[Piece]:
        return [(part, self.weights, f'language_model.model.layers.{index}.')]

    def _of_head(self, part: OftHead) -> list[Piece]:
        pieces: list[Piece] = [(part.norm, self.weights, 'language_model.model.norm.')]
        return pieces + [
            (child, self.head_weights, f'model.{name}.')
            for name, child in part.named_children()
            if name != 'norm'
        ]

    def network(self, place: Callable[[nn.Module], None] | None = None) -> OpenVlaOft:
        """All parts; needs memory for the weights once, and one part more.

        Args:
            place: Takes each part over as soon as it is read, to another device or in shares;
                then this machine's memory holds one part at a time.
        """
        network = _empty(OpenVlaOft, self.config)

        def placed(part: Module) -> Module:
            part.eval()
            if place is not None:
                place(part)
            return part

        network.vision_part = placed(self.vision())
        network.embed_part = placed(self.embed())
        for index in range(self.config.layers):
            network.layers[index] = placed(self.layer(index))
        network.head_part = placed(self.head())
        return network.eval()


def open_oft(
    folder: Path | str,
    unnorm_key: str = '',
    *,
    cameras: tuple[str, ...] = _DEFAULTS.cameras,
    action_horizon: int = _DEFAULTS.action_horizon,
    prompt_tokens: int = _DEFAULTS.prompt_tokens,
    bounds: Bounds = 'quantiles',
    units: tuple[float, ...] = (),
    dtype: torch.dtype = torch.float32,
) -> OftCheckpoint:
    """Open a published OpenVLA-OFT folder; reads no weights yet.

    Args:
        folder: Weights, ``config.json``, ``dataset_statistics.json``, ``tokenizer.json``,
            ``action_head--*_checkpoint.pt`` and, for most, ``proprio_projector--*_checkpoint.pt``;
            for OFT+ also ``vision_backbone--*_checkpoint.pt``.
        unnorm_key: Data set whose statistics are used; may be empty where there is one.
        cameras: Names of the images; their number is not in the folder (upstream's
            ``num_images_in_input``). Third person first, then wrist.
        action_horizon: Actions per chunk; not in the folder either (8 for LIBERO, 25 for ALOHA).
        prompt_tokens: Longest prompt; every token costs time in every layer.
        bounds: What -1 and 1 stand for in the statistics.
        units: What 1.0 of the data set's actions is in [m] and [rad]; ``LIBERO_UNITS``.
        dtype: Of the parts.

    Raises:
        BundleError: The folder is of another family, or incomplete; says what is there.
    """
    folder = Path(folder)
    expect_oft(folder)
    weights = open_folder(folder)
    head, state, action_dim, state_dim = open_ends(folder)
    statistics = read_statistics(folder, unnorm_key)
    film = open_film(folder)
    published = read_config(folder)
    means, stds = read_colours(folder)
    config = OftConfig(
        text=text_shape(published, folder), towers=tower_shapes(published, weights, folder),
        means=means, stds=stds, image_size=image_size(published, folder), cameras=cameras,
        prompt_tokens=prompt_tokens,
        pad_id=whole(published, 'pad_token_id', _DEFAULTS.pad_id, f'{folder}/config.json: ', 0),
        proprioception_dim=state_dim, action_horizon=action_horizon, action_dim=action_dim,
        film=film is not None,
    )  # fmt: skip
    return OftCheckpoint(
        folder=folder, config=config,
        action=normalisation(statistics, 'action', action_dim, bounds, units),
        proprioception=normalisation(statistics, 'proprio', state_dim, bounds)
        if state is not None else None,
        tokenizer=read_tokenizer(folder), dtype=dtype, weights=weights, head_weights=head,
        state_weights=state, film_weights=film,
    )  # fmt: skip


def open_ends(folder: Path) -> tuple[TensorFiles, TensorFiles | None, int, int]:
    """Action head and proprioception projector, and how many numbers they have.

    Raises:
        BundleError: There is no head, or more than one of either.
    """
    head, state = (open_part(folder, stem) for stem in ('action_head', 'proprio_projector'))
    if head is None:
        raise BundleError(f'{folder}: no action_head--*_checkpoint.pt; {listing(folder)}')
    rows = head.shape('model.fc2.weight')
    expect(f'{folder}: action_head: model.fc2.weight', rows, len(rows) == 2 and rows[0] >= 2,
           'a row for each number of an action, and no fewer than 2')  # fmt: skip
    action_dim = rows[0]
    state_dim = state.shape('fc1.weight')[1] if state is not None else 0
    return head, state, action_dim, state_dim


def _empty(kind: Callable[[OftConfig], Module], config: OftConfig) -> Module:
    """A part without memory for its weights."""
    with torch.device('meta'):
        return kind(config).eval()
