"""The checkpoint that a bundle of the bundled family was exported from, read back out of it.

    checkpoint --dysl export--> bundle --restored--> checkpoint

An exporter keeps the names of most weights and folds the others: the matrix of a linear layer
becomes the right side of a product, transposed, and the scale of a norm gets axes of length 1.
Those are found in the order in which a graph uses them, which is the order in which its module
has them. What an export leaves out is not there: the auxiliary heads, which only a training asks,
are begun anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from dysl_vla_ros.bundle.folder import Bundle, open_bundle
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import BundleError, ConfigError
from dysl_vla_ros.lab.export.parts import part_names
from dysl_vla_ros.lab.export.small_parts import FAMILY, SmallParts
from dysl_vla_ros.lab.model.checkpoint import Checkpoint, parse_config
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.robot_contract import RobotContract
from dysl_vla_ros.lab.model.shapes import PolicyConfig, Statistics
from dysl_vla_ros.lab.model.skipping import SkipModules

_LARGEST_TOKENIZER = 1 << 26
_HALF = '_half'
"""What a weight that is stored in halves is called beside its name."""
_OF_PART = {
    'vision': ('network.stems.',),
    'embed': ('network.slots', 'network.words.', 'network.joints_'),
}
"""These two see the whole network, and export a part of it."""
_ONES_AND_ZEROS = 'InstanceNormalization'
"""Its own scale and shift; the trained ones follow."""


def restored(folder: Path, seed: int = 0) -> Checkpoint:
    """Read a policy out of its bundle.

    Args:
        folder: A bundle of the bundled family in ``fp32``; weights stored in halves are so, too,
            in a checkpoint.
        seed: Of the auxiliary heads, which are untrained.

    Raises:
        BundleError: Another family or precision, or graphs that another exporter wrote.
    """
    bundle = open_bundle(folder)
    manifest = bundle.manifest
    if manifest.family != FAMILY:
        raise BundleError(f'{folder}: family = {manifest.family!r}: expected {FAMILY!r}: of '
                          'another one take the checkpoint itself')  # fmt: skip
    if manifest.precision != 'fp32':
        raise BundleError(f'{folder}: precision = {manifest.precision!r}: expected fp32: weights '
                          'that were rounded for fp16 are not those of the checkpoint'
                          )  # fmt: skip
    config = _shape(manifest, folder)
    torch.manual_seed(seed)
    layout = LayerLayout(manifest.layers_total, manifest.static_layers)
    checkpoint = Checkpoint(
        config, Statistics(manifest.proprioception.normalisation, manifest.action.normalisation),
        bundle.read(manifest.instruction.tokenizer, _LARGEST_TOKENIZER).decode(),
        PolicyNetwork(config), SkipModules(layout, config.width, _rank(bundle, layout)),
        manifest.calibration, {k: v for k, v in manifest.card.items() if k != 'network'},
        _robot(manifest),
    )  # fmt: skip
    parts, found = SmallParts(checkpoint), set[int]()
    for name in part_names(layout):
        module = parts.module(name)
        wanted = {key: parameter for key, parameter in module.named_parameters()
                  if key.startswith(_OF_PART.get(name, ('',)))}  # fmt: skip
        _fill(wanted, _graph(bundle, name), f'{folder}: {name}')
        found |= {id(parameter) for parameter in wanted.values()}
    left = [name for name, parameter in checkpoint.network.named_parameters()
            if id(parameter) not in found and not name.startswith('auxiliary.')]  # fmt: skip
    if left:
        raise BundleError(f'{folder}: {left[0]} is in no graph: expected one exported by dysl')
    return checkpoint


def _shape(manifest: Manifest, folder: Path) -> PolicyConfig:
    told = manifest.card.get('network')
    try:
        return parse_config(dict(told or {}))
    except (ConfigError, KeyError, TypeError, ValueError):
        raise BundleError(f"{folder}: card.network = {told}: expected the network's shape, as "
                          'dysl export writes it') from None  # fmt: skip


def _robot(manifest: Manifest) -> RobotContract | None:
    action, state = manifest.action, manifest.proprioception
    other = action.displacement != action.normalisation
    robot = RobotContract(
        action.joint_names, action.period_s, action.frame_id, action.tip_link,
        action.gripper_threshold, action.space, action.delta_reference, action.gripper,
        state.gripper, state.source, state.fingers, manifest.cameras[0].fit or 'crop',
        action.displacement if other else None,
    )  # fmt: skip
    return None if robot == RobotContract() else robot


def _graph(bundle: Bundle, name: str) -> onnx.GraphProto:
    return onnx.load(bundle.path(bundle.manifest.segments[name].file)).graph


def _rank(bundle: Bundle, layout: LayerLayout) -> int:
    """Of the adapters: the inner side of their two matrices."""
    if not layout.dynamic_layers:
        return 0
    graph = _graph(bundle, f'bridge_{layout.dynamic_layers[0]:02d}')
    return int(min(min(tensor.dims) for tensor in graph.initializer if len(tensor.dims) == 2))


def _fill(wanted: dict[str, nn.Parameter], graph: onnx.GraphProto, place: str) -> None:
    """Give each parameter the weight of its name, or the next one that is used and fits."""
    stored = {tensor.name.removesuffix(_HALF): np.array(numpy_helper.to_array(tensor))
              for tensor in graph.initializer}  # fmt: skip
    left = dict(wanted)
    with torch.no_grad():
        for name in [name for name in left if name in stored]:
            parameter = left.pop(name)
            parameter.copy_(torch.from_numpy(_fitting(stored[name], parameter, name, place)))
        for weight in _used(graph, {k: v for k, v in stored.items() if k not in wanted}):
            shape = _sides(weight.shape)
            name = next((n for n, p in left.items() if _sides(tuple(p.shape)) == shape), '')
            if name:
                parameter = left.pop(name)
                parameter.copy_(torch.from_numpy(weight.reshape(parameter.shape)))
    if left:
        raise BundleError(f'{place}: nothing in the graph is {next(iter(left))}: expected one '
                          'that dysl exported')  # fmt: skip


def _used(
    graph: onnx.GraphProto, stored: dict[str, NDArray[np.generic]]
) -> Iterator[NDArray[np.float32]]:
    """Weights without a name, in the order of their use, as a module has them."""
    halves = {node.output[0]: node.input[0].removesuffix(_HALF)
              for node in graph.node if node.op_type == 'Cast'}  # fmt: skip
    for node in graph.node:
        if node.op_type in ('Cast', _ONES_AND_ZEROS):
            continue
        for number, name in enumerate(node.input):
            weight = stored.get(halves.get(name, name))
            if weight is None or weight.dtype.kind != 'f' or weight.size < 2:
                continue
            turned = weight.T if node.op_type == 'MatMul' and number == 1 else weight
            yield np.ascontiguousarray(turned, np.float32)


def _fitting(
    weight: NDArray[np.generic], parameter: nn.Parameter, name: str, place: str
) -> NDArray[np.float32]:
    if weight.shape != tuple(parameter.shape):
        raise BundleError(f'{place}: {name} is {weight.shape}: expected {tuple(parameter.shape)}, '
                          'as the network of its card has it')  # fmt: skip
    return np.ascontiguousarray(weight, np.float32)


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its axes of length 1."""
    return tuple(side for side in shape if side > 1)
