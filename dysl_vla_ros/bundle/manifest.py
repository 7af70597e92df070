"""``manifest.json``: what a bundle contains and what its numbers mean."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dysl_vla_ros.bundle.digest import digest_of
from dysl_vla_ros.bundle.ranges import (
    LEAST_CROP,
    PLACE,
    check_colours,
    check_reach,
    largest_action,
)
from dysl_vla_ros.bundle.strict_json import expect, parse
from dysl_vla_ros.data_types import ActionSpace, Fit, LayerLayout, plain_words
from dysl_vla_ros.errors import BundleError, EngineError

FORMAT = 'dysl_vla_bundle'
FORMAT_VERSION = 1
"""Goes up when a bundle that was written before can no longer be read as it is. A key that is new
gets a default instead, which says what bundles without it meant."""
_LARGEST = 1e9
_NARROWEST = 1e-9
LONGEST_WINDOW = 100
"""Steps, as ``continuity.window`` has it."""
_ELEMENTS = 1 << 28
"""Numbers of one input or output of a graph."""
_DTYPES = ('float32', 'float16', 'int64', 'int32', 'bool')
_BESIDE = ('calibration', 'card')
"""Fields of a manifest that are no part of its digest."""
_SHA256 = re.compile('[0-9a-f]{64}')


@dataclass(frozen=True)
class FileEntry:
    """A file of the bundle: SHA-256 in hex and length in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output: name, static shape, numpy type name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class SegmentSpec:
    """One exported graph.

    Attributes:
        file: The ONNX file, relative to the bundle.
        inputs: In the order of the graph.
        outputs: In the order of the graph.
        data: File with the graph's large weights, beside ``file`` and relative to the bundle;
            '' when the graph holds them all itself.
    """

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    data: str = ''


@dataclass(frozen=True)
class CameraSpec:
    """A camera, and how its image becomes a tensor (float32, channels first).

    Attributes:
        name: Topic name and key in ``Observation.images``.
        height: Rows of the tensor.
        width: Columns of the tensor.
        rotate_180: Turn the image by 180 degrees first (LIBERO).
        crop_area: Share of the area kept by a centre crop, 1.0 = all.
        recipe: ``crop_resize`` crops, then resizes; ``openvla`` resizes with a Lanczos filter,
            then crops and enlarges, rounding as that model's training did.
        fit: How a picture of another shape is brought in: ``squash`` stretches it, ``crop`` keeps
            its middle, ``pad`` adds black. '' is what training with the recipe did: ``openvla``
            squashed; pictures of bundles without this key otherwise had the shape, or were to be
            cropped to it.
        reference: File of the bundle: a PNG of ``height`` x ``width`` pixels that shows what the
            model saw in training, to compare with; '' where there is none.
        mean: Per channel, subtracted after scaling to [0, 1].
        std: Per channel, divided by.
    """

    name: str
    height: int
    width: int
    rotate_180: bool = False
    crop_area: float = 1.0
    recipe: Literal['crop_resize', 'openvla'] = 'crop_resize'
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    fit: Literal['', Fit] = ''
    reference: str = ''

    @property
    def fitting(self) -> str:
        """``fit``, said out."""
        return self.fit or ('squash' if self.recipe == 'openvla' else 'crop')


@dataclass(frozen=True)
class NormalisationSpec:
    """Maps [low, high] to [-1, 1] where ``mask`` is true; other dimensions pass unchanged.

    Source of the convention: quantile normalisation of the Open X-Embodiment data sets
    (``low`` = 1 % and ``high`` = 99 % quantile).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    mask: tuple[bool, ...]


StateSource = Literal['joints', 'eef_axis_angle', 'eef_rpy']
"""What proprioception is made of: the joints' positions; or the pose of the tip link in the
actions' frame, position [m] and rotation vector or roll, pitch and yaw [rad]."""


@dataclass(frozen=True)
class ProprioceptionSpec:
    """The vector of joint positions (and gripper opening, when ``gripper``) fed to the model.

    Attributes:
        dim: Numbers in the vector.
        gripper: Whether it ends with the gripper: its opening, or its fingers.
        normalisation: Of the vector.
        clip: Keep normalised values within [-1, 1], as OpenVLA-OFT does.
        source: What the other numbers are.
        fingers: (closed, open) of each number that the gripper has at the end, made from its
            opening; empty for the opening itself, one number.
    """

    dim: int
    gripper: bool
    normalisation: NormalisationSpec
    clip: bool = False
    source: StateSource = 'joints'
    fingers: tuple[tuple[float, float], ...] = ()

    @property
    def body(self) -> int:
        """Numbers before the gripper's."""
        return self.dim - (max(len(self.fingers), 1) if self.gripper else 0)


