"""What OpenVLA's published folders have in common: shapes, colours, tokenizer, vision weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.git_lfs import refuse_pointer
from dysl_vla_ros.bundle.manifest import InstructionSpec
from dysl_vla_ros.bundle.ranges import check_colours
from dysl_vla_ros.bundle.strict_json import expect
from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.family import read_json
from dysl_vla_ros.lab.model.fused_vision import MEANS, STDS, Rgb
from dysl_vla_ros.lab.model.llama import LlamaShape
from dysl_vla_ros.lab.model.published_values import (
    MOST_LAYERS,
    above_zero,
    check_whole,
    is_number,
    part,
    whole,
)
from dysl_vla_ros.lab.model.tensor_files import TensorFiles, listing
from dysl_vla_ros.lab.model.vision_tower import TowerShape

TOKENIZER = 'tokenizer.json'
IMAGE_SIZE = 224
_LARGEST_IMAGE = 1 << 14
TOWERS = ('vision_backbone.featurizer.', 'vision_backbone.fused_featurizer.')
"""Prefixes of DINOv2 and SigLIP; their channels are concatenated in this order."""
_HEADS = {
    'vit_large_patch14_reg4_dinov2.lvd142m': 16,
    'vit_so400m_patch14_siglip_224': 16,
}
"""Attention heads, the one number that the weights do not show, by timm name."""


EMPTY_ID = 29871
"""The token that Llama writes as a lone space; upstream ends every prompt with it."""
TEMPLATE = 'In: What action should the robot take to {instruction}?\nOut:'


def prompt_of(tokens: int, pad_id: int) -> InstructionSpec:
    """How text becomes tokens; at most so many."""
    return InstructionSpec(
        tokenizer=TOKENIZER, tokens=tokens, template=TEMPLATE, pad_id=pad_id, end_id=EMPTY_ID
    )


def text_shape(published: Mapping[str, Any], folder: Path) -> LlamaShape:
    """Shape of the language model; what a published file leaves out is stock Llama-2-7B.

    Raises:
        BundleError: Another kind of model, a feature of Llama that is not built here, or a value
            that is none.
    """
    config = f'{folder}/config.json: '
    text, where = part(published, 'text_config', config), f'{config}text_config.'
    kind = text.get('model_type', 'llama')
    if kind != 'llama':
        raise BundleError(
            f"{folder}/config.json: text_config.model_type = {kind!r}: expected 'llama'"
        )
    stock = LlamaShape()
    heads = whole(text, 'num_attention_heads', stock.heads, where)
    rotary = part(text, 'rope_parameters', where)
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
    width = whole(text, 'hidden_size', stock.width, where)
    expect(f'{where}num_attention_heads', heads, width % (2 * heads) == 0,
           f'a divisor of hidden_size = {width}, with an even rest')  # fmt: skip
    return LlamaShape(
        layers=whole(text, 'num_hidden_layers', stock.layers, where, most=MOST_LAYERS),
        width=width,
        mlp_width=whole(text, 'intermediate_size', stock.mlp_width, where),
        heads=heads,
        vocabulary=whole(text, 'vocab_size', stock.vocabulary, where),
        norm_epsilon=above_zero(text, 'rms_norm_eps', stock.norm_epsilon, where),
        rotary_base=above_zero(
            {'rope_theta': text.get('rope_theta', stock.rotary_base), **rotary}, 'rope_theta',
            stock.rotary_base, where,
        ),
    )  # fmt: skip


def tower_shapes(
    published: Mapping[str, Any], weights: TensorFiles, folder: Path
) -> tuple[TowerShape, TowerShape]:
    """Shapes of both towers, read off the weights.

    Raises:
        BundleError: Not the two towers of OpenVLA.
    """
    names = published.get('timm_model_ids') or list(_HEADS)
    fused = published.get('use_fused_vision_backbone', True)
    override = published.get('timm_override_act_layers') or []
    plain = isinstance(override, list) and not any(override)
    listed = isinstance(names, list) and len(names) == 2
    if not fused or not plain or not listed or any(name not in list(_HEADS) for name in names):
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
        BundleError: The towers want different sizes, or something that is none.
    """
    sizes = published.get('image_sizes') or [IMAGE_SIZE]
    where = f'{folder}/config.json: image_sizes'
    expect(where, sizes, isinstance(sizes, list), 'a list of whole numbers, of pixels')
    for index, size in enumerate(sizes):
        check_whole(size, f'{where}[{index}]', most=_LARGEST_IMAGE)
    expect(where, sizes, len(set(sizes)) == 1, 'one size')
    return int(sizes[0])


def read_colours(folder: Path) -> tuple[tuple[Rgb, Rgb], tuple[Rgb, Rgb]]:
    """Means and standard deviations per tower: of ``preprocessor_config.json``, or OpenVLA's own.

    Raises:
        BundleError: The file is there, and has something else than two triples each, or what no
            colours in [0, 1] have.
    """
    path = folder / 'preprocessor_config.json'
    if not path.is_file():
        return MEANS, STDS
    document, pairs = read_json(path), []
    for key, default in (('means', MEANS), ('stds', STDS)):
        values = document.get(key, default)
        right = _rows(values, 2) and all(
            _rows(triple, 3) and all(is_number(value) for value in triple) for triple in values
        )
        expect(f'{path}: {key}', values, right, 'three numbers per tower, twice')
        first, second = ((float(r), float(g), float(b)) for r, g, b in values)
        pairs.append((first, second))
    for mean, std in zip(*pairs, strict=True):
        check_colours(f'{path}: means', mean, f'{path}: stds', std)
    return pairs[0], pairs[1]


def _rows(found: object, count: int) -> bool:
    return isinstance(found, (list, tuple)) and len(found) == count


def read_tokenizer(folder: Path) -> str:
    """Text of ``tokenizer.json``, with its own truncation and padding off.

    Raises:
        BundleError: It is missing, or no tokenizer.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        raise BundleError(
            f'{path}: no such file; a tokenizer.model alone is not enough: save the fast '
            f'tokenizer with transformers; {listing(folder)}'
        )
    refuse_pointer(path)
    document = read_json(path)
    if not isinstance(document.get('model'), dict):
        raise BundleError(f'{path}: no model: expected a file of the tokenizers library')
    # The length is the bundle's own: a tokenizer that cuts would drop words without a word.
    return json.dumps({**document, 'truncation': None, 'padding': None}, ensure_ascii=False)


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
