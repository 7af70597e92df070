"""A bundle's graphs -> pieces compiled by Inductor, on the machine that will run them.

Weights are arguments, so all layers share what is compiled once. A piece is written whole before
the next begins: a build that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dysl_vla_ros.bundle.folder import Bundle, sha256_of
from dysl_vla_ros.engines.cuda.bundle import BundleParts, example_of
from dysl_vla_ros.engines.cuda.compiled import (
    FORMAT,
    FORMAT_VERSION,
    CompiledManifest,
    read_compiled,
    target_of,
    write_compiled,
)
from dysl_vla_ros.engines.cuda.pieces import Compiled, Program, Run
from dysl_vla_ros.engines.cuda.toolchain import lacking
from dysl_vla_ros.engines.tensorrt.build import BuildReport, Progress, check_root, go_on, tell
from dysl_vla_ros.engines.tensorrt.plans import COMPILED_NAME, PlanEntry, plan_problem
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.targets import write_whole


def build_compiled(
    bundle: Bundle,
    root: Path,
    device: torch.device,
    force: bool = False,
    progress: Progress | None = None,
) -> BuildReport:
    """Compile every piece of a bundle into ``root / target.key``.

    Args:
        bundle: Verified bundle.
        root: Folder of plan folders.
        device: What for; the weights are loaded there.
        force: Compile again what is there.
        progress: Called with (piece number, pieces, name, event).

    Raises:
        EngineError: Inductor lacks something, or cannot compile a piece; what was built before
            stays.
        ConfigError: Something else than plans is in the folder; nothing is touched.
    """
    began = time.monotonic()
    if device.type == 'cuda' and (lacks := lacking()):
        raise EngineError(
            f'torch {torch.__version__} cannot make libraries for the GPU here, for want of '
            f'{"; ".join(lacks)}'
        )
    target = target_of(device, bundle.manifest)
    folder = check_root(root) / target.key
    recorders: dict[str, Compiled] = {}
    parts = BundleParts(bundle, device, recorders)
    runs, samples = parts.runs(), _samples(recorders, parts, bundle, device)
    built, kept = [], []
    try:
        manifest = CompiledManifest(FORMAT, FORMAT_VERSION, bundle.manifest.name, target, {})
        if not force:
            manifest = go_on(folder, COMPILED_NAME, read_compiled, manifest)
        write_compiled(folder, manifest)  # from now on the folder is known to be one of plans
        for number, (key, (run, constants, segments)) in enumerate(runs.items(), start=1):
            name = segments[0] if len(segments) == 1 else f'{segments[0]} and {len(segments) - 1}'
            entry = manifest.pieces.get(key)
            if entry is not None and not plan_problem(folder / entry.file, entry):
                kept.append(name)
                tell(progress, number, len(runs), name, 'kept')
                continue
            tell(progress, number, len(runs), name, 'building')
            started = time.monotonic()
            path = folder / f'{key}.pt2'
            weights = [constants[one] for one in run.weights]
            write_whole(path, _compiler(run, constants, samples[key], weights, name))
            entry = PlanEntry(
                path.name, sha256_of(path), path.stat().st_size, key,
                round(time.monotonic() - started, 3),
            )  # fmt: skip
            manifest = replace(manifest, pieces={**manifest.pieces, key: entry})
            write_compiled(folder, manifest)
            built.append(name)
            tell(progress, number, len(runs), name, 'built')
    except OSError as error:
        raise EngineError(
            f'{error.filename or folder}: {error.strerror}; name another folder with --plans'
        ) from error
    return BuildReport(folder, tuple(built), tuple(kept), time.monotonic() - began)


def compile_run(
    run: Run,
    constants: Mapping[str, Tensor],
    inputs: list[Tensor],
    weights: list[Tensor],
    path: Path,
) -> None:
    """Compile one run into a package.

    Args:
        run: What.
        constants: Of its graph.
        inputs: With the shapes, types and strides that it will be given.
        weights: Likewise.
        path: Of the package, ending in ``.pt2``.
    """
    package: Callable[..., Any] = torch._inductor.aoti_compile_and_package
    with torch.no_grad():
        program = torch.export.export(Program(run, constants), (inputs, weights), strict=False)
        package(program, package_path=str(path))


def _compiler(
    run: Run,
    constants: Mapping[str, Tensor],
    inputs: list[Tensor],
    weights: list[Tensor],
    name: str,
) -> Callable[[Path], None]:
    def write(partial: Path) -> None:
        made = partial.with_name(f'{partial.name}.pt2')
        try:
            compile_run(run, constants, inputs, weights, made)
            made.replace(partial)
        except Exception as error:  # the compiler raises many kinds
            if isinstance(error, OSError) and error.errno is not None:
                raise  # a full disk, say; without a number it is torch that lacks something
            words = ' '.join(str(error).split())[:400] or type(error).__name__
            raise EngineError(
                f'{name}: torch {torch.__version__} cannot compile it (a C++ compiler is needed, '
                f'on a GPU also triton, a CUDA toolkit and libcuda.so): {words}'
            ) from error
        finally:
            made.unlink(missing_ok=True)

    return write


def _samples(
    recorders: dict[str, Compiled], parts: BundleParts, bundle: Bundle, device: torch.device
) -> dict[str, list[Tensor]]:
    """What each run is given in a pass over zeros.

    Args:
        recorders: Where ``parts`` look for what is compiled.
    """
    found: dict[str, list[Tensor]] = {}

    def recorder(key: str, run: Run, constants: Mapping[str, Tensor]) -> Compiled:
        program = Program(run, constants)

        def record(inputs: list[Tensor], weights: list[Tensor]) -> Sequence[Tensor]:
            found.setdefault(key, [tensor.clone() for tensor in inputs])
            return program(inputs, weights)  # type: ignore[no-any-return]

        return record

    for key, (run, constants, _) in parts.runs().items():
        recorders[key] = recorder(key, run, constants)
    inputs = {
        name: torch.from_numpy(value).to(device) for name, value in example_of(bundle).items()
    }
    layout = bundle.manifest.layout
    with torch.no_grad():
        hidden = parts.embed(inputs)
        for layer in range(layout.layers_total):
            hidden = parts.layer(layer, hidden)
        for layer in layout.dynamic_layers:
            parts.score(layer, hidden)
            parts.bridge(layer, hidden)
        parts.head(hidden)
    return found