@dataclass(frozen=True)
class InstructionSpec:
    """How text becomes tokens.

    Attributes:
        tokenizer: File of the bundle, in the format of the ``tokenizers`` library.
        tokens: Length after padding or, with an error, the most that is accepted.
        template: ``{instruction}`` is replaced.
        lowercase: Lower-case the instruction first.
        pad_id: Token id of the padding.
        end_id: Token id that is added at the end, unless it is there; None adds nothing.
    """

    tokenizer: str
    tokens: int
    template: str = '{instruction}'
    lowercase: bool = True
    pad_id: int = 0
    end_id: int | None = None


@dataclass(frozen=True)
class ActionSpec:
    """The action contract: what the numbers mean.

    Attributes:
        space: ``joint_position``, ``joint_delta``, ``eef_delta`` or ``eef_pose``.
        dim: Numbers per action; a gripper, where there is one, is the last.
        horizon: Actions per chunk.
        period_s: How long one action lasts [s].
        gripper: Whether the last dimension is the gripper's opening, 0 closed .. 1 open.
        gripper_threshold: Above it the gripper opens fully, else it closes fully; None takes the
            opening as it is. OpenVLA's data sets say 1 for open, and upstream executes
            ``sign(2 g - 1)``: that is 0.5. LIBERO's simulator has the opposite sign, which
            upstream negates; here an opening is always an opening.
        delta_reference: Deltas add to the ``commanded`` or the ``measured`` state.
        normalisation: Of the actions as the model emits them.
        displacement: Of per-step displacements; only used by absolute spaces.
        joint_names: Joints the bundle was trained on, in order.
        frame_id: Frame of end-effector actions.
        tip_link: Link that end-effector actions move.
    """

    space: ActionSpace
    dim: int
    horizon: int
    period_s: float
    gripper: bool
    delta_reference: Literal['commanded', 'measured']
    normalisation: NormalisationSpec
    displacement: NormalisationSpec
    joint_names: tuple[str, ...] = ()
    frame_id: str = 'base_link'
    tip_link: str = 'grasp_link'
    gripper_threshold: float | None = None


@dataclass(frozen=True)
class CalibrationSpec:
    """What ``dysl calibrate`` found on the policy's own recorded chunks.

    Attributes:
        eta: Continuity change that moves the allow points by one layer (ceil rule).
        window: k, steps averaged in the continuity.
        threshold: Fall of continuity, over one window, that counts as a drop.
        hysteresis: How far it must recover above the drop level for the drop to end.
        weights: Weight per action dimension.
        rule: Guidance rule. Exports and calibrations begin with ``level``; a manifest that does
            not say was written before that.
        level_low: Continuity at and below which the level rule is dense.
        level_high: Continuity at and above which every controller is live.
        mode: Which skip mode won; a manifest that does not say is from before they were compared.
        exit_layer: Mode ``fixed``: layers 0 to this less 1 run, then the last; 0 = none is known.
        exit_by_instruction: Mode ``by_instruction``: instruction -> exit, 0 = dense; what is told
            in other words leaves at ``exit_layer``, or is dense where that is 0.
    """

    eta: float
    window: int
    threshold: float
    hysteresis: float
    weights: tuple[float, ...]
    rule: Literal['ceil', 'level'] = 'ceil'
    level_low: float = -1.0
    level_high: float = 0.0
    mode: Literal['auto', 'full', 'max_skip', 'fixed', 'by_instruction'] = 'auto'
    exit_layer: int = 0
    exit_by_instruction: Mapping[str, int] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """As JSON; exits by instruction only where there are some, as before there could be."""
        found = dataclasses.asdict(self)
        if not self.exit_by_instruction:
            del found['exit_by_instruction']
        return found


