"""The folder of compiled TensorRT plans: what they were built from and for, and whether they fit.

A plan runs only on the GPU model and TensorRT version it was built with, and TensorRT may crash
on one that is damaged. So everything is compared here, before TensorRT sees a byte. One bundle can
carry plans for several machines, each in ``plans/<key>/`` with its ``plans.json``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dysl_vla_ros.bundle.folder import Bundle, sha256_of
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.bundle.strict_json import expect, load, parse
from dysl_vla_ros.engines.tensorrt.device import Gpu
from dysl_vla_ros.errors import BundleError, EngineError
from dysl_vla_ros.targets import write_whole

FORMAT = 'dysl_vla_plans'
FORMAT_VERSION = 1
PLANS_NAME = 'plans.json'
COMPILED_NAME = 'compiled.json'
"""What Inductor compiled for the cuda back end lies beside, in folders of its own."""
FOLDER = 'plans'


@dataclass(frozen=True)
class Target:
    """What a set of plans was built from, with and for; plans fit where all of it is equal.

    Attributes:
        gpu: Name of the GPU.
        compute_capability: ``'8.7'``.
        multiprocessors: Of that GPU.
        tensorrt: Version of TensorRT.
        cuda: CUDA version of the driver.
        precision: Of the bundle; networks are strongly typed, so it is the ONNX files' own.
        onnx: ``onnx_hash`` of the bundle.
    """

    gpu: str
    compute_capability: str
    multiprocessors: int
    tensorrt: str
    cuda: str
    precision: str
    onnx: str

    @property
    def key(self) -> str:
        """Name of the folder: ``orin-sm87x16-trt10.3.0-cuda12.6-fp16-0123456789ab``."""
        gpu = re.sub(r'[^a-z0-9]+', '-', self.gpu.lower()).strip('-')
        capability = self.compute_capability.replace('.', '')
        return (
            f'{gpu}-sm{capability}x{self.multiprocessors}-trt{self.tensorrt}-cuda{self.cuda}-'
            f'{self.precision}-{self.onnx[:12]}'
        )

    def differences(self, other: Target) -> list[str]:
        """Sentences, one per field in which plans for ``self`` do not fit ``other``."""
        words = {
            'gpu': 'GPU', 'compute_capability': 'compute capability',
            'multiprocessors': 'multiprocessors', 'tensorrt': 'TensorRT', 'cuda': 'CUDA',
            'precision': 'precision', 'onnx': 'ONNX files',
        }  # fmt: skip
        found = []
        for name, word in words.items():
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                short = slice(12) if name == 'onnx' else slice(None)
                found.append(f'{word} {str(mine)[short]}, expected {str(theirs)[short]}')
        return found


@dataclass(frozen=True)
class PlanEntry:
    """One compiled segment.

    Attributes:
        file: Name inside the folder.
        sha256: Of the file, in hex.
        bytes: Its length.
        onnx: ``segment_hash`` of what it was built from.
        seconds: How long it took to build.
    """

    file: str
    sha256: str
    bytes: int
    onnx: str
    seconds: float


def check_files(field: str, entries: Mapping[str, PlanEntry]) -> None:
    """Every file must lie in the folder itself.

    Raises:
        BundleError: It names the entry.
    """
    for name, entry in entries.items():
        inside = re.fullmatch(r'[\w.-]+', entry.file) is not None and entry.file[0] != '.'
        expect(f'{field}.{name}.file', entry.file, inside, 'a plain file name')


@dataclass(frozen=True)
class PlansManifest:
    """``plans.json``; grows by one entry per built segment."""

    format: str
    version: int
    bundle: str
    target: Target
    plans: Mapping[str, PlanEntry]

    def __post_init__(self) -> None:
        """Check format, and that every file lies in the folder."""
        expect('format', self.format, self.format == FORMAT, repr(FORMAT))
        expect('version', self.version, self.version == FORMAT_VERSION, f'{FORMAT_VERSION}')
        check_files('plans', self.plans)


@dataclass(frozen=True)
class PlanFolder:
    """Plans that fit this machine and bundle; every segment has one.

    Attributes:
        folder: Where they lie.
        manifest: Its ``plans.json``.
        command: What builds them again.
    """

    folder: Path
    manifest: PlansManifest
    command: str

    def verify(self) -> None:
        """Compare every plan with its checksum; read once from the disk, none is kept.

        Raises:
            EngineError: One is missing or altered; the message has the command that mends it.
        """
        for name, entry in self.manifest.plans.items():
            problem = plan_problem(self.folder / entry.file, entry)
            if problem:
                raise EngineError(f'plan of segment {name}: {problem}; run: {self.command}')

    def read(self, name: str) -> bytes:
        """A plan; ``verify`` came before."""
        return (self.folder / self.manifest.plans[name].file).read_bytes()


def plan_problem(path: Path, entry: PlanEntry) -> str:
    """In words why a file is not what ``entry`` says; '' when it is."""
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return f'{path} has {size} bytes, expected {entry.bytes}'
        found = sha256_of(path)
    except OSError as error:
        return f'{path} cannot be read ({error.strerror})'
    if found != entry.sha256:
        return f'{path}: SHA-256 {found[:12]}..., expected {entry.sha256[:12]}...: it was altered'
    return ''


def target_of(gpu: Gpu, tensorrt: str, manifest: Manifest) -> Target:
    """The target of this machine for this bundle."""
    return Target(
        gpu.name, gpu.compute_capability, gpu.multiprocessors, tensorrt, gpu.cuda,
        manifest.precision, onnx_hash(manifest),
    )  # fmt: skip


def onnx_hash(manifest: Manifest) -> str:
    """SHA-256 over the names and hashes of all segments."""
    return _hash({name: segment_hash(manifest, name) for name in manifest.segments})


def segment_hash(manifest: Manifest, name: str) -> str:
    """SHA-256 over the hashes of a segment's graph and of the weights beside it."""
    spec = manifest.segments[name]
    files = [spec.file, spec.data] if spec.data else [spec.file]
    return _hash({file: manifest.files[file].sha256 for file in files})


