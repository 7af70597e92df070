"""The eyes of OpenVLA-OFT+: every block of both towers is scaled and shifted by the instruction.

Facts from ``prismatic/models/film_vit_wrapper.py`` and ``extern/hf/modeling_prismatic.py`` of
moojink/openvla-oft: the language embedding is the mean over BOS, prompt and ``</s>``; a block
multiplies by one plus a projection of it, and adds another, between its attention and its
feed-forward part. ``finetune.py`` saves the towers with their LoRA matrices apart, which are
merged here: ``base + min(rank, 16) / rank * B A``.

In a bundle the graph ``vision`` has ``tokens`` as one more input and the words' table in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dysl_vla_ros.errors import BundleError
from dysl_vla_ros.lab.model.fused_vision import FusedVision, VisionConfig
from dysl_vla_ros.lab.model.tensor_files import TensorFiles, open_part

STEM = 'vision_backbone'
_ALPHA = 16
"""Upstream's ``lora_alpha`` is ``min(lora_rank, 16)``."""
_BASE, _DOWN, _UP = '.base_layer.weight', '.lora_A.default.weight', '.lora_B.default.weight'


class FilmVision(FusedVision):
    """Images and tokens -> patch tokens (B, patches, width)."""

    def __init__(self, config: VisionConfig, vocabulary: int, pad_id: int, end_id: int) -> None:
        super().__init__(config, language=config.width)
        self.words = nn.Embedding(vocabulary, config.width)
        self.pad_id, self.end_id = pad_id, end_id

    def forward(self, *inputs: Tensor) -> Tensor:
        """Images as ``FusedVision`` takes them; last, int64 tokens (B, prompt_tokens)."""
        *images, tokens = inputs
        return self.see(images, self.language(tokens))

    def language(self, tokens: Tensor) -> Tensor:
        """Mean of the embeddings of all real tokens and of the end, (B, width)."""
        words = self.words(tokens)
        real = (tokens != self.pad_id).to(words.dtype)[..., None]
        end = self.words(torch.full_like(tokens[:, 0], self.end_id))
        total = (words * real).sum(dim=1) + end
        return total / (real.sum(dim=1) + 1.0)


class _Merged(Mapping[str, Tensor]):
    """The towers' tensors under the names of the published model; merged when asked for."""

    def __init__(self, saved: TensorFiles, title: str) -> None:
        self._saved = saved
        self._names: dict[str, str] = {}
        for name in saved.names():
            if '.lora_' in name:
                continue
            plain = name.replace('.base_layer.', '.').replace('.block.', '.')
            self._names[plain] = name
        known = set(saved.names())
        for name in known:
            if '.lora_' in name and not name.endswith((_DOWN, _UP)):
                raise BundleError(f'{title}: {name}: expected LoRA as peft writes it, '
                                  f'*{_DOWN} and *{_UP}')  # fmt: skip
            if name.endswith(_DOWN):
                stem = name.removesuffix(_DOWN)
                if not {stem + _UP, stem + _BASE} <= known:
                    raise BundleError(f'{title}: {name}: expected *{_UP} and *{_BASE} beside it')

    def __getitem__(self, name: str) -> Tensor:
        stored = self._names[name]
        tensor = self._saved.read(stored)
        stem = stored.removesuffix(_BASE)
        if stem == stored or f'{stem}{_DOWN}' not in self._saved.names():
            return tensor
        down, up = (self._saved.read(f'{stem}{end}').float() for end in (_DOWN, _UP))
        rank = len(down)
        # peft goes by names: the convolution that makes patches has matrices, too, (r, 3, 14, 14).
        product = (up.flatten(1) @ down.flatten(1)).reshape(tensor.shape)
        return tensor.float() + min(rank, _ALPHA) / rank * product

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Of a tensor; LoRA changes no shape."""
        return self._saved.shape(self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_film(folder: Path) -> TensorFiles | None:
    """The towers of an OFT+, LoRA merged, under the names that the published model gives them.

    Returns:
        None where the folder has none.

    Raises:
        BundleError: Several of them, or LoRA matrices that are not whole.
    """
    saved = open_part(folder, STEM)
    if saved is None:
        return None
    title = f'{folder}: {STEM}--*_checkpoint.pt'
    merged = _Merged(saved, title)
    if not any(name.endswith('.scale.weight') for name in merged):
        raise BundleError(f'{title}: no FiLM projections (*.scale.weight): expected the towers '
                          'of a model that was fine-tuned with use_film')  # fmt: skip
    place = folder / f'{STEM}.merged'
    return TensorFiles(dict.fromkeys(merged, place), title, {place: merged})
