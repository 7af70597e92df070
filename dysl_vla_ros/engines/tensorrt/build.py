"""ONNX -> TensorRT plans, on the machine that will run them.

One plan per segment, one after the other, each written whole before the next begins: a build that
was interrupted goes on where it stopped. Networks are strongly typed, so every type is the ONNX
file's: an FP16 bundle gives FP16 plans with its FP32 islands. A bundle whose graphs carry
QuantizeLinear and DequantizeLinear pairs (INT8) needs nothing more here, only a manifest that says
so.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from dysl_vla_ros.bundle.folder import Bundle
from dysl_vla_ros.bundle.manifest import SegmentSpec
from dysl_vla_ros.bundle.onnx_wire import opset_version
from dysl_vla_ros.engines.tensorrt.api import logger_of, tensor_spec
from dysl_vla_ros.engines.tensorrt.plans import (
    FORMAT,
    FORMAT_VERSION,
    PLANS_NAME,
    PlanEntry,
    PlansManifest,
    Target,
    is_plans_root,
    plan_problem,
    read_plans,
    segment_hash,
    write_plans,
)
from dysl_vla_ros.errors import BundleError, ConfigError, EngineError
from dysl_vla_ros.targets import folder_target, write_whole

TIMING_CACHE = 'timing.cache'

Event = Literal['building', 'built', 'kept']
Progress = Callable[[int, int, str, Event], None]


class HasTarget(Protocol):
    """What lists a folder that was built."""

    @property
    def target(self) -> Any:
        """What it was built from, with and for."""


Built = TypeVar('Built', bound=HasTarget)


@dataclass(frozen=True)
class BuildOptions:
    """How hard TensorRT searches.

    Attributes:
        workspace_bytes: Scratch memory that a kernel may use; 0 = TensorRT's default (all).
        optimization_level: 0 (fast build) to 5 (fast plans); 3 is TensorRT's default.
        force: Build again what is there already.
    """

    workspace_bytes: int = 0
    optimization_level: int = 3
    force: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 0 <= self.optimization_level <= 5:
            raise ConfigError('optimization-level', self.optimization_level, 'within [0, 5]')
        if self.workspace_bytes < 0:
            raise ConfigError('workspace', self.workspace_bytes, 'at least 0')


@dataclass(frozen=True)
class BuildReport:
    """What a build did.

    Attributes:
        folder: Where the plans are, or the pieces of Inductor.
        built: Segments that were compiled now; pieces by the first segment that has each.
        kept: Those that were there and fit.
        seconds: Of the whole build.
    """

    folder: Path
    built: tuple[str, ...]
    kept: tuple[str, ...]
    seconds: float


def build_plans(
    bundle: Bundle,
    root: Path,
    target: Target,
    trt: Any,
    options: BuildOptions | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Compile every segment of a bundle into ``root / target.key``.

    Args:
        bundle: Verified bundle.
        root: Folder of plan folders, ``engines.tensorrt.plans.plans_root``.
        target: This machine and this bundle.
        trt: The TensorRT module.
        options: Defaults where None.
        progress: Called with (segment number, segments, name, event).

    Raises:
        EngineError: TensorRT cannot parse or build a segment; what was built before stays.
        BundleError: A graph keeps weights outside the bundle.
        ConfigError: Something else than plans is in the folder; nothing is touched.
    """
    options = options or BuildOptions()
    folder = check_root(root) / target.key
    began = time.monotonic()
    try:
        manifest = PlansManifest(FORMAT, FORMAT_VERSION, bundle.manifest.name, target, {})
        if not options.force:
            manifest = go_on(folder, PLANS_NAME, read_plans, manifest)
        if not (folder / PLANS_NAME).is_file():
            write_plans(folder, manifest)  # from now on the folder is known to be one of plans
        cache = _cached(folder / TIMING_CACHE)
        builder = SegmentBuilder(trt, bundle.manifest.opset, options, cache)
        built, kept = [], []
        names = list(bundle.manifest.segments)
        for number, name in enumerate(names, start=1):
            fits = name in manifest.plans and _fits(folder, manifest.plans[name], bundle, name)
            if fits:
                kept.append(name)
            else:
                tell(progress, number, len(names), name, 'building')
                manifest = _add(folder, manifest, bundle, name, builder)
                built.append(name)
            tell(progress, number, len(names), name, 'kept' if fits else 'built')
    except OSError as error:
        raise EngineError(
            f'{error.filename or folder}: {error.strerror}; plans need about as much room as the '
            'ONNX files; name another folder with --plans'
        ) from error
    return BuildReport(folder, tuple(built), tuple(kept), time.monotonic() - began)


def check_root(root: Path) -> Path:
    """Refuse a place for plans that holds something else; nothing is touched.

    Raises:
        ConfigError: It names what is there.
    """
    return folder_target('--plans', root, is_plans_root, 'one of plans alone')


