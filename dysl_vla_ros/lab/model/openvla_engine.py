"""OpenVLA as an engine: one skip decision per action, and no hole in the keys and values.

A pass here is an action: the prompt goes through the layers once under a skip plan, and the
tokens that follow take *the same path*, adapters included. So the keys and values that a skipped
layer lacks are never asked for: a later token skips that layer, too. The result is that of running
the whole sequence again for every token.

It runs in torch. OpenVLA is not exported: every token after the first needs the keys and values of
the layers on its path, and exported parts pass one hidden state on. Without them an action would
cost seven passes over the whole prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.lab.model.engine_inputs import image_and_tokens
from dysl_vla_ros.lab.model.llama import KeyValue, LlamaLayer, rotary_table
from dysl_vla_ros.lab.model.openvla import OpenVla
from dysl_vla_ros.lab.model.skipping import SkipModules


@dataclass(frozen=True)
class _Step:
    """One station of the path: a layer, or the adapter of a layer."""

    layer: int
    adapter: bool


@dataclass(frozen=True)
class _Kept:
    hidden: Tensor
    path: tuple[_Step, ...]
    past: Mapping[int, KeyValue]


class OpenVlaEngine:
    """The engine protocol; ``decode`` writes the tokens after the first along the pass's path."""

    def __init__(
        self, network: OpenVla, skipping: SkipModules, device: torch.device | str = 'cpu'
    ) -> None:
        """Take a network and its skipping parts; both are set to evaluation mode."""
        self._network = network.to(device).eval()
        self._skipping = skipping.to(device).eval()
        self._device = torch.device(device)
        self._path: tuple[_Step, ...] = ()
        self._past: dict[int, KeyValue] = {}

    @property
    def layout(self) -> LayerLayout:
        """Depth, static layers, segments."""
        return self._skipping.layout

    @property
    def device(self) -> str:
        """In words, for diagnostics."""
        return f'{self._device.type.upper()} (torch {torch.__version__}, token by token)'

    @torch.inference_mode()
    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> Tensor:
        """The prompt entering layer 0; forgets the path and all keys and values."""
        kind = self._network.embed_tokens.weight.dtype
        image, tokens = image_and_tokens(inputs, self._network.config.camera, kind, self._device)
        self._path, self._past = (), {}
        return self._network.prompt(image, tokens)

    @torch.inference_mode()
    def run_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """The state after ``layer``, whose keys and values are remembered."""
        cos, sin = self._rotary(0, hidden.shape[1])
        after, self._past[layer] = self._layer(layer).causal(hidden, cos, sin)
        self._take(_Step(layer, adapter=False))
        return after

    @torch.inference_mode()
    def skip_score(self, layer: int, hidden: Tensor) -> float:
        """Score in [0, 1] of the controller at a dynamic layer."""
        return float(self._skipping.controller(layer)(hidden)[0])

    @torch.inference_mode()
    def bridge(self, layer: int, hidden: Tensor) -> Tensor:
        """Adapter: from the state entering ``layer`` to that entering the next static one."""
        self._take(_Step(layer, adapter=True))
        bridged: Tensor = self._skipping.adapter(layer)(hidden)
        return bridged

    def keep(self, hidden: Tensor) -> object:
        """The state, the path so far, and the keys and values along it."""
        return _Kept(hidden.clone(), self._path, dict(self._past))

    def restore(self, kept: object) -> Tensor:
        """Go back to where ``keep`` was called."""
        assert isinstance(kept, _Kept)
        self._path, self._past = kept.path, dict(kept.past)
        return kept.hidden

    @torch.inference_mode()
    def decode(self, hidden: Tensor) -> FloatArray:
        """Normalised action, (1, action_dim): this token, and the others along the same path."""
        network, past = self._network, dict(self._past)
        tokens = [network.next_token(hidden)]
        for position in range(hidden.shape[1], hidden.shape[1] + network.config.action_dim - 1):
            state = network.embed_tokens(tokens[-1])
            cos, sin = self._rotary(position, 1)
            for step in self._path:
                if step.adapter:
                    state = self._skipping.adapter(step.layer)(state)
                else:
                    state, past[step.layer] = self._layer(step.layer).causal(
                        state, cos, sin, past[step.layer]
                    )
            tokens.append(network.next_token(state))
        return network.config.values(torch.cat(tokens, dim=1).cpu().numpy())

    def synchronize(self) -> None:
        """Wait for a GPU; a CPU runs at once."""
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """Forget keys and values."""
        self._path, self._past = (), {}

    def _layer(self, index: int) -> LlamaLayer:
        layer = self._network.layers[index]
        assert isinstance(layer, LlamaLayer)
        return layer

    def _take(self, step: _Step) -> None:
        """Go on along the path; what an earlier pass took from here on is forgotten."""
        self._path = (*(taken for taken in self._path if taken.layer < step.layer), step)

    def _rotary(self, first: int, count: int) -> tuple[Tensor, Tensor]:
        cos, sin = rotary_table(first + count, self._network.config.text)
        return cos[first:].to(self._device), sin[first:].to(self._device)
