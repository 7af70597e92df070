"""Pieces that Inductor compiled for this machine: where they lie, and whether they fit.

They lie beside TensorRT's plans, under the same rules: one folder per GPU, torch and bundle in
``plans/``, every file with its checksum, all compared before torch loads a byte, and nothing is
ever compiled while a robot runs. A piece is a library of this machine: build it where it runs.
"""

from __future__ import annotations

import dataclasses
import platform
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.bundle.strict_json import expect, load, parse
from dysl_vla_ros.engines.cuda.pieces import Compiled
from dysl_vla_ros.engines.tensorrt.plans import (
    COMPILED_NAME,
    PlanEntry,
    build_command,
    check_files,
    onnx_hash,
    plan_problem,
    why_not,
    write_listing,
)
from dysl_vla_ros.errors import BundleError, EngineError

FORMAT = 'dysl_vla_compiled'
FORMAT_VERSION = 1


@dataclass(frozen=True)
class TorchTarget:
    """What pieces were built from, with and for; they fit where all of it is equal.

    Attributes:
        gpu: Name of the GPU.
        compute_capability: ``'9.0'``.
        multiprocessors: Of that GPU.
        torch: Version, with its build.
        cuda: CUDA version that torch was built with.
        host: Processor of the computer, ``'x86_64'``.
        precision: Of the bundle.
        onnx: ``onnx_hash`` of the bundle.
    """

    gpu: str
    compute_capability: str
    multiprocessors: int
    torch: str
    cuda: str
    host: str
    precision: str
    onnx: str

    @property
    def key(self) -> str:
        """Name of the folder: ``h100-sm90x132-torch2.11.0-cuda12.8-x86-64-fp16-0123456789ab``."""
        capability = self.compute_capability.replace('.', '')
        parts = (
            self.gpu, f'sm{capability}x{self.multiprocessors}', f'torch{self.torch}',
            f'cuda{self.cuda}', self.host, self.precision, self.onnx[:12],
        )  # fmt: skip
        return '-'.join(re.sub(r'[^a-z0-9.]+', '-', part.lower()).strip('-') for part in parts)

    def differences(self, other: TorchTarget) -> list[str]:
        """Sentences, one per field in which pieces for ``self`` do not fit ``other``."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name))
                 for f in dataclasses.fields(self))  # fmt: skip
        return [
            f'{name.replace("_", " ")} {str(mine)[:40]}, expected {str(theirs)[:40]}'
            for name, mine, theirs in pairs if mine != theirs
        ]  # fmt: skip


@dataclass(frozen=True)
class CompiledManifest:
    """``compiled.json``; grows by one entry per piece."""

    format: str
    version: int
    bundle: str
    target: TorchTarget
    pieces: Mapping[str, PlanEntry]

    def __post_init__(self) -> None:
        """Check format, and that every file lies in the folder."""
        expect('format', self.format, self.format == FORMAT, repr(FORMAT))
        expect('version', self.version, self.version == FORMAT_VERSION, f'{FORMAT_VERSION}')
        check_files('pieces', self.pieces)


def target_of(device: torch.device, manifest: Manifest) -> TorchTarget:
    """The target of a device for a bundle; the CPU is one too, for tests."""
    if device.type == 'cuda':
        found = torch.cuda.get_device_properties(device)
        name, capability = found.name, f'{found.major}.{found.minor}'
        processors = int(found.multi_processor_count)
    else:
        name, capability, processors = 'cpu', '0.0', 0
    return TorchTarget(
        name, capability, processors, str(torch.__version__), torch.version.cuda or 'none',
        platform.machine(), manifest.precision, onnx_hash(manifest),
    )  # fmt: skip


def command(bundle: Bundle, root: Path) -> str:
    """What builds the pieces of a bundle on this machine."""
    return f'{build_command(bundle, root)} --backend cuda'


def read_compiled(folder: Path) -> CompiledManifest:
    """Read ``compiled.json``.

    Raises:
        BundleError: It is not JSON, or not of this format.
    """
    found: CompiledManifest = parse(CompiledManifest, load(folder / COMPILED_NAME), 'compiled')
    return found


def write_compiled(folder: Path, manifest: CompiledManifest) -> None:
    """Write ``compiled.json``."""
    write_listing(folder / COMPILED_NAME, manifest)


def load_compiled(
    bundle: Bundle, root: Path, target: TorchTarget, keys: Collection[str]
) -> dict[str, Compiled]:
    """The pieces of a bundle for this machine.

    Args:
        bundle: Verified bundle.
        root: Folder of plan folders.
        target: This machine and this bundle.
        keys: Of all runs of the bundle's graphs.

    Returns:
        By key of the run; empty where nothing was ever compiled for torch: then graphs run as
        they are.

    Raises:
        EngineError: Some were, and do not fit, are not complete or were altered. The message has
            the command that mends it.
    """
    mend = command(bundle, root)
    folders = sorted(path.parent for path in root.glob(f'*/{COMPILED_NAME}'))
    if not folders:
        return {}
    folder = root / target.key
    if folder not in folders:
        others = '; '.join(why_not(other, read_compiled, target) for other in folders)
        raise EngineError(
            f'bundle {bundle.manifest.name}: only pieces that do not fit in {root}: {others}; '
            f'build them on this machine: {mend}'
        )
    try:
        manifest = read_compiled(folder)
    except BundleError as error:
        raise EngineError(f'{folder / COMPILED_NAME}: {error}; run: {mend}') from None
    differences = manifest.target.differences(target)
    if differences:
        raise EngineError(
            f'{folder}: these pieces are of something else: {"; ".join(differences)}; run: {mend}'
        )
    missing = sorted(set(keys) - set(manifest.pieces))
    if missing:
        raise EngineError(
            f'{folder}: {len(keys) - len(missing)} of {len(keys)} pieces are built; the build was '
            f'interrupted, and goes on with: {mend}'
        )
    for key in sorted(keys):
        entry = manifest.pieces[key]
        problem = plan_problem(folder / entry.file, entry)
        if problem:
            raise EngineError(f'piece {key[:12]}: {problem}; run: {mend}')
    return {key: open_piece(folder / manifest.pieces[key].file, mend) for key in keys}


def open_piece(path: Path, mend: str) -> Compiled:
    """Load one piece; its checksum was compared before.

    Raises:
        EngineError: Torch cannot load it.
    """
    loader: Callable[..., Any] = torch._inductor.aoti_load_package
    try:
        # Without threads of its own: it becomes part of a CUDA graph.
        found: Compiled = loader(str(path), run_single_threaded=True)
    except Exception as error:  # torch raises many kinds
        raise EngineError(f'{path}: torch cannot load it: {error}; run: {mend}') from error
    return found