@dataclass(frozen=True)
class Manifest:
    """``manifest.json`` of a bundle; the parts' meanings are in their own classes."""

    format: str
    version: int
    name: str
    family: str
    precision: Literal['fp32', 'fp16']
    opset: int
    layers_total: int
    static_layers: tuple[int, ...]
    hidden_tokens: int
    hidden_width: int
    cameras: tuple[CameraSpec, ...]
    proprioception: ProprioceptionSpec
    instruction: InstructionSpec
    action: ActionSpec
    calibration: CalibrationSpec
    segments: Mapping[str, SegmentSpec]
    files: Mapping[str, FileEntry]
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what one field says against the others."""
        _check_version(self.format, self.version)
        if not self.name.isprintable():
            raise BundleError(f'name = {self.name!r}: expected letters that can be shown')
        _count('layers_total', self.layers_total, 1000)
        _count('hidden_tokens', self.hidden_tokens, 100_000)
        _count('hidden_width', self.hidden_width, 100_000)
        _count('opset', self.opset, 100)
        try:
            LayerLayout(self.layers_total, self.static_layers)
        except EngineError as error:
            raise BundleError(str(error)) from None
        for check in (
            self._check_action, self._check_inputs, self._check_calibration, self._check_segments
        ):  # fmt: skip
            check()

    @property
    def digest(self) -> str:
        """Of what goes into the model, what runs in it and what its actions mean.

        Two bundles with the same one run the same model for the same robot. The calibration,
        which is when to skip, and the card, which is notes, are no part of it.
        """
        return digest_of(self, _BESIDE)

    @property
    def model_digest(self) -> str:
        """Of the name, the layers and the files alone, by which reports tell whose they are.

        An export of the same graphs for another arm or with another prompt keeps it; reports name
        what else decides their figures themselves.
        """
        files = sorted((name, entry.sha256) for name, entry in self.files.items())
        text = repr((self.name, self.layers_total, self.static_layers, files))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return LayerLayout(self.layers_total, self.static_layers)

    def _check_action(self) -> None:
        action = self.action
        expect('action.dim', action.dim, action.dim >= 1 + action.gripper, 'at least one motion')
        cartesian = action.space.startswith('eef')
        _count('action.dim', action.dim, 100)
        right = not cartesian or action.dim == 6 + action.gripper
        expect('action.dim', action.dim, right, f'6 for {action.space}, and 1 for a gripper')
        _count('action.horizon', action.horizon, 1000)
        expect('action.period_s', action.period_s, 0 < action.period_s <= 1, 'within (0, 1]')
        expect('action.period_s', action.period_s, action.period_s >= 0.001, 'at least 0.001')
        names = action.joint_names
        expect(
            'action.joint_names',
            names,
            len(set(names)) == len(names) and all(names),
            'every name once',
        )
        for name in ('frame_id', 'tip_link'):
            value = getattr(action, name)
            expect(f'action.{name}', value, len(value) <= 200, 'at most 200 characters')
        if names and not cartesian:
            _check_named('action', action.dim, action.gripper, len(names))
        level = action.gripper_threshold
        expect(
            'action.gripper_threshold',
            level,
            level is None or (action.gripper and 0 <= level < 1),
            'null, or within [0, 1) where there is a gripper',
        )
        for part in ('normalisation', 'displacement'):
            spec: NormalisationSpec = getattr(action, part)
            _check_normalisation(f'action.{part}', spec, action.dim)
            check_reach(_bounds(f'action.{part}', spec), *largest_action(action.space))

    def _check_inputs(self) -> None:
        names = [camera.name for camera in self.cameras]
        expect('cameras', names, len(set(names)) == len(names), 'every name once')
        expect('cameras', len(names), len(names) <= 16, 'at most 16')
        for camera in self.cameras:
            where = f'cameras.{camera.name}'
            size = (camera.height, camera.width)
            expect(f'{where}.height, width', size, min(size) >= 1, 'at least 1')
            expect(f'{where}.height, width', size, max(size) <= 4096, 'at most 4096')
            area = camera.crop_area
            expect(f'{where}.crop_area', area, LEAST_CROP <= area <= 1, f'in [{LEAST_CROP:g}, 1]')
            check_colours(f'{where}.mean', camera.mean, f'{where}.std', camera.std)
            listed = not camera.reference or camera.reference in self.files
            expect(f'{where}.reference', camera.reference, listed, 'a file listed in files')
        joints = self.proprioception
        least = joints.dim - joints.body
        expect('proprioception.dim', joints.dim, joints.dim >= least, f'at least {least}')
        expect(
            'proprioception.fingers',
            joints.fingers,
            joints.gripper or not joints.fingers,
            'none without a gripper',
        )
        expect('proprioception.fingers', joints.fingers, len(joints.fingers) <= 4, 'at most 4')
        for pair in joints.fingers:
            _plausible('proprioception.fingers', pair)
            apart = abs(pair[1] - pair[0]) >= _NARROWEST
            expect('proprioception.fingers', pair, apart, 'closed and open that differ')
        named = self.action.joint_names
        if named and joints.dim and joints.source == 'joints':
            _check_named('proprioception', joints.dim, joints.gripper, len(named))
        pose = joints.source != 'joints'
        expect(
            'proprioception.dim',
            joints.dim,
            not pose or joints.body == 6,
            f'{6 + least} for {joints.source}: a pose and the gripper',
        )
        expect(
            'proprioception.source',
            joints.source,
            not pose or self.action.space.startswith('eef'),
            'joints, where actions move joints and name no frame and no link',
        )
        expect('proprioception.dim', joints.dim, joints.dim <= 1000, 'at most 1000')
        name = 'proprioception.normalisation'
        _check_normalisation(name, joints.normalisation, joints.dim)
        # A gripper's numbers have units of their own.
        check_reach(_bounds(name, joints.normalisation), *PLACE, joints.body)
        text = self.instruction
        _count('instruction.tokens', text.tokens, 10_000)
        expect('instruction.pad_id', text.pad_id, text.pad_id >= 0, 'at least 0')
        expect(
            'instruction.end_id',
            text.end_id,
            text.end_id is None or text.end_id >= 0,
            'null, or at least 0',
        )
        expect(
            'instruction.template',
            text.template,
            '{instruction}' in text.template,
            'a text with {instruction} in it',
        )
        bare = text.template.replace('{instruction}', '')
        expect('instruction.template', text.template, not set('{}') & set(bare),
               'no braces but those of {instruction}')  # fmt: skip
        expect(
            'instruction.tokenizer',
            text.tokenizer,
            text.tokenizer in self.files,
            'a file listed in files',
        )

    def _check_calibration(self) -> None:
        found, dim = self.calibration, self.action.dim
        expect('calibration.eta', found.eta, found.eta > 0, 'more than 0')
        _count('calibration.window', found.window, LONGEST_WINDOW)
        expect('calibration.threshold', found.threshold, found.threshold > 0, 'more than 0')
        expect(
            'calibration.hysteresis',
            found.hysteresis,
            0 <= found.hysteresis <= found.threshold,
            'within [0, threshold]',
        )
        expect('calibration.weights', found.weights, len(found.weights) == dim, f'{dim} values')
        expect('calibration.weights', found.weights, min(found.weights) >= 0, 'none negative')
        expect('calibration.weights', found.weights, max(found.weights) > 0, 'one above 0')
        _plausible('calibration.weights', found.weights)
        _plausible('calibration.eta, threshold, level_low, level_high', (
            found.eta, found.threshold, found.level_low, found.level_high))  # fmt: skip
        expect(
            'calibration.level_low',
            found.level_low,
            found.level_low < found.level_high,
            f'less than level_high = {found.level_high}',
        )
        exits = self.layout.exit_layers
        known = found.exit_layer in exits or (found.exit_layer == 0 and found.mode != 'fixed')
        expect(
            'calibration.exit_layer',
            found.exit_layer,
            known,
            f'within [1, {self.layers_total - 2}], or 0 where mode is not fixed',
        )
        self._check_exits(found)

    def _check_exits(self, found: CalibrationSpec) -> None:
        name, table = 'calibration.exit_by_instruction', found.exit_by_instruction
        expect(name, len(table), len(table) <= 10_000, 'at most 10000 instructions')
        missing = found.mode == 'by_instruction' and not table
        expect(name, {}, not missing, 'some instruction, where mode is by_instruction')
        for words, layer in table.items():
            expect(name, words, bool(words.strip()), 'instructions with words')
            expect(name, layer, layer == 0 or layer in self.layout.exit_layers,
                   f'exits within [1, {self.layers_total - 2}], or 0, dense')  # fmt: skip
        twice = len({plain_words(words) for words in table}) < len(table)
        expect(name, list(table), not twice, 'each instruction once')

    def _check_segments(self) -> None:
        layout = self.layout
        wanted = ['embed', 'head', *(f'layer_{i:02d}' for i in range(layout.layers_total))]
        wanted += [f'bridge_{i:02d}' for i in layout.dynamic_layers]
        wanted += ['vision'] if self.cameras else []
        missing = [name for name in wanted if name not in self.segments]
        expect('segments', missing, not missing, f'{len(wanted)} graphs, these are missing')
        for name, entry in self.files.items():
            where = f'files.{name}'
            expect(f'{where}.bytes', entry.bytes, 0 <= entry.bytes < 1 << 42, 'at least 0')
            expect(
                f'{where}.sha256',
                entry.sha256,
                bool(_SHA256.fullmatch(entry.sha256)),
                '64 digits in hex',
            )
        for name, segment in self.segments.items():
            for side in ('inputs', 'outputs'):
                _check_tensors(f'segments.{name}.{side}', getattr(segment, side))
            listed = segment.file in self.files
            expect(f'segments.{name}.file', segment.file, listed, 'a file listed in files')
            listed = not segment.data or segment.data in self.files
            expect(f'segments.{name}.data', segment.data, listed, 'a file listed in files')
        taken: dict[str, str] = {}
        for name, segment in self.segments.items():
            other = taken.setdefault(segment.file, name)
            expect(f'segments.{name}.file', segment.file, other == name,
                   f'a file of its own: it is that of {other}')  # fmt: skip


def manifest_from_dict(document: Any) -> Manifest:
    """Build a manifest from parsed JSON.

    Raises:
        BundleError: Another format or version, a missing or unknown key, a wrong value.
    """
    if isinstance(document, Mapping):  # first, for a newer version may have other keys
        _check_version(document.get('format'), document.get('version'))
    manifest: Manifest = parse(Manifest, document, 'manifest')
    return manifest


def manifest_to_dict(manifest: Manifest) -> dict[str, Any]:
    """The JSON document of a manifest."""
    return {**dataclasses.asdict(manifest), 'calibration': manifest.calibration.told()}


def _check_version(found_format: object, version: object) -> None:
    expect('format', found_format, found_format == FORMAT, repr(FORMAT))
    newer = isinstance(version, int) and version > FORMAT_VERSION
    remedy = (
        'a newer release wrote the bundle: update this one, or write the bundle with this one: '
        if newer else 'write the bundle again: '
    ) + 'dysl export CHECKPOINT FOLDER'  # fmt: skip
    right = version == FORMAT_VERSION and not isinstance(version, bool)
    expect('version', version, right, f'{FORMAT_VERSION}, which this release reads; {remedy}')


def _count(where: str, value: int, most: int) -> None:
    expect(where, value, value >= 1, 'at least 1')
    expect(where, value, value <= most, f'at most {most}')


def _plausible(where: str, values: tuple[float, ...], least: float = 0.0) -> None:
    """Far inside what float32 holds, so that no later product or quotient overflows."""
    for value in values:
        expect(where, value, least <= abs(value) <= _LARGEST, f'within {least:g} and {_LARGEST:g}')


def _check_named(where: str, dim: int, gripper: bool, names: int) -> None:
    """One number per joint that is named, and the grippers' beside them."""
    right = dim > names if gripper else dim == names
    more = 'and those of the gripper' if gripper else 'as there is no gripper'
    expect(f'{where}.dim', dim, right, f'{names}, one per name of action.joint_names, {more}')


