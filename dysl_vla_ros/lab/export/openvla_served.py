"""What an OpenVLA's numbers mean, and its engine: for ``dysl serve``, since it has no export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dysl_vla_ros.bundle.manifest import (
    ActionSpec,
    NormalisationSpec,
    ProprioceptionSpec,
)
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.lab.export.parts import Contract, openvla_camera, uncalibrated
from dysl_vla_ros.lab.model.openvla import OpenVlaCheckpoint
from dysl_vla_ros.lab.model.openvla_engine import OpenVlaEngine
from dysl_vla_ros.lab.model.published_settings import OftSettings
from dysl_vla_ros.lab.model.skipping import SkipModules
from dysl_vla_ros.lab.model.skipping_file import Skipping, load_skipping
from dysl_vla_ros.lab.model.vision_tower import PATCH

FAMILY = 'openvla'


class OpenVlaServed:
    """A published folder, dense or with controllers and adapters."""

    def __init__(
        self, checkpoint: OpenVlaCheckpoint, settings: OftSettings,
        skipping: Path | None = None, joint_names: tuple[str, ...] = (), frame_id: str = '',
        tip_link: str = '',
    ) -> None:  # fmt: skip
        """Join them; reads no weights of the model.

        Args:
            checkpoint: The model.
            settings: Of its data set.
            skipping: File of controllers and adapters, see ``skipping_file``; None is dense.
            joint_names: Joints that its actions are of; empty leaves them open, as the next two.
            frame_id: Frame of end-effector actions.
            tip_link: Link that they move.

        Raises:
            BundleError: The file is another one, or does not fit the model.
        """
        self._checkpoint, self._settings = checkpoint, settings
        self._names: dict[str, Any] = {
            'joint_names': joint_names,
            'frame_id': frame_id,
            'tip_link': tip_link,
        }
        text = checkpoint.config.text
        if skipping is None:
            dense = LayerLayout(text.layers, tuple(range(text.layers)))
            self._skipping = Skipping(SkipModules(dense, text.width), None, {'dense': True})
        else:
            self._skipping = load_skipping(
                skipping, FAMILY, text.layers,
                lambda layout, rank: SkipModules(layout, text.width, rank),
            )  # fmt: skip

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return self._skipping.modules.layout

    def engine(self, device: torch.device) -> OpenVlaEngine:
        """Read the weights: in bfloat16 on a GPU, as upstream does, in float32 on a CPU."""
        kind = torch.bfloat16 if device.type == 'cuda' else torch.float32
        network = self._checkpoint.network(kind)
        return OpenVlaEngine(network, self._skipping.modules, device)

    def contract(self) -> Contract:
        """From the published statistics and the data set's settings."""
        checkpoint, settings = self._checkpoint, self._settings
        config, action = checkpoint.config, checkpoint.action
        size = config.image_size
        gripper = settings.action_gripper
        return Contract(
            family=FAMILY, hidden_tokens=(size // PATCH) ** 2 + checkpoint.prompt_tokens,
            hidden_width=config.width,
            cameras=(
                openvla_camera(config.camera, size, settings.rotate_180, settings.crop_area),
            ),
            proprioception=ProprioceptionSpec(
                dim=0, gripper=False, normalisation=NormalisationSpec((), (), ())
            ),
            instruction=checkpoint.instruction,
            action=ActionSpec(
                space=settings.space, dim=config.action_dim, horizon=1,
                period_s=settings.period_s,
                gripper=not action.mask[-1] if gripper is None else gripper,
                delta_reference=settings.delta_reference, normalisation=action,
                displacement=action, gripper_threshold=None if action.mask[-1] else 0.5,
                **self._names,
            ),
            calibration=self._skipping.calibration or uncalibrated(config.action_dim),
            tokenizer=checkpoint.tokenizer,
            card={**self._skipping.card, 'published': Path(checkpoint.folder).name},
        )  # fmt: skip
