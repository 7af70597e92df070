"""The exported folder: manifest, checksums, statistics. Every path stays inside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from dysl_vla_ros.data_types import ACTION_SPACES, ActionSpace
from dysl_vla_ros.engines.engine import LayerLayout
from dysl_vla_ros.errors import BundleError, EngineError

FORMAT = 'dysl_vla_bundle'
FORMAT_VERSION = 1
MANIFEST_NAME = 'manifest.json'


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
    """One exported graph; ``file`` is relative to the bundle."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class CameraSpec:
    """A camera, and how its image becomes a tensor (float32, channels first).

    Attributes:
        name: Topic name and key in ``Observation.images``.
        height: Rows of the tensor.
        width: Columns of the tensor.
        rotate_180: Turn the image by 180 degrees first (LIBERO).
        crop_area: Share of the area kept by a centre crop before resizing, 1.0 = all.
        mean: Per channel, subtracted after scaling to [0, 1].
        std: Per channel, divided by.
    """

    name: str
    height: int
    width: int
    rotate_180: bool = False
    crop_area: float = 1.0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class NormalisationSpec:
    """Maps [low, high] to [-1, 1] where ``mask`` is true; other dimensions pass unchanged.

    Source of the convention: quantile normalisation of the Open X-Embodiment data sets
    (``low`` = 1 % and ``high`` = 99 % quantile).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    mask: tuple[bool, ...]


@dataclass(frozen=True)
class ProprioceptionSpec:
    """The vector of joint positions (and gripper opening, when ``gripper``) fed to the model."""

    dim: int
    gripper: bool
    normalisation: NormalisationSpec


@dataclass(frozen=True)
class InstructionSpec:
    """How text becomes tokens.

    Attributes:
        tokenizer: File of the bundle, in the format of the ``tokenizers`` library.
        tokens: Length after padding or, with an error, the most that is accepted.
        template: ``{instruction}`` is replaced.
        lowercase: Lower-case the instruction first.
        pad_id: Token id of the padding.
    """

    tokenizer: str
    tokens: int
    template: str = '{instruction}'
    lowercase: bool = True
    pad_id: int = 0


@dataclass(frozen=True)
class ActionSpec:
    """The action contract: what the numbers mean.

    Attributes:
        space: ``joint_position``, ``joint_delta``, ``eef_delta`` or ``eef_pose``.
        dim: Numbers per action; a gripper, where there is one, is the last.
        horizon: Actions per chunk.
        period_s: How long one action lasts [s].
        gripper: Whether the last dimension is the gripper's opening, 0 closed .. 1 open.
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


