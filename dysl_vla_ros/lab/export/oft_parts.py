"""OpenVLA-OFT, taken apart for export: weights are read when a part is asked for."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dysl_vla_ros.bundle.manifest import (
    ActionSpec,
    NormalisationSpec,
    ProprioceptionSpec,
    StateSource,
)
from dysl_vla_ros.bundle.vocabulary import check_rows
from dysl_vla_ros.data_types import ActionSpace, LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.export.parts import (
    TOKENIZER,
    Contract,
    GatedLayer,
    Part,
    openvla_camera,
    uncalibrated,
)
from dysl_vla_ros.lab.model.oft_skipping import oft_skip_modules
from dysl_vla_ros.lab.model.openvla_oft import OftConfig
from dysl_vla_ros.lab.model.openvla_oft_loader import OftCheckpoint
from dysl_vla_ros.lab.model.skipping_file import Skipping

_TWO_ARMS = 12
"""Numbers from which on a policy may move two arms."""
_WEIGHTS = frozenset({'.safetensors', '.bin', '.pt'})


@dataclass(frozen=True)
class OftRobot:
    """What the published folder does not say: the robot, and how its images were prepared.

    Attributes:
        joint_names: Joints whose positions are the model's proprioception or its actions, in its
            order; a gripper may follow them there. Empty leaves them to the node's parameters.
        space: Of the actions.
        period_s: How long one action lasts [s].
        delta_reference: What increments add to.
        frame_id: Frame of end-effector actions; '' leaves it to the node's parameters.
        tip_link: Link that they move; likewise.
        rotate_180: Images were turned in training (LIBERO).
        crop_area: Share of the image kept by the centre crop; 0.9 undoes the random crops of
            OpenVLA's training, 1.0 for a model trained without.
        source: What the proprioception is made of.
        fingers: Of a gripper in it, see ``ProprioceptionSpec``.
        state_gripper: Whether it ends with a gripper; None is for the joints' names to say.
        action_gripper: Whether an action does; None is for the mask to say.
    """

    joint_names: tuple[str, ...]
    space: ActionSpace = 'eef_delta'
    period_s: float = 0.05
    delta_reference: Literal['commanded', 'measured'] = 'commanded'
    frame_id: str = 'base_link'
    tip_link: str = 'grasp_link'
    rotate_180: bool = False
    crop_area: float = 0.9
    source: StateSource = 'joints'
    fingers: tuple[tuple[float, float], ...] = ()
    state_gripper: bool | None = None
    action_gripper: bool | None = None


class OftExport:
    """``Exportable`` over a published folder and the file with controllers and adapters."""

    def __init__(
        self, checkpoint: OftCheckpoint, skipping: Skipping | None, robot: OftRobot
    ) -> None:
        """Join them; reads no weights.

        Args:
            checkpoint: The model.
            skipping: None exports it dense: every layer static, no controller, no adapter.
            robot: What the folder does not say.

        Raises:
            ConfigError: They do not fit each other, or the robot's joints the proprioception.
            BundleError: A token of the tokenizer has no embedding.
        """
        config = checkpoint.config
        if checkpoint.dtype != torch.float32:
            raise ConfigError('dtype', checkpoint.dtype, 'float32: parts are exported from it')
        if skipping is None:
            dense = LayerLayout(config.layers, tuple(range(config.layers)))
            skipping = Skipping(oft_skip_modules(dense, config), None, {'dense': True})
        if skipping.modules.layout.layers_total != config.layers:
            raise ConfigError('skipping.layout', skipping.modules.layout.layers_total,
                              f'{config.layers} layers, as the model has')  # fmt: skip
        self._gripper = _state_gripper(config, robot)
        self._instruction = checkpoint.instruction
        check_rows(json.loads(checkpoint.tokenizer), f'{checkpoint.folder}/{TOKENIZER}',
                   self._instruction, config.text.vocabulary)  # fmt: skip
        self._checkpoint, self._skipping, self._robot = checkpoint, skipping, robot

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._skipping.modules.layout

    @property
    def fingerprint(self) -> str:
        """Names, sizes and times of the published files, and a hash of what was distilled.

        What the graphs are made of, and nothing that only the manifest says. Reading 15 GB only
        to hash them would take longer than going on with an export saves.
        """
        digest = hashlib.sha256()
        for path in sorted(Path(self._checkpoint.folder).iterdir()):
            if path.is_file() and path.suffix in _WEIGHTS:
                status = path.stat()
                line = f'{path.name} {status.st_size} {status.st_mtime_ns}\n'
                digest.update(line.encode())
        for name, tensor in self._skipping.modules.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().numpy().tobytes())
        # Cameras are told apart by their order: only the vision graph has their names.
        config = replace(self._checkpoint.config, cameras=self._numbered_cameras())
        digest.update(repr(config).encode())
        return digest.hexdigest()

    def _numbered_cameras(self) -> tuple[str, ...]:
        return tuple(str(number) for number in range(len(self._checkpoint.config.cameras)))

    def part(self, name: str) -> Part:
        """Read one part's weights."""
        module, inputs, outputs = self._part(name)
        shapes = self._examples()
        arguments = tuple(shapes[key] for key in inputs)
        return Part(module.eval(), arguments, inputs, outputs)

    def _part(self, name: str) -> tuple[nn.Module, tuple[str, ...], tuple[str, ...]]:
        checkpoint, modules = self._checkpoint, self._skipping.modules
        if name == 'vision':
            # OFT+ reads the instruction with its eyes.
            words = ('tokens',) if checkpoint.config.film else ()
            return checkpoint.vision(), (*checkpoint.config.cameras, *words), ('patches',)
        if name == 'embed':
            state = ('proprioception',) if checkpoint.config.proprioception_dim else ()
            return checkpoint.embed(), ('patches', 'tokens', *state), ('hidden',)
        if name == 'head':
            return checkpoint.head(), ('hidden',), ('actions',)
        kind, _, number = name.partition('_')
        index = int(number)
        if kind == 'bridge':
            return _copy(modules.adapter(index)), ('hidden',), ('hidden_out',)
        layer = checkpoint.layer(index)
        layer.fuse()
        if index + 1 not in self.layout.dynamic_layers:
            return layer, ('hidden',), ('hidden_out',)
        gated = GatedLayer(layer, _copy(modules.controller(index + 1)))
        return gated, ('hidden',), ('hidden_out', 'gate')

    def _examples(self) -> dict[str, Tensor]:
        config = self._checkpoint.config
        size = config.image_size
        return {
            **{name: torch.zeros(1, 3, size, size) for name in config.cameras},
            'patches': torch.zeros(1, config.patches, config.width),
            'tokens': torch.zeros(1, config.prompt_tokens, dtype=torch.int64),
            'proprioception': torch.zeros(1, config.proprioception_dim),
            'hidden': torch.zeros(1, config.tokens, config.width),
        }

    def contract(self) -> Contract:
        """From the published statistics and the robot."""
        checkpoint, robot, config = self._checkpoint, self._robot, self._checkpoint.config
        action = checkpoint.action
        calibration = self._skipping.calibration or uncalibrated(config.action_dim)
        return Contract(
            family='openvla_oft', hidden_tokens=config.tokens, hidden_width=config.width,
            cameras=tuple(
                openvla_camera(name, config.image_size, robot.rotate_180, robot.crop_area)
                for name in config.cameras
            ),
            proprioception=ProprioceptionSpec(
                dim=config.proprioception_dim,
                gripper=self._gripper,
                normalisation=checkpoint.proprioception or NormalisationSpec((), (), ()),
                clip=True, source=robot.source, fingers=robot.fingers,
            ),
            instruction=self._instruction,
            action=ActionSpec(
                space=robot.space, dim=config.action_dim, horizon=config.action_horizon,
                period_s=robot.period_s, gripper=_action_gripper(action, config, robot),
                delta_reference=robot.delta_reference, normalisation=action, displacement=action,
                gripper_threshold=None if action.mask[-1] else 0.5,
                joint_names=robot.joint_names, frame_id=robot.frame_id, tip_link=robot.tip_link,
            ),
            calibration=calibration, tokenizer=checkpoint.tokenizer,
            card={**self._skipping.card, 'published': Path(checkpoint.folder).name},
        )  # fmt: skip


def _state_gripper(config: OftConfig, robot: OftRobot) -> bool:
    """Whether the proprioception ends with a gripper.

    Raises:
        ConfigError: Its numbers are not those of the robot.
    """
    dim, joints = config.proprioception_dim, len(robot.joint_names)
    if robot.source != 'joints' or not dim:
        return bool(robot.state_gripper) and dim > 0
    if not joints and robot.state_gripper is not None:
        return robot.state_gripper
    # Of several arms under one policy each ends with an opening.
    if dim - joints not in ((0, 1) if dim < _TWO_ARMS else (0, 1, 2)):
        raise ConfigError(
            'joint_names', robot.joint_names, f'{dim} joints, or {dim - 1} and a gripper: the '
            'proprioception of this model has that many numbers',
        )  # fmt: skip
    return dim > joints


def _action_gripper(action: NormalisationSpec, config: OftConfig, robot: OftRobot) -> bool:
    if robot.action_gripper is None or (
        robot.space.startswith('joint') and len(robot.joint_names) == config.action_dim
    ):  # told by the mask; or every number is a joint by name
        return not action.mask[-1]
    return robot.action_gripper


def _copy(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).cpu().float()
