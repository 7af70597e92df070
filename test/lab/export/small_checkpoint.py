"""A small distilled policy with random weights, and what it is fed with."""

from __future__ import annotations

import numpy as np
import torch

from dysl_vla_ros.bundle.manifest import CalibrationSpec, NormalisationSpec
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.lab.data.words import build_tokenizer
from dysl_vla_ros.lab.model.checkpoint import Checkpoint
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.shapes import CameraShape, PolicyConfig, Statistics
from dysl_vla_ros.lab.model.skipping import SkipModules

STATIC = (0, 3, 5)


def make_checkpoint(layers: int = 6, static: tuple[int, ...] = STATIC) -> Checkpoint:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(['pick up the red cube'])
    config = PolicyConfig(
        vocabulary=tokenizer.get_vocab_size(), layers=layers, width=32, head_dim=16,
        cameras=(CameraShape('image', 32, 32), CameraShape('wrist_image', 16, 16)),
        stem_channels=(8, 8, 8), auxiliary_layer=1, instruction_tokens=6,
    )  # fmt: skip
    unit = NormalisationSpec(low=(-1.0,) * 7, high=(1.0,) * 7, mask=(True,) * 7)
    skipping = SkipModules(LayerLayout(layers, static), config.width)
    for parameter in skipping.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return Checkpoint(
        config, Statistics(unit, unit), tokenizer.to_str(), PolicyNetwork(config), skipping,
        CalibrationSpec(eta=0.2, window=5, threshold=0.3, hysteresis=0.1, weights=(1.0,) * 7),
        {'seed': 3},
    )  # fmt: skip


def example_inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        'image': rng.normal(size=(1, 3, 32, 32)).astype(np.float32),
        'wrist_image': rng.normal(size=(1, 3, 16, 16)).astype(np.float32),
        'tokens': np.array([[2, 3, 4, 5, 0, 0]], dtype=np.int64),
        'proprioception': rng.normal(size=(1, 7)).astype(np.float32),
    }