@dataclass(frozen=True)
class CalibrationSpec:
    """What ``dysl calibrate`` found on the policy's own recorded chunks.

    Attributes:
        eta: Continuity change that moves the allow points by one layer (ceil rule).
        window: k, steps averaged in the continuity.
        threshold: Fall of continuity, over one window, that counts as a drop.
        hysteresis: How far it must recover above the drop level for the drop to end.
        weights: Weight per action dimension.
        rule: The better of the two guidance rules on this policy.
        level_low: Continuity at and below which the level rule is dense.
        level_high: Continuity at and above which every controller is live.
    """

    eta: float
    window: int
    threshold: float
    hysteresis: float
    weights: tuple[float, ...]
    rule: Literal['ceil', 'level'] = 'ceil'
    level_low: float = -1.0
    level_high: float = 0.0


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
        if self.format != FORMAT:
            raise BundleError(f'format = {self.format!r}: expected {FORMAT!r}')
        if self.version != FORMAT_VERSION:
            raise BundleError(
                f'version = {self.version}: this release reads version {FORMAT_VERSION}; '
                'export the checkpoint again'
            )
        try:
            layout = self.layout
        except EngineError as error:
            raise BundleError(str(error)) from None
        action = self.action
        _expect('action.space', action.space, action.space in ACTION_SPACES, str(ACTION_SPACES))
        _expect('action.horizon', action.horizon, action.horizon >= 1, 'at least 1')
        _expect('action.period_s', action.period_s, 0 < action.period_s <= 1, 'within (0, 1]')
        for name, spec, dim in (
            ('action.normalisation', action.normalisation, action.dim),
            ('action.displacement', action.displacement, action.dim),
            ('proprioception.normalisation', self.proprioception.normalisation,
             self.proprioception.dim),
        ):  # fmt: skip
            for part in ('low', 'high', 'mask'):
                size = len(getattr(spec, part))
                _expect(f'{name}.{part}', size, size == dim, f'{dim} values')
            bad = [i for i in range(dim) if spec.mask[i] and not spec.high[i] > spec.low[i]]
            _expect(f'{name}.high', bad, not bad, 'high > low wherever mask is true')
        weights = self.calibration.weights
        _expect('calibration.weights', weights, len(weights) == action.dim, f'{action.dim} values')
        _expect('calibration.eta', self.calibration.eta, self.calibration.eta > 0, 'more than 0')
        wanted = ['embed', 'head', *(f'layer_{i:02d}' for i in range(layout.layers_total))]
        wanted += [f'bridge_{i:02d}' for i in layout.dynamic_layers]
        missing = [name for name in wanted if name not in self.segments]
        _expect('segments', missing, not missing, f'{len(wanted)} graphs, these are missing')
        for name, segment in self.segments.items():
            listed = segment.file in self.files
            _expect(f'segments.{name}.file', segment.file, listed, 'a file listed in files')
        _expect('instruction.tokenizer', self.instruction.tokenizer,
                self.instruction.tokenizer in self.files, 'a file listed in files')

    @property
    def layout(self) -> LayerLayout:
        """Depth and static layers."""
        return LayerLayout(self.layers_total, self.static_layers)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk."""

    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        """Absolute path of a listed file.

        Raises:
            BundleError: The file is not listed, or its name leaves the folder.
        """
        if name not in self.manifest.files:
            raise BundleError(f'{name!r} is not listed in {MANIFEST_NAME}')
        return _inside(self.folder, name)


def open_bundle(folder: Path) -> Bundle:
    """Read the manifest and verify every file against its checksum.

    Raises:
        BundleError: Not a bundle, wrong version, missing key, unknown key, a file that is
            missing, altered, or outside the folder. The message names the field or file.
    """
    manifest_path = folder / MANIFEST_NAME
    if not manifest_path.is_file():
        raise BundleError(f'{folder}: no {MANIFEST_NAME}; expected a folder written by dysl export')
    try:
        document = json.loads(manifest_path.read_text(encoding='utf-8'))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BundleError(f'{manifest_path}: not valid JSON: {error}') from None
    manifest = manifest_from_dict(document)
    for name, entry in manifest.files.items():
        path = _inside(folder, name)
        if not path.is_file():
            raise BundleError(f'{name}: listed in {MANIFEST_NAME} but missing in {folder}')
        size = path.stat().st_size
        if size != entry.bytes:
            raise BundleError(f'{name}: {size} bytes, expected {entry.bytes}; copy it again')
        found = sha256_of(path)
        if found != entry.sha256:
            raise BundleError(
                f'{name}: SHA-256 {found[:12]}..., expected {entry.sha256[:12]}...; '
                'the file was altered: copy or export the bundle again'
            )
    return Bundle(folder=folder, manifest=manifest)


def manifest_from_dict(document: Any) -> Manifest:
    """Build a manifest from parsed JSON.

    Raises:
        BundleError: A missing or unknown key, or a value of the wrong type.
    """
    manifest: Manifest = _parse(Manifest, document, 'manifest')
    return manifest


def manifest_to_dict(manifest: Manifest) -> dict[str, Any]:
    """The JSON document of a manifest."""
    return dataclasses.asdict(manifest)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _inside(folder: Path, name: str) -> Path:
    root = folder.resolve()
    path = (root / name).resolve()
    if path == root or root not in path.parents:
        raise BundleError(f'{name!r}: expected a path inside the bundle')
    return path


def _expect(field_name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise BundleError(f'{field_name} = {value!r}: expected {expected}')


def _parse(kind: Any, value: Any, where: str) -> Any:
    """Turn parsed JSON into ``kind``, strictly: unknown keys and wrong types are errors."""
    if dataclasses.is_dataclass(kind):
        return _parse_dataclass(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is Literal:
        _expect(where, value, value in arguments, 'one of ' + ', '.join(map(repr, arguments)))
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _parse(arguments[0], value, where)
    if origin is tuple:
        _expect(where, value, isinstance(value, (list, tuple)), 'a list')
        if len(arguments) != 2 or arguments[1] is not Ellipsis:
            _expect(where, value, len(value) == len(arguments), f'{len(arguments)} values')
        return tuple(_parse(arguments[0], item, f'{where}[{i}]') for i, item in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        _expect(where, type(value).__name__, isinstance(value, Mapping), 'an object')
        return {key: _parse(arguments[1], item, f'{where}.{key}') for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    wrong = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
    _expect(where, value, not wrong, f'a {kind.__name__}')
    return value


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(where, type(value).__name__, isinstance(value, Mapping), 'an object')
    hints = get_type_hints(kind)
    fields = {item.name: item for item in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    _expect(where, unknown, not unknown, f'only the keys {", ".join(fields)}')
    required = [
        name for name, item in fields.items()
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]  # fmt: skip
    missing = [name for name in required if name not in value]
    _expect(where, missing, not missing, 'these keys too')
    return kind(**{key: _parse(hints[key], item, f'{where}.{key}') for key, item in value.items()})
