"""OpenVLA-OFT from its published folder, one part at a time.

``open_oft`` reads shapes and statistics only; each part's weights are read when the part is asked
for. An exporter that asks for one layer, writes it and drops it needs memory for one layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from dysl_vla_ros.engines.bundle import NormalisationSpec
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.model.family import detect_family, read_config, read_json
from dysl_vla_ros.model.llama import LlamaShape
from dysl_vla_ros.model.openvla_oft import (
    OftConfig,
    OftEmbed,
    OftHead,
    OftLayer,
    OftVision,
    OpenVlaOft,
    Rgb,
)
from dysl_vla_ros.model.published_statistics import Bounds, normalisation, read_statistics
from dysl_vla_ros.model.tensor_files import TensorFiles, listing, open_folder, open_part
from dysl_vla_ros.model.vision_tower import TowerShape

TOKENIZER = 'tokenizer.json'
EMPTY_ID = 29871
"""The token that Llama writes as a lone space; upstream ends every prompt with it."""
TEMPLATE = 'In: What action should the robot take to {instruction}?\nOut:'
TOWERS = ('vision_backbone.featurizer.', 'vision_backbone.fused_featurizer.')
"""Prefixes of DINOv2 and SigLIP; their channels are concatenated in this order."""
_HEADS = {
    'vit_large_patch14_reg4_dinov2.lvd142m': 16,
    'vit_so400m_patch14_siglip_224': 16,
}
"""Attention heads, the one number that the weights do not show, by timm name."""
_DEFAULTS = OftConfig()
Module = TypeVar('Module', bound=nn.Module)


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

    def vision(self) -> OftVision:
        """Both towers and the projector."""
        part = _empty(OftVision, self.config)
        fill_vision(part, self.weights, self.dtype)
        return part

    def embed(self) -> OftEmbed:
        """Token embedding and proprioception projector."""
        part = _empty(OftEmbed, self.config)
        self.weights.fill(
            part.embed_tokens, 'language_model.model.embed_tokens.', self.dtype
        )
        if self.state_weights is not None:
            self.state_weights.fill(part.proprio_projector, '', self.dtype)
        return part

    def layer(self, index: int) -> OftLayer:
        """One decoder layer."""
        part = _empty(OftLayer, self.config)
        self.weights.fill(part, f'language_model.model.layers.{index}.', self.dtype)
        return part

    def head(self) -> OftHead:
        """Final norm and action head."""
        part = _empty(OftHead, self.config)
        self.weights.fill(part.norm, 'language_model.model.norm.', self.dtype)
        for name, child in part.named_children():
            if name != 'norm':
                self.head_weights.fill(child, f'model.{name}.', self.dtype)
        return part

    def network(self) -> OpenVlaOft:
        """All parts; needs memory for the weights once, and one part more."""
        network = _empty(OpenVlaOft, self.config)
        network.vision_part = self.vision()
        network.embed_part = self.embed()
        for index in range(self.config.layers):
            network.layers[index] = self.layer(index)
        network.head_part = self.head()
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
            ``action_head--*_checkpoint.pt`` and, for most, ``proprio_projector--*_checkpoint.pt``.
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
    family = detect_family(folder)
    if family != 'openvla_oft':
        raise BundleError(
            f'{folder}: no action_head--*_checkpoint.pt: expected OpenVLA-OFT with its L1 head. '
            f'This is {family}, which writes seven tokens per action: it runs in torch '
            f'(model.openvla_engine), and is not exported; {listing(folder)}'
        )
    weights = open_folder(folder)
    head, state = (open_part(folder, stem) for stem in ('action_head', 'proprio_projector'))
    assert head is not None  # detect_family saw the file
    statistics = read_statistics(folder, unnorm_key)
    action_dim = head.shape('model.fc2.weight')[0]
    state_dim = state.shape('fc1.weight')[1] if state is not None else 0
    published = read_config(folder)
    means, stds = read_colours(folder)
    config = OftConfig(
        text=text_shape(published, folder), towers=tower_shapes(published, weights, folder),
        means=means, stds=stds, image_size=image_size(published, folder), cameras=cameras,
        prompt_tokens=prompt_tokens, pad_id=int(published.get('pad_token_id', _DEFAULTS.pad_id)),
        proprioception_dim=state_dim, action_horizon=action_horizon, action_dim=action_dim,
    )  # fmt: skip
    return OftCheckpoint(
        folder=folder, config=config,
        action=normalisation(statistics, 'action', action_dim, bounds, units),
        proprioception=normalisation(statistics, 'proprio', state_dim, bounds)
        if state is not None else None,
        tokenizer=read_tokenizer(folder), dtype=dtype, weights=weights, head_weights=head,
        state_weights=state,
    )  # fmt: skip


def fill_vision(part: OftVision, weights: TensorFiles, dtype: torch.dtype) -> None:
    """Weights of both towers and the projector."""
    for tower, prefix in zip(part.towers, TOWERS, strict=True):
        weights.fill(tower, prefix, dtype)
    weights.fill(part.projector, 'projector.', dtype)


def text_shape(published: Mapping[str, Any], folder: Path) -> LlamaShape:
    """Shape of the language model; what a published file leaves out is stock Llama-2-7B.

    Raises:
        BundleError: Another kind of model, or a feature of Llama that is not built here.
    """
    text = published.get('text_config') or {}
    kind = text.get('model_type', 'llama')
    if kind != 'llama':
        raise BundleError(
            f"{folder}/config.json: text_config.model_type = {kind!r}: expected 'llama'"
        )
    stock = LlamaShape()
    heads = int(text.get('num_attention_heads', stock.heads))
    rotary = text.get('rope_parameters') or {}
    scaling = text.get('rope_scaling') or rotary.get('rope_type', 'default')
    for name, value, right in (
        ('num_key_value_heads', text.get('num_key_value_heads', heads), heads),
        ('rope_scaling', scaling, 'default'),
        ('hidden_act', text.get('hidden_act', 'silu'), 'silu'),
        ('attention_bias', text.get('attention_bias', False), False),
        ('mlp_bias', text.get('mlp_bias', False), False),
    ):
        if value != right:
            raise BundleError(
                f'{folder}/config.json: text_config.{name} = {value!r}: expected {right!r}'
            )
    return LlamaShape(
        layers=int(text.get('num_hidden_layers', stock.layers)),
        width=int(text.get('hidden_size', stock.width)),
        mlp_width=int(text.get('intermediate_size', stock.mlp_width)),
        heads=heads,
        vocabulary=int(text.get('vocab_size', stock.vocabulary)),
        norm_epsilon=float(text.get('rms_norm_eps', stock.norm_epsilon)),
        rotary_base=float(rotary.get('rope_theta', text.get('rope_theta', stock.rotary_base))),
    )


def tower_shapes(
    published: Mapping[str, Any], weights: TensorFiles, folder: Path
) -> tuple[TowerShape, TowerShape]:
    """Shapes of both towers, read off the weights.

    Raises:
        BundleError: Not the two towers of OpenVLA.
    """
    names = published.get('timm_model_ids') or list(_HEADS)
    fused = published.get('use_fused_vision_backbone', True)
    override = [layer for layer in published.get('timm_override_act_layers') or () if layer]
    if not fused or override or len(names) != 2 or any(name not in _HEADS for name in names):
        raise BundleError(
            f'{folder}/config.json: timm_model_ids = {names}: expected {list(_HEADS)}, fused, '
            'with their own activations'
        )
    first, second = (
        _tower_shape(weights, prefix, _HEADS[name])
        for prefix, name in zip(TOWERS, names, strict=True)
    )
    return first, second


def image_size(published: Mapping[str, Any], folder: Path) -> int:
    """Side of the square images [pixels].

    Raises:
        BundleError: The towers want different sizes.
    """
    sizes = published.get('image_sizes') or [_DEFAULTS.image_size]
    if len(set(sizes)) != 1:
        raise BundleError(f'{folder}/config.json: image_sizes = {sizes}: expected one size')
    return int(sizes[0])


def read_colours(folder: Path) -> tuple[tuple[Rgb, Rgb], tuple[Rgb, Rgb]]:
    """Means and standard deviations per tower: of ``preprocessor_config.json``, or OpenVLA's own.

    Raises:
        BundleError: The file is there, and has something else than two triples each.
    """
    path = folder / 'preprocessor_config.json'
    if not path.is_file():
        return _DEFAULTS.means, _DEFAULTS.stds
    document, pairs = read_json(path), []
    for key, default in (('means', _DEFAULTS.means), ('stds', _DEFAULTS.stds)):
        values = document.get(key, default)
        if len(values) != 2 or any(len(triple) != 3 for triple in values):
            raise BundleError(f'{path}: {key} = {values}: expected three numbers per tower, twice')
        first, second = ((float(r), float(g), float(b)) for r, g, b in values)
        pairs.append((first, second))
    return pairs[0], pairs[1]


def read_tokenizer(folder: Path) -> str:
    """Text of ``tokenizer.json``.

    Raises:
        BundleError: It is missing.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        raise BundleError(
            f'{path}: no such file; a tokenizer.model alone is not enough: save the fast '
            f'tokenizer with transformers; {listing(folder)}'
        )
    return path.read_text(encoding='utf-8')


def _tower_shape(weights: TensorFiles, prefix: str, heads: int) -> TowerShape:
    names = [name for name in weights.names() if name.startswith(prefix)]
    blocks = {name.split('blocks.')[1].split('.')[0] for name in names if '.blocks.' in name}
    mlp, width = weights.shape(f'{prefix}blocks.0.mlp.fc1.weight')
    registers = f'{prefix}reg_token'
    return TowerShape(
        width=width, depth=len(blocks), heads=heads, mlp_width=mlp,
        registers=weights.shape(registers)[1] if registers in names else 0,
        class_token=f'{prefix}cls_token' in names,
        layer_scale=f'{prefix}blocks.0.ls1.scale_factor' in names,
    )  # fmt: skip


def _empty(kind: type[Module], config: OftConfig) -> Module:
    """A part without memory for its weights."""
    with torch.device('meta'):
        return kind(config).eval()
