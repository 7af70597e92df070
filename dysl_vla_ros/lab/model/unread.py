"""Tensors of a published folder that no part reads: its model is then another one.

A bias that the configuration denies, more layers than it says or one more block of the head would
be dropped without a word, and what is exported would act otherwise than what was trained.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from torch import nn

from dysl_vla_ros.lab.model.tensor_files import TensorFiles
from dysl_vla_ros.lab.model.vision_tower import TowerShape

Piece = tuple[nn.Module, TensorFiles, str]
"""A module, where its weights lie, and what stands in front of their names there."""
MODEL = ('language_model.', 'vision_backbone.', 'projector.')
"""What the names of the model's own tensors begin with; others are no part of it."""
_BUFFERS = r'(.*\.)?(rotary_emb\.inv_freq|position_ids)'
"""Counted again from the configuration; older transformers saved them."""
_ABOVE = r'(norm|fc_norm|attn_pool|head)\..*'
"""Of a tower, above the block whose states are used."""


def read_by(pieces: Iterable[Piece], files: TensorFiles) -> set[str]:
    """Names in ``files`` that pieces read."""
    return {prefix + name for module, source, prefix in pieces if source is files
            for name, _ in module.named_parameters()}  # fmt: skip


def of_towers(prefixes: Sequence[str], towers: Sequence[TowerShape]) -> str:
    """What is not used of published towers: the last block, and what is above it.

    Args:
        prefixes: Of the names of each tower.
        towers: Their shapes.
    """
    return '|'.join(rf'{re.escape(prefix)}({_ABOVE}|blocks\.{tower.depth - 1}\..*)'
                    for prefix, tower in zip(prefixes, towers, strict=True))  # fmt: skip


def unread(
    files: TensorFiles, read: Collection[str], known: tuple[str, ...] = ('',), spared: str = ''
) -> list[str]:
    """Names of tensors that are there and that nothing reads.

    Args:
        files: Where they lie.
        read: Names that are read.
        known: What the names that are looked at begin with.
        spared: Expression for those that published models have and nobody needs.
    """
    needless = re.compile(f'{_BUFFERS}|{spared}' if spared else _BUFFERS)
    return [
        name for name in files.names()
        if name not in read and name.startswith(known) and not needless.fullmatch(name)
    ]  # fmt: skip
