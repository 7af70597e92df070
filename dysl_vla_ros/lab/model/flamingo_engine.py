"""RoboFlamingo's structure as an engine: the head's memory is part of what is kept and restored.

``decode`` adds the observation to the memory. A re-run starts from what ``keep`` saved before
that, so the skipped pass leaves no trace in it. The memory ends with the instruction: upstream
clears it between tasks, and here another text does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dysl_vla_ros.data_types import FloatArray, LayerLayout
from dysl_vla_ros.lab.model.engine_inputs import image_and_tokens
from dysl_vla_ros.lab.model.flamingo import Flamingo
from dysl_vla_ros.lab.model.skipping import SkipModules


@dataclass(frozen=True)
class _Kept:
    hidden: Tensor
    window: Tensor


class FlamingoEngine:
    """The engine protocol in torch, batch 1; one action per pass."""

    def __init__(self, network: Flamingo, skipping: SkipModules, device: str = 'cpu') -> None:
        """Take a network and its skipping parts; both are set to evaluation mode."""
        self._network = network.to(device).eval()
        self._skipping = skipping.to(device).eval()
        self._device = torch.device(device)
        self._text: Tensor | None = None
        self._window = self._empty()

    @property
    def layout(self) -> LayerLayout:
        """Depth, static layers, segments."""
        return self._skipping.layout

    @property
    def device(self) -> str:
        """In words, for diagnostics."""
        return f'{self._device.type.upper()} (torch {torch.__version__}, recurrent head)'

    @property
    def remembered(self) -> int:
        """Observations in the head's memory."""
        return int(self._window.shape[1])

    @torch.inference_mode()
    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> Tensor:
        """The state entering layer 0; another text than before clears the memory."""
        kind = self._network.wte.weight.dtype
        image, tokens = image_and_tokens(inputs, self._network.config.camera, kind, self._device)
        if self._text is None or not torch.equal(self._text, tokens):
            self._text, self._window = tokens.clone(), self._empty()
        return self._network.embed(image, tokens)

    @torch.inference_mode()
    def run_layer(self, layer: int, hidden: Tensor) -> Tensor:
        """The state after ``layer``, cross-attention included."""
        return self._network.layer(layer, hidden)

    @torch.inference_mode()
    def skip_score(self, layer: int, hidden: Tensor) -> float:
        """Score in [0, 1] of the controller at a dynamic layer; it looks at the text."""
        return float(self._skipping.controller(layer)(self._network.text(hidden))[0])

    @torch.inference_mode()
    def bridge(self, layer: int, hidden: Tensor) -> Tensor:
        """Adapter on the text; the image tokens stay as they are for the next cross-attention."""
        text = self._skipping.adapter(layer)(self._network.text(hidden))
        return self._network.with_text(text, hidden)

    def keep(self, hidden: Tensor) -> object:
        """The state, and the head's memory as it is before this observation."""
        return _Kept(hidden.clone(), self._window)

    def restore(self, kept: object) -> Tensor:
        """Go back to where ``keep`` was called, in the memory too."""
        assert isinstance(kept, _Kept)
        self._window = kept.window
        return kept.hidden

    @torch.inference_mode()
    def decode(self, hidden: Tensor) -> FloatArray:
        """Normalised action (1, 7); the observation joins the memory."""
        network = self._network
        window = torch.cat((self._window, network.feature(hidden)[:, None]), dim=1)
        self._window = window[:, -network.config.history :]
        return np.asarray(network.head(self._window).double().cpu().numpy())

    def synchronize(self) -> None:
        """Wait for a GPU; a CPU runs at once."""
        if self._device.type == 'cuda':
            torch.cuda.synchronize(self._device)

    def close(self) -> None:
        """Forget the past."""
        self._text, self._window = None, self._empty()

    def _empty(self) -> Tensor:
        weight = self._network.wte.weight
        return torch.zeros(1, 0, weight.shape[1], dtype=weight.dtype, device=self._device)
