"""The frozen weights of a large model, split over several GPUs: FSDP of torch, part by part.

Each process keeps its share of every part; a part is gathered for as long as it computes. Nothing
of it is trained, so nothing has to be scattered back. Where weights fit one card, distilling
without this is faster: then every process has all of them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import PartialState
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from dysl_vla_ros.errors import ConfigError


def sharded(device: torch.device) -> Callable[[nn.Module], None]:
    """A function that takes one part over to the device, and keeps this process's share of it.

    Raises:
        ConfigError: There is only one process.
    """
    count = int(PartialState().num_processes)
    if count < 2:
        raise ConfigError('shard', count, 'several processes, one per GPU: torchrun '
                          '--nproc-per-node N -m dysl_vla_ros.cli.main distill ...')  # fmt: skip
    mesh = init_device_mesh(device.type, (count,))

    def place(part: nn.Module) -> None:
        fully_shard(part.to(device).requires_grad_(False), mesh=mesh)

    return place