class SegmentBuilder:
    """Compiles one ONNX file after the other, with one timing cache for all of them."""

    def __init__(self, trt: Any, opset: int, options: BuildOptions, cache: bytes = b'') -> None:
        """Open TensorRT's builder.

        Args:
            trt: The TensorRT module.
            opset: Of every file.
            options: How hard to search.
            cache: Of an earlier build on this machine; makes alike segments fast.
        """
        self._trt, self._opset, self._options = trt, opset, options
        self._logger = logger_of(trt)
        self._builder = trt.Builder(self._logger)
        self._cache = cache

    @property
    def cache(self) -> bytes:
        """The timing cache with what was measured since."""
        return self._cache

    def build(self, name: str, onnx: Path, spec: SegmentSpec) -> bytes:
        """Compile a file.

        Args:
            name: Of the segment.
            onnx: The file; external weights lie beside it.
            spec: Its inputs and outputs.

        Raises:
            EngineError: It has another opset, cannot be parsed (with the node at fault), has other
                inputs or outputs, or cannot be built.
        """
        trt, where = self._trt, f'segment {name} ({onnx})'
        # TensorRT reads a file of an unknown opset as if it were of the newest that it knows.
        found = opset_version(onnx)
        if found != self._opset:
            raise EngineError(f'{where}: opset {found}: expected {self._opset}; export it again')
        self._logger.errors.clear()
        network = self._builder.create_network(
            1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        )
        parser = trt.OnnxParser(network, self._logger)
        # From the file, not from its bytes: external weights are found beside it.
        if not parser.parse_from_file(str(onnx)):
            reasons = [_reason(parser.get_error(i)) for i in range(parser.num_errors)]
            # A cause outside the graph, like a file that cannot be opened, is only in the log.
            words = '; '.join(dict.fromkeys([*reasons, *self._logger.errors[:1]]))
            raise EngineError(
                f'{where}: TensorRT {trt.__version__} cannot parse it: '
                f'{" ".join(words.split()) or "no reason given"}'
            )
        _check_network(network, spec, where)
        config = self._builder.create_builder_config()
        # TF32 has 10 bits of mantissa: an FP32 bundle asked for 23.
        config.clear_flag(trt.BuilderFlag.TF32)
        config.builder_optimization_level = self._options.optimization_level
        if self._options.workspace_bytes:
            config.set_memory_pool_limit(
                trt.MemoryPoolType.WORKSPACE, self._options.workspace_bytes
            )
        cache = self._timing_cache(config)
        plan = self._builder.build_serialized_network(network, config)
        if plan is None:
            raise EngineError(
                f'{where}: TensorRT {trt.__version__} cannot build it: {self._errors()}'
            )
        self._cache = bytes(cache.serialize())
        return bytes(plan)

    def _timing_cache(self, config: Any) -> Any:
        for data in (self._cache, b''):  # one that is damaged or foreign is begun anew
            cache = config.create_timing_cache(data)
            if cache is not None and config.set_timing_cache(cache, False):
                return cache
        raise EngineError(f'TensorRT takes no timing cache: {self._errors()}')

    def _errors(self) -> str:
        return '; '.join(self._logger.errors) or 'no reason given'


def go_on(folder: Path, name: str, read: Callable[[Path], Built], empty: Built) -> Built:
    """What an earlier build left for the same target, or nothing.

    Args:
        folder: Of the build.
        name: Of the file that lists it.
        read: Reads that file.
        empty: Nothing, for the target of this build.
    """
    if not (folder / name).is_file():
        return empty
    try:
        found = read(folder)
    except BundleError:
        return empty
    return found if found.target == empty.target else empty


def _fits(folder: Path, entry: PlanEntry, bundle: Bundle, name: str) -> bool:
    same = entry.onnx == segment_hash(bundle.manifest, name)
    return same and not plan_problem(folder / entry.file, entry)


def _add(
    folder: Path, manifest: PlansManifest, bundle: Bundle, name: str, builder: SegmentBuilder
) -> PlansManifest:
    began = time.monotonic()
    plan = builder.build(name, bundle.graph(name), bundle.manifest.segments[name])
    entry = PlanEntry(
        file=f'{name}.plan',
        sha256=hashlib.sha256(plan).hexdigest(),
        bytes=len(plan),
        onnx=segment_hash(bundle.manifest, name),
        seconds=round(time.monotonic() - began, 3),
    )
    write_whole(folder / entry.file, plan)
    write_whole(folder / TIMING_CACHE, builder.cache)
    manifest = replace(manifest, plans={**manifest.plans, name: entry})
    write_plans(folder, manifest)
    return manifest


def _check_network(network: Any, spec: SegmentSpec, where: str) -> None:
    """What was parsed is what the manifest lists; an empty file parses to an empty network."""
    for kind, listed, count, get in (
        ('inputs', spec.inputs, network.num_inputs, network.get_input),
        ('outputs', spec.outputs, network.num_outputs, network.get_output),
    ):
        found = {t.name: tensor_spec(t.name, t.shape, t.dtype) for t in map(get, range(count))}
        wanted = {tensor.name: tensor for tensor in listed}
        if found != wanted:
            words = [
                ', '.join(f'{t.name} {t.dtype} {list(t.shape)}' for t in tensors.values())
                for tensors in (found, wanted)
            ]
            raise EngineError(
                f'{where}: {kind} {words[0] or "none"}: expected {words[1]}, as the manifest says'
            )


def _cached(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b''


def _reason(error: Any) -> str:
    operator, node = error.node_operator(), error.node_name()
    where = f'{operator} {node!r}: ' if operator or node else ''
    return f'{where}{error.desc()}'


def tell(progress: Progress | None, number: int, total: int, name: str, event: Event) -> None:
    """Call ``progress``, where somebody listens."""
    if progress is not None:
        progress(number, total, name, event)
