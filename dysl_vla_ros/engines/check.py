"""Whether an engine that another package brings keeps the promises of the protocol.

What ``forward`` and a resumed re-run rely on is tried on a blank observation before an engine is
handed out. A back end that breaks a promise would not fail, it would move the arm wrongly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.data_types import FloatArray, LayerLayout, SkipPlan
from dysl_vla_ros.engines.engine import Engine, forward, prepare_for
from dysl_vla_ros.errors import EngineError

_CALLS = ('encode', 'run_layer', 'skip_score', 'bridge', 'keep', 'restore', 'decode',
          'synchronize', 'close')  # fmt: skip
_SEE = 'see engines/engine.py'
Found = TypeVar('Found')


def blank_inputs(manifest: Manifest) -> dict[str, NDArray[Any]]:
    """What an engine is fed with when there is nothing to see, by the names of its inputs."""
    inputs: dict[str, NDArray[Any]] = {
        camera.name: np.zeros((1, 3, camera.height, camera.width), np.float32)
        for camera in manifest.cameras
    }
    words = manifest.instruction
    inputs['tokens'] = np.full((1, words.tokens), words.pad_id, np.int64)
    if manifest.proprioception.dim:
        inputs['proprioception'] = np.zeros((1, manifest.proprioception.dim), np.float32)
    return inputs


def check_engine(engine: Any, manifest: Manifest, name: str) -> Engine:
    """The same engine, if it is one.

    Args:
        engine: Whatever a package made.
        manifest: Of the bundle that it was made for.
        name: Of the engine, for messages.

    Raises:
        EngineError: A promise of ``engines.engine.Engine`` is broken; says which, and what would
            be right.
    """
    title = f'engine {name}'
    missing = [call for call in _CALLS if not callable(getattr(engine, call, None))]
    missing += [part for part in ('layout', 'device') if not hasattr(engine, part)]
    if missing:
        raise EngineError(f'{title}: a {type(engine).__name__} without {", ".join(missing)}: '
                          f'expected every part of the protocol; {_SEE}')  # fmt: skip
    layout = engine.layout
    if not isinstance(layout, LayerLayout) or layout != manifest.layout:
        raise EngineError(f'{title}: layout = {layout}: expected {manifest.layout}, as the bundle '
                          f'{manifest.name} has it')  # fmt: skip
    if not isinstance(engine.device, str) or not engine.device:
        raise EngineError(f"{title}: device = {engine.device!r}: expected words, 'CPU (my library "
                          "1.0)'")  # fmt: skip
    made: Engine = engine
    _try(title, lambda: _passes(title, made, manifest))
    return made


def _passes(title: str, engine: Engine, manifest: Manifest) -> None:
    """A full pass twice; a skipped one, and its re-run from the first jump."""
    prepare_for(engine, blank_inputs(manifest))
    full = layout_plan = engine.layout.full_plan()
    wanted = _actions(title, engine, manifest, full)
    if not np.array_equal(_actions(title, engine, manifest, full), wanted):
        raise EngineError(f'{title}: the same observation gives other actions the second time: '
                          'expected the same bits')  # fmt: skip
    for plan in _jumps(engine.layout):
        hidden, trace = forward(engine, engine.encode(blank_inputs(manifest)), plan)
        _decoded(title, engine, manifest, hidden)
        if trace.resume_layer is None:
            continue
        state = engine.restore(trace.resume_state)
        hidden, _ = forward(engine, state, layout_plan, trace.resume_layer)
        found = _decoded(title, engine, manifest, hidden)
        if not np.array_equal(found, wanted):
            off = float(np.max(np.abs(found - wanted)))
            raise EngineError(
                f'{title}: a re-run from layer {trace.resume_layer} gives actions that are '
                f'{off:.2g} off those of a full pass: expected the same bits; keep must copy what '
                f'later layers overwrite, and restore give it back; {_SEE}'
            )
    if engine.layout.dynamic_layers:
        _scores(title, engine, manifest)


def _scores(title: str, engine: Engine, manifest: Manifest) -> None:
    watched = engine.layout.watched_plan()
    _, trace = forward(engine, engine.encode(blank_inputs(manifest)), watched)
    for layer, score in trace.scores.items():
        if not isinstance(score, float) or not 0.0 <= score <= 1.0:
            raise EngineError(f'{title}: skip_score of layer {layer} = {score!r}: expected a '
                              'float within [0, 1]')  # fmt: skip


def _jumps(layout: LayerLayout) -> list[SkipPlan]:
    """A jump at the first, and one at the last layer of every segment."""
    if not layout.dynamic_layers:
        return []
    late = tuple(max(end - 1, first) for first, end in layout.segments)
    return [SkipPlan(layout.open_plan().allow, 'open'), SkipPlan(late, 'open')]


def _actions(title: str, engine: Engine, manifest: Manifest, plan: SkipPlan) -> FloatArray:
    hidden, _ = forward(engine, engine.encode(blank_inputs(manifest)), plan)
    return _decoded(title, engine, manifest, hidden)


def _decoded(title: str, engine: Engine, manifest: Manifest, hidden: Any) -> FloatArray:
    engine.synchronize()
    actions, shape = engine.decode(hidden), (manifest.action.horizon, manifest.action.dim)
    right = isinstance(actions, np.ndarray) and actions.dtype.kind == 'f'
    if not right or actions.shape != shape or not np.isfinite(actions).all():
        kind = f'{actions.dtype} of shape {actions.shape}' if isinstance(
            actions, np.ndarray) else type(actions).__name__  # fmt: skip
        raise EngineError(f'{title}: decode gives {kind}: expected finite floats of shape '
                          f'{shape}')  # fmt: skip
    return np.array(actions, np.float64)


def _try(title: str, run: Callable[[], Found]) -> Found:
    """Whatever a stranger's code raises becomes one line."""
    try:
        return run()
    except EngineError:
        raise
    except Exception as error:
        raise EngineError(f'{title}: a blank observation fails: {error!r}') from error
