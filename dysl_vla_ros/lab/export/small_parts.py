"""The bundled policy, taken apart for export."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json

import torch
from torch import Tensor, nn

from dysl_vla_ros.bundle.manifest import (
    ActionSpec,
    CameraSpec,
    InstructionSpec,
    ProprioceptionSpec,
)
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.export.parts import TOKENIZER, Contract, GatedLayer, Part, uncalibrated
from dysl_vla_ros.lab.model.checkpoint import Checkpoint
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.robot_contract import RobotContract

FAMILY = 'dysl_small'


class _Vision(nn.Module):
    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, *images: Tensor) -> Tensor:
        return self.network.vision(*images)


class _Embed(nn.Module):
    def __init__(self, network: PolicyNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, patches: Tensor, tokens: Tensor, proprioception: Tensor) -> Tensor:
        return self.network.embed(patches, tokens, proprioception)


class SmallParts:
    """``Exportable`` over a checkpoint of the bundled policy."""

    def __init__(self, checkpoint: Checkpoint, robot: RobotContract | None = None) -> None:
        """Take a distilled checkpoint.

        Raises:
            ConfigError: It has no controllers and adapters yet.
        """
        if checkpoint.skipping is None:
            expected = 'a distilled checkpoint; run dysl distill'
            raise ConfigError('checkpoint.skipping', None, expected)
        self._checkpoint = checkpoint
        self._robot = robot or checkpoint.robot or RobotContract()
        self._network = checkpoint.network.cpu().float().eval()
        self._skipping = checkpoint.skipping.cpu().float().eval()
        found = checkpoint.card.get('reading')
        self.pictures: dict[str, str] = {} if found is None else dict(found['columns'])
        """Camera -> picture of the set that it was trained on."""

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._skipping.layout

    @property
    def fingerprint(self) -> str:
        """Hash of all weights."""
        digest = hashlib.sha256()
        for module in (self._network, self._skipping):
            for name, tensor in module.state_dict().items():
                digest.update(name.encode())
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def module(self, name: str) -> nn.Module:
        """The module of one part, with the checkpoint's own weights."""
        return self._part(name)[0]

    def part(self, name: str) -> Part:
        """Build one part; a copy, so that the checkpoint stays as it is."""
        module, inputs, outputs = self._part(name)
        shapes = self._examples()
        return Part(
            copy.deepcopy(module).eval(), tuple(shapes[key] for key in inputs), inputs, outputs
        )

    def _part(self, name: str) -> tuple[nn.Module, tuple[str, ...], tuple[str, ...]]:
        network, skipping = self._network, self._skipping
        if name == 'vision':
            names = tuple(camera.name for camera in network.config.cameras)
            return _Vision(network), names, ('patches',)
        if name == 'embed':
            return _Embed(network), ('patches', 'tokens', 'proprioception'), ('hidden',)
        if name == 'head':
            return network.action_head, ('hidden',), ('actions',)
        kind, _, number = name.partition('_')
        index = int(number)
        if kind == 'bridge':
            return skipping.adapter(index), ('hidden',), ('hidden_out',)
        layer = network.layers[index]
        if index + 1 not in self.layout.dynamic_layers:
            return layer, ('hidden',), ('hidden_out',)
        gated = GatedLayer(layer, skipping.controller(index + 1))
        return gated, ('hidden',), ('hidden_out', 'gate')

    def _examples(self) -> dict[str, Tensor]:
        config = self._network.config
        return {
            **{c.name: torch.zeros(1, 3, c.height, c.width) for c in config.cameras},
            'patches': torch.zeros(1, config.patches, config.width),
            'tokens': torch.zeros(1, config.instruction_tokens, dtype=torch.int64),
            'proprioception': torch.zeros(1, config.proprioception_dim),
            'hidden': torch.zeros(1, config.tokens, config.width),
        }

    def contract(self) -> Contract:
        """Of the robot that it was trained for."""
        checkpoint, robot = self._checkpoint, self._robot
        config, statistics = checkpoint.config, checkpoint.statistics
        calibration = checkpoint.calibration or uncalibrated(config.action_dim)
        return Contract(
            family=FAMILY, hidden_tokens=config.tokens, hidden_width=config.width,
            cameras=tuple(
                CameraSpec(c.name, c.height, c.width, fit=robot.fit) for c in config.cameras
            ),
            proprioception=ProprioceptionSpec(
                dim=config.proprioception_dim, gripper=robot.state_gripper,
                normalisation=statistics.proprioception, source=robot.source,
                fingers=robot.fingers,
            ),
            instruction=InstructionSpec(tokenizer=TOKENIZER, tokens=config.instruction_tokens),
            action=ActionSpec(
                space=robot.space, dim=config.action_dim, horizon=config.action_horizon,
                period_s=robot.period_s, gripper=robot.gripper,
                delta_reference=robot.delta_reference, normalisation=statistics.action,
                displacement=robot.displacement or statistics.action,
                joint_names=robot.joint_names, frame_id=robot.frame_id, tip_link=robot.tip_link,
                gripper_threshold=robot.gripper_threshold,
            ),
            calibration=calibration, tokenizer=checkpoint.tokenizer,
            card=json.loads(
                json.dumps({**checkpoint.card, 'network': dataclasses.asdict(config)})
            ),
        )  # fmt: skip
