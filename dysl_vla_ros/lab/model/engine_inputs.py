"""What an engine that runs in torch makes of the arrays it is handed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dysl_vla_ros.errors import EngineError


def image_and_tokens(
    inputs: Mapping[str, NDArray[Any]], camera: str, kind: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The image of one camera and the instruction's tokens, on the device.

    Args:
        inputs: As ``Engine.encode`` gets them.
        camera: Name of the camera's input.
        kind: What the network computes the image in.
        device: Where.

    Raises:
        EngineError: One of the two is missing.
    """
    missing = [name for name in (camera, 'tokens') if name not in inputs]
    if missing:
        raise EngineError(f'inputs = {sorted(inputs)}: expected {missing} too')
    image = torch.as_tensor(inputs[camera], dtype=kind, device=device)
    return image, torch.as_tensor(inputs['tokens'], dtype=torch.int64, device=device)
