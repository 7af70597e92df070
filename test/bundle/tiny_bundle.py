"""A tiny random policy as a real bundle: written in a second, without torch.

Not trained: it wanders gently, a few millimetres per action. Its backbone has the shape of the
real one (segments, gates, adapters), so engine, policy, node and demo can be tested on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, checker, helper, numpy_helper, save
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from dysl_vla_ros.bundle.folder import file_entry, write_manifest
from dysl_vla_ros.bundle.manifest import (
    FORMAT,
    FORMAT_VERSION,
    ActionSpec,
    CalibrationSpec,
    CameraSpec,
    InstructionSpec,
    Manifest,
    NormalisationSpec,
    ProprioceptionSpec,
    SegmentSpec,
    TensorSpec,
)
from dysl_vla_ros.data_types import LayerLayout

WORDS = (
    'pick', 'up', 'put', 'the', 'a', 'red', 'green', 'blue', 'yellow', 'cube', 'cylinder', 'into',
    'bin', 'place', 'on', 'onto', 'next', 'to', 'push', 'left', 'right', 'and', 'it', 'table',
)  # fmt: skip
JOINTS = (
    'shoulder_pan_joint',
    'shoulder_lift_joint',
    'elbow_joint',
    'wrist_1_joint',
    'wrist_2_joint',
    'wrist_3_joint',
)
OPSET = 18
TOKENS = 12
"""Longest instruction, as in the bundled model: every task of the simulator can be said in it."""
PATCH = 16
TYPES = {
    'float32': TensorProto.FLOAT,
    'int64': TensorProto.INT64,
    'bool': TensorProto.BOOL,
}


def write_tiny_bundle(
    folder: Path,
    *,
    layers: int = 12,
    static_layers: tuple[int, ...] | None = None,
    gate_bias: float | Mapping[int, float] = 0.0,
    cameras: tuple[tuple[str, int, int], ...] = (('image', 96, 96),),
    joint_names: tuple[str, ...] = JOINTS,
    width: int = 32,
    horizon: int = 8,
    tokens: int = TOKENS,
    mask: bool = False,
    bridge_scale: float = 0.5,
    seed: int = 0,
) -> Path:
    """Write a bundle; the same arguments give the same bytes.

    Args:
        folder: Where to write; made if missing.
        layers: Depth of the backbone.
        static_layers: Default: the first, the last, and two between.
        gate_bias: Added to every controller's logit, or per dynamic layer: +20 always jumps,
            -20 never, 0 depends on the observation.
        cameras: Name, height and width of each; sizes are multiples of 16.
        joint_names: Joints of the arm; proprioception adds the gripper.
        width: Of the hidden state.
        horizon: Actions per chunk.
        tokens: Longest instruction.
        mask: Whether layers take a mask that leaves out the padding.
        bridge_scale: How much adapters do; skipping changes the actions by about that much.
        seed: Of all weights.

    Returns:
        ``folder``.
    """
    if static_layers is None:
        static_layers = tuple(sorted({0, layers // 3, 2 * layers // 3, layers - 1}))
    (folder / 'segments').mkdir(parents=True, exist_ok=True)
    writer = _Writer(folder, width, horizon, tokens, mask, seed)
    layout = LayerLayout(layers, static_layers)
    writer.vision(cameras)
    writer.embed(len(joint_names) + 1)
    for layer in range(layers):
        following = layer + 1
        bias = gate_bias if isinstance(gate_bias, (int, float)) else gate_bias.get(following, 0.0)
        writer.layer(layer, float(bias) if following in layout.dynamic_layers else None)
    for layer in layout.dynamic_layers:
        writer.bridge(layer, bridge_scale)
    writer.head()
    tokenizer = Tokenizer(WordLevel({'[PAD]': 0, '[UNK]': 1} | _indices(2), unk_token='[UNK]'))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / 'tokenizer.json'))
    files = [spec.file for spec in writer.segments.values()] + ['tokenizer.json']
    write_manifest(
        folder,
        Manifest(
            format=FORMAT,
            version=FORMAT_VERSION,
            name='tiny',
            family='tiny',
            precision='fp32',
            opset=OPSET,
            layers_total=layers,
            static_layers=static_layers,
            hidden_tokens=writer.hidden_tokens,
            hidden_width=width,
            cameras=tuple(CameraSpec(*camera) for camera in cameras),
            proprioception=_proprioception(len(joint_names)),
            instruction=InstructionSpec('tokenizer.json', tokens),
            action=_action(horizon, joint_names),
            calibration=CalibrationSpec(
                eta=0.02, window=5, threshold=0.2, hysteresis=0.1, weights=(1.0,) * 6 + (0.1,)
            ),
            segments=writer.segments,
            files={name: file_entry(folder / name) for name in files},
        ),
    )
    return folder


def _indices(first: int) -> dict[str, int]:
    return {word: index for index, word in enumerate(WORDS, first)}


def _proprioception(joints: int) -> ProprioceptionSpec:
    low, high = (-np.pi,) * joints + (0.0,), (np.pi,) * joints + (1.0,)
    return ProprioceptionSpec(
        joints + 1, True, NormalisationSpec(low, high, (True,) * (joints + 1))
    )


def _action(horizon: int, joint_names: tuple[str, ...]) -> ActionSpec:
    high = (0.01,) * 3 + (0.03,) * 3 + (1.0,)
    moves = NormalisationSpec(
        low=tuple(-value for value in high[:6]) + (0.0,), high=high, mask=(True,) * 6 + (False,)
    )
    return ActionSpec(
        space='eef_delta',
        dim=7,
        horizon=horizon,
        period_s=0.05,
        gripper=True,
        delta_reference='commanded',
        normalisation=moves,
        displacement=moves,
        joint_names=joint_names,
    )


class _Writer:
    """Writes graphs and remembers their inputs and outputs."""

    def __init__(
        self, folder: Path, width: int, horizon: int, tokens: int, mask: bool, seed: int
    ) -> None:
        self.segments: dict[str, SegmentSpec] = {}
        self.hidden_tokens = 0
        self._folder = folder
        self._width = width
        self._horizon = horizon
        self._tokens = tokens
        self._mask = mask
        self._random = np.random.default_rng(seed)
        self._patches = 0

    def vision(self, cameras: tuple[tuple[str, int, int], ...]) -> None:
        nodes, parts, weights = [], [], {'size': np.array([1, 3, -1], np.int64)}
        for name, height, width in cameras:
            nodes += [
                helper.make_node(
                    'AveragePool', [name], [f'{name}_pooled'],
                    kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH],
                ),
                helper.make_node('Reshape', [f'{name}_pooled', 'size'], [f'{name}_flat']),
            ]  # fmt: skip
            parts.append(f'{name}_flat')
            self._patches += (height // PATCH) * (width // PATCH)
        weights['project'] = self._weight(3, self._width)
        nodes += [
            helper.make_node('Concat', parts, ['all'], axis=2),
            helper.make_node('Transpose', ['all'], ['rows'], perm=[0, 2, 1]),
            helper.make_node('MatMul', ['rows', 'project'], ['patches']),
        ]
        self._write(
            'vision', nodes, weights,
            [TensorSpec(name, (1, 3, h, w), 'float32') for name, h, w in cameras],
            [TensorSpec('patches', (1, self._patches, self._width), 'float32')],
        )  # fmt: skip

    def embed(self, joints: int) -> None:
        width = self._width
        self.hidden_tokens = self._patches + self._tokens + 1 + self._horizon
        weights = {
            'words': self._weight(len(WORDS) + 2, width) * 4.0,
            'joints': self._weight(joints, width),
            'slots': self._slots()[None],
            'axis': np.array([1], np.int64),
        }
        nodes = [
            helper.make_node('Gather', ['words', 'tokens'], ['text']),
            helper.make_node('MatMul', ['proprioception', 'joints'], ['arm']),
            helper.make_node('Unsqueeze', ['arm', 'axis'], ['arm_token']),
            helper.make_node('Concat', ['patches', 'text', 'arm_token', 'slots'], ['hidden'],
                             axis=1),
        ]  # fmt: skip
        outputs = [self._hidden('hidden')]
        if self._mask:
            weights |= {
                'pad': np.array(0, np.int64),
                'before': np.ones((1, self._patches), np.float32),
                'after': np.ones((1, 1 + self._horizon), np.float32),
            }
            nodes += [
                helper.make_node('Equal', ['tokens', 'pad'], ['padding']),
                helper.make_node('Not', ['padding'], ['spoken']),
                helper.make_node('Cast', ['spoken'], ['spoken_float'], to=TensorProto.FLOAT),
                helper.make_node('Concat', ['before', 'spoken_float', 'after'], ['mask'], axis=1),
            ]
            outputs.append(self._mask_spec())
        self._write(
            'embed', nodes, weights,
            [
                TensorSpec('patches', (1, self._patches, width), 'float32'),
                TensorSpec('tokens', (1, self._tokens), 'int64'),
                TensorSpec('proprioception', (1, joints), 'float32'),
            ],
            outputs,
        )  # fmt: skip

    def layer(self, layer: int, gate_bias: float | None) -> None:
        """Each token looks at the mean of all tokens: as little as attention can be."""
        inputs, outputs = [self._hidden('hidden')], [self._hidden('hidden_out')]
        weights = {
            'own': self._weight(self._width, self._width),
            'others': self._weight(self._width, self._width) * 2.0,
            'share': np.array(0.3, np.float32),
        }
        nodes = []
        seen = 'hidden'
        if self._mask:
            inputs.append(self._mask_spec())
            weights['last'] = np.array([2], np.int64)
            nodes += [
                helper.make_node('Unsqueeze', ['mask', 'last'], ['column']),
                helper.make_node('Mul', ['hidden', 'column'], ['visible']),
            ]
            seen = 'visible'
        weights['tokens_axis'] = np.array([1], np.int64)
        nodes += [
            helper.make_node('ReduceMean', [seen, 'tokens_axis'], ['mean'], keepdims=1),
            helper.make_node('MatMul', ['mean', 'others'], ['heard']),
            helper.make_node('MatMul', ['hidden', 'own'], ['thought']),
            helper.make_node('Add', ['heard', 'thought'], ['both']),
            helper.make_node('Tanh', ['both'], ['bounded']),
            helper.make_node('Mul', ['bounded', 'share'], ['update']),
            helper.make_node('Add', ['hidden', 'update'], ['hidden_out']),
        ]
        if gate_bias is not None:
            outputs.append(TensorSpec('gate', (1,), 'float32'))
            weights |= {
                'ask': self._weight(self._width, 1) * 4.0,
                'bias': np.array(gate_bias, np.float32),
                'one': np.array([1], np.int64),
            }
            nodes += [
                helper.make_node('ReduceMean', ['hidden_out', 'tokens_axis'], ['state'],
                                 keepdims=0),
                helper.make_node('MatMul', ['state', 'ask'], ['answer']),
                helper.make_node('Add', ['answer', 'bias'], ['logit']),
                helper.make_node('Sigmoid', ['logit'], ['score']),
                helper.make_node('Reshape', ['score', 'one'], ['gate']),
            ]  # fmt: skip
        self._write(f'layer_{layer:02d}', nodes, weights, inputs, outputs)

    def bridge(self, layer: int, scale: float) -> None:
        rank = max(2, self._width // 8)
        weights = {
            'down': self._weight(self._width, rank),
            'up': self._weight(rank, self._width) * np.float32(scale),
        }
        nodes = [
            helper.make_node('MatMul', ['hidden', 'down'], ['narrow']),
            helper.make_node('Tanh', ['narrow'], ['bent']),
            helper.make_node('MatMul', ['bent', 'up'], ['update']),
            helper.make_node('Add', ['hidden', 'update'], ['hidden_out']),
        ]
        self._write(f'bridge_{layer:02d}', nodes, weights, [self._hidden('hidden')],
                    [self._hidden('hidden_out')])  # fmt: skip

    def head(self) -> None:
        weights = {
            'first': np.array([-self._horizon], np.int64),
            'end': np.array([self.hidden_tokens], np.int64),
            'axis': np.array([1], np.int64),
            'out': self._weight(self._width, 7) * np.float32(0.2),
            'reach': np.array([0.3] * 6 + [0.5], np.float32),
            'middle': np.array([0.0] * 6 + [0.5], np.float32),
        }
        nodes = [
            helper.make_node('Slice', ['hidden', 'first', 'end', 'axis'], ['slots']),
            helper.make_node('MatMul', ['slots', 'out'], ['raw']),
            helper.make_node('Tanh', ['raw'], ['bounded']),
            helper.make_node('Mul', ['bounded', 'reach'], ['scaled']),
            helper.make_node('Add', ['scaled', 'middle'], ['actions']),
        ]
        self._write('head', nodes, weights, [self._hidden('hidden')],
                    [TensorSpec('actions', (1, self._horizon, 7), 'float32')])  # fmt: skip

    def _slots(self) -> NDArray[np.float32]:
        """Neighbours are alike, so that a chunk is smooth."""
        ends = self._weight(2, self._width)
        share = np.linspace(0.0, 0.3, self._horizon, dtype=np.float32)[:, None]
        return ends[0] + share * (ends[1] - ends[0])

    def _hidden(self, name: str) -> TensorSpec:
        return TensorSpec(name, (1, self.hidden_tokens, self._width), 'float32')

    def _mask_spec(self) -> TensorSpec:
        return TensorSpec('mask', (1, self.hidden_tokens), 'float32')

    def _weight(self, rows: int, columns: int) -> NDArray[np.float32]:
        return self._random.normal(0.0, rows**-0.5, (rows, columns)).astype(np.float32)

    def _write(
        self,
        name: str,
        nodes: list,
        weights: dict[str, NDArray],
        inputs: list[TensorSpec],
        outputs: list[TensorSpec],
    ) -> None:
        graph = helper.make_graph(
            nodes,
            name,
            [_value(spec) for spec in inputs],
            [_value(spec) for spec in outputs],
            [numpy_helper.from_array(np.asarray(value), key) for key, value in weights.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=8
        )
        checker.check_model(model)
        file = f'segments/{name}.onnx'
        save(model, self._folder / file)
        self.segments[name] = SegmentSpec(file, tuple(inputs), tuple(outputs))


def _value(spec: TensorSpec) -> object:
    return helper.make_tensor_value_info(spec.name, TYPES[spec.dtype], spec.shape)