def build_command(bundle: Bundle, plans: Path | None = None) -> str:
    """The command that builds the plans of a bundle on this machine."""
    root = '' if plans in (None, bundle.folder / FOLDER) else f' --plans {shlex.quote(str(plans))}'
    return f'dysl build {shlex.quote(str(bundle.folder))}{root}'


def plans_root(bundle: Bundle, plans: str = '') -> Path:
    """Where plans of a bundle lie: the folder that was named, or ``plans/`` in the bundle."""
    return Path(plans).expanduser() if plans else bundle.folder / FOLDER


def has_plans(root: Path) -> bool:
    """Whether somebody built plans there, for whatever machine."""
    return any(root.glob(f'*/{PLANS_NAME}'))


def find_plans(bundle: Bundle, root: Path, target: Target) -> PlanFolder:
    """The complete plans for this machine.

    Raises:
        EngineError: There are none, only ones for something else, or not all are built. The
            message says what differs and has the command that builds them.
    """
    command = build_command(bundle, root)
    folder = root / target.key
    if not (folder / PLANS_NAME).is_file():
        others = [
            why_not(path.parent, read_plans, target)
            for path in sorted(root.glob(f'*/{PLANS_NAME}'))
        ]
        found = 'no plans' if not others else 'only plans that do not fit: ' + '; '.join(others)
        raise EngineError(
            f'bundle {bundle.manifest.name}: {found} in {root}; build them on this machine '
            f'({target.gpu}, TensorRT {target.tensorrt}): {command}'
        )
    try:
        manifest = read_plans(folder)
    except BundleError as error:
        raise EngineError(f'{folder / PLANS_NAME}: {error}; run: {command}') from None
    differences = manifest.target.differences(target)
    if differences:
        raise EngineError(
            f'{folder}: these plans are of something else: {"; ".join(differences)}; '
            f'run: {command}'
        )
    segments = bundle.manifest.segments
    missing = [
        name for name in segments
        if name not in manifest.plans
        or manifest.plans[name].onnx != segment_hash(bundle.manifest, name)
    ]  # fmt: skip
    if missing:
        raise EngineError(
            f'{folder}: {len(segments) - len(missing)} of {len(segments)} segments are built, '
            f'{missing[0]} is not; the build was interrupted, and goes on with: {command}'
        )
    return PlanFolder(folder, manifest, command)


def read_plans(folder: Path) -> PlansManifest:
    """Read ``plans.json``.

    Raises:
        BundleError: It is not JSON, or not of this format.
    """
    manifest: PlansManifest = parse(PlansManifest, load(folder / PLANS_NAME), 'plans')
    return manifest


def write_plans(folder: Path, manifest: PlansManifest) -> None:
    """Write ``plans.json``."""
    write_listing(folder / PLANS_NAME, manifest)


def write_listing(path: Path, manifest: Any) -> None:
    """Write what lists a folder: the old one or the new one is there, never half of it.

    Args:
        path: Of the file.
        manifest: A dataclass, what is read from it again.
    """
    text = json.dumps(dataclasses.asdict(manifest), indent=1) + '\n'
    write_whole(path, text.encode())


def has_compiled(root: Path) -> bool:
    """Whether somebody compiled pieces for the cuda back end there, for whatever machine."""
    return any(root.glob(f'*/{COMPILED_NAME}'))


def is_plans_root(root: Path) -> bool:
    """Whether a folder holds nothing but folders of plans, or of what Inductor compiled."""
    return all(
        (entry / PLANS_NAME).is_file() or (entry / COMPILED_NAME).is_file()
        for entry in root.iterdir()
    )


def built_folders(root: Path) -> list[Path]:
    """Folders of plans, and of what Inductor compiled."""
    names = (PLANS_NAME, COMPILED_NAME)
    return sorted(path.parent for name in names for path in root.glob(f'*/{name}'))


def graphs_of(folder: Path) -> str:
    """``onnx_hash`` of the bundle that a folder was built from.

    Raises:
        BundleError: It does not say.
    """
    if (folder / PLANS_NAME).is_file():
        return read_plans(folder).target.onnx
    target = load(folder / COMPILED_NAME).get('target')
    return str(target.get('onnx')) if isinstance(target, dict) else ''


def why_not(folder: Path, read: Callable[[Path], Any], target: Any) -> str:
    """In words why what lies in a folder does not fit.

    Args:
        folder: Of plans, or of what Inductor compiled.
        read: Reads what lists it.
        target: This machine and this bundle, of the same kind as the folder's.
    """
    try:
        other = read(folder).target
    except BundleError as error:
        return f'{folder.name} ({error})'
    return f'{folder.name} ({", ".join(other.differences(target)) or "the folder was renamed"})'


def _hash(parts: Mapping[str, str]) -> str:
    text = ''.join(f'{name} {value}\n' for name, value in sorted(parts.items()))
    return hashlib.sha256(text.encode()).hexdigest()
