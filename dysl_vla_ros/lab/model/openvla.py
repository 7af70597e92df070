"""OpenVLA: a causal Llama-2 that writes an action as seven tokens; network and loader.

How layers are skipped while it writes is in ``openvla_engine``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dysl_vla_ros.bundle.manifest import InstructionSpec, NormalisationSpec
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.family import detect_family, read_config
from dysl_vla_ros.lab.model.fused_vision import MEANS, STDS, FusedVision, Rgb
from dysl_vla_ros.lab.model.llama import LlamaLayer, LlamaNorm, LlamaShape
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
from dysl_vla_ros.lab.model.published_values import part, whole
from dysl_vla_ros.lab.model.tensor_files import TensorFiles, open_folder
from dysl_vla_ros.lab.model.unread import MODEL, of_towers, read_by, unread
from dysl_vla_ros.lab.model.vision_tower import DINO_LARGE, SIGLIP_SO400M, TowerShape


@dataclass(frozen=True)
class OpenVlaConfig:
    """Shape of the network; the defaults are those of the published 7B model.

    Attributes:
        text: The language model.
        towers: DINOv2, then SigLIP.
        means: Per tower, subtracted from an image in [0, 1].
        stds: Per tower, divided by.
        image_size: Side of the image [pixels].
        camera: Name of the image.
        pad_id: Token id that fills shorter prompts up.
        action_dim: Tokens per action.
        bins: Values that a token can stand for, in [-1, 1].
        extra_vocabulary: Rows at the end of the vocabulary that are no words: actions are the
            last words before them.
    """

    text: LlamaShape = LlamaShape()
    towers: tuple[TowerShape, TowerShape] = (DINO_LARGE, SIGLIP_SO400M)
    means: tuple[Rgb, Rgb] = MEANS
    stds: tuple[Rgb, Rgb] = STDS
    image_size: int = 224
    camera: str = 'image'
    pad_id: int = 32000
    action_dim: int = 7
    bins: int = 256
    extra_vocabulary: int = 64

    @property
    def width(self) -> int:
        """Size of a token."""
        return self.text.width

    def values(self, tokens: NDArray[np.int64]) -> FloatArray:
        """What action tokens stand for: centres of equal bins, counted from the last word down."""
        edges = np.linspace(-1.0, 1.0, self.bins)
        centres = (edges[:-1] + edges[1:]) / 2.0
        words = self.text.vocabulary - self.extra_vocabulary
        place = np.clip(words - tokens - 1, 0, len(centres) - 1)
        return np.asarray(centres[place])


class OpenVla(nn.Module):
    """The whole policy; parameter names of the language model as published."""

    def __init__(self, config: OpenVlaConfig) -> None:
        super().__init__()
        self.config = config
        self.vision = FusedVision(config)
        self.embed_tokens = nn.Embedding(config.text.vocabulary, config.width)
        self.layers = nn.ModuleList(LlamaLayer(config.text) for _ in range(config.text.layers))
        self.norm = LlamaNorm(config.width, config.text.norm_epsilon)
        self.lm_head = nn.Linear(config.width, config.text.vocabulary, bias=False)

    def prompt(self, image: Tensor, tokens: Tensor) -> Tensor:
        """BOS, patches, rest of the prompt: (1, n, width).

        Args:
            image: In [0, 1], (1, 3, size, size).
            tokens: int64 (1, any); padding is left out.
        """
        words = self.embed_tokens(tokens[tokens != self.config.pad_id][None])
        return torch.cat((words[:, :1], self.vision(image), words[:, 1:]), dim=1)

    def next_token(self, hidden: Tensor) -> Tensor:
        """The likeliest token after the last one, int64 (1, 1)."""
        return self.lm_head(self.norm(hidden[:, -1:])).argmax(dim=-1)


@dataclass(frozen=True)
class OpenVlaCheckpoint:
    """A published folder, opened: what it means at once, its weights when asked for.

    Attributes:
        folder: Where it lies.
        config: Shape of the network.
        action: Normalisation of the actions.
        tokenizer: JSON of the ``tokenizers`` library.
        prompt_tokens: Longest prompt.
        weights: The model's tensors.
    """

    folder: Path
    config: OpenVlaConfig
    action: NormalisationSpec
    tokenizer: str
    prompt_tokens: int
    weights: TensorFiles

    @property
    def instruction(self) -> InstructionSpec:
        """How text becomes tokens: as for OpenVLA-OFT."""
        return prompt_of(self.prompt_tokens, self.config.pad_id)

    def network(self, dtype: torch.dtype = torch.float32) -> OpenVla:
        """The whole network, in evaluation mode."""
        network = _empty(self.config)
        for module, prefix in _pieces(network):
            self.weights.fill(module, prefix, dtype)
        return network

    def parameters(self) -> int:
        """How many weights it has; reads none."""
        return sum(weight.numel() for weight in _empty(self.config).parameters())

    def lacking(self) -> list[str]:
        """Tensors that are missing or have another shape; reads no weight."""
        return [text for module, prefix in _pieces(_empty(self.config))
                for text in self.weights.lacking(module, prefix)]  # fmt: skip

    def unread(self) -> list[str]:
        """Tensors of the folder that the network does not have."""
        pieces = [(module, self.weights, prefix) for module, prefix in _pieces(
            _empty(self.config))]  # fmt: skip
        spared = of_towers(TOWERS, self.config.towers)
        return unread(self.weights, read_by(pieces, self.weights), MODEL, spared)


def open_openvla(
    folder: Path | str, unnorm_key: str = '', *, camera: str = 'image',
    prompt_tokens: int = 40, bounds: Bounds = 'quantiles', units: tuple[float, ...] = (),
) -> OpenVlaCheckpoint:  # fmt: skip
    """Open a published OpenVLA folder; reads no weights yet.

    Args:
        folder: Weights, ``config.json``, ``tokenizer.json``, and statistics in
            ``dataset_statistics.json`` or in ``config.json``.
        unnorm_key: Data set whose statistics are used; may be empty where there is one.
        camera: Name of its image.
        prompt_tokens: Longest prompt.
        bounds: What -1 and 1 stand for in the statistics.
        units: What 1.0 of the data set's actions is in [m] and [rad].

    Raises:
        BundleError: The folder is of another family, or incomplete; says what is there.
    """
    folder = Path(folder)
    family = detect_family(folder)
    if family != 'openvla':
        raise BundleError(f'{folder}: {family}: expected OpenVLA without an action head')
    published, weights = read_config(folder), open_folder(folder)
    means, stds = read_colours(folder)
    statistics = read_statistics(folder, unnorm_key)
    # As upstream: it writes as many words as the data set's actions have numbers.
    dim, where = action_numbers(statistics), f'{folder}/config.json: '
    config = OpenVlaConfig(
        text=text_shape(published, folder), towers=tower_shapes(published, weights, folder),
        means=means, stds=stds, image_size=image_size(published, folder), camera=camera,
        pad_id=whole(published, 'pad_token_id', 32000, where, least=0), action_dim=dim,
        bins=whole(published, 'n_action_bins', 256, where, least=2),
        extra_vocabulary=whole(published, 'pad_to_multiple_of', 64, where, least=0),
    )  # fmt: skip
    action = normalisation(statistics, 'action', dim, bounds, units)
    return OpenVlaCheckpoint(folder, config, action, read_tokenizer(folder), prompt_tokens,
                             weights)  # fmt: skip


def action_numbers(statistics: Mapping[str, Any]) -> int:
    """Numbers of an action of a data set.

    Raises:
        BundleError: Its statistics have no action.
    """
    values = part(statistics, 'action', 'statistics: ').get('q01')
    if not isinstance(values, list) or not values:
        raise BundleError(f'statistics: {sorted(statistics)}: expected action.q01, numbers')
    return len(values)


def _pieces(network: OpenVla) -> list[tuple[nn.Module, str]]:
    """Modules, and what stands in front of their names in the files."""
    towers = zip(network.vision.towers, TOWERS, strict=True)
    return [
        *towers,
        (network.vision.projector, 'projector.'),
        (network.embed_tokens, 'language_model.model.embed_tokens.'),
        (network.layers, 'language_model.model.layers.'),
        (network.norm, 'language_model.model.norm.'),
        (network.lm_head, 'language_model.lm_head.'),
    ]


def _empty(config: OpenVlaConfig) -> OpenVla:
    """A network without memory for its weights."""
    with torch.device('meta'):
        return OpenVla(config).eval()