def _check_tensors(where: str, tensors: tuple[TensorSpec, ...]) -> None:
    names = [tensor.name for tensor in tensors]
    expect(where, names, len(set(names)) == len(names) and all(names), 'every name once')
    for tensor in tensors:
        expect(
            f'{where}.{tensor.name}.dtype',
            tensor.dtype,
            tensor.dtype in _DTYPES,
            'one of ' + ', '.join(_DTYPES),
        )
        shape, name = tensor.shape, f'{where}.{tensor.name}.shape'
        whole = len(shape) <= 8 and min(shape, default=1) >= 1
        expect(name, shape, whole, 'at most 8 sizes, none below 1')
        expect(name, shape, math.prod(shape) <= _ELEMENTS, f'at most {_ELEMENTS} numbers')


def _bounds(where: str, spec: NormalisationSpec) -> tuple[tuple[str, tuple[float, ...]], ...]:
    return (f'{where}.low', spec.low), (f'{where}.high', spec.high)


def _check_normalisation(where: str, spec: NormalisationSpec, dim: int) -> None:
    for part in ('low', 'high', 'mask'):
        size = len(getattr(spec, part))
        expect(f'{where}.{part}', size, size == dim, f'{dim} values')
    _plausible(f'{where}.low', spec.low)
    _plausible(f'{where}.high', spec.high)
    bad = [i for i in range(dim) if spec.mask[i] and not spec.high[i] > spec.low[i]]
    expect(f'{where}.high', bad, not bad, 'high > low wherever mask is true')
    near = [i for i in range(dim) if spec.mask[i] and spec.high[i] - spec.low[i] < _NARROWEST]
    expect(f'{where}.high', near, not near, f'high at least {_NARROWEST:g} above low')
