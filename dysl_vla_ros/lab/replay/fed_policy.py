"""A policy that is fed what was recorded, and the changes of a counterfactual."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dysl_vla_ros.bundle.manifest import CameraSpec, Manifest
from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.data_types import LayerLayout, LayerTrace, Observation, SkipPlan
from dysl_vla_ros.engines.engine import Engine, Hidden
from dysl_vla_ros.engines.image_tensor import resize, seen_values, values_to_tensor
from dysl_vla_ros.errors import ConfigError, InputError
from dysl_vla_ros.lab.replay.steps import Step
from dysl_vla_ros.policy import (
    Pass,
    Policy,
    load_tokenizer,
    open_with_tokenizer,
    proprioception_input,
)


@dataclass(frozen=True)
class Change:
    """What is made otherwise than it was.

    Attributes:
        on: Layers that run, whatever a controller says.
        off: Layers that are left out: what enters them goes on to the next.
        words: Word of the instruction -> another.
        blank: Cameras that show nothing but black.
    """

    on: tuple[int, ...] = ()
    off: tuple[int, ...] = ()
    words: Mapping[str, str] = ()  # type: ignore[assignment]
    blank: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.on or self.off or self.words or self.blank)

    def check(self, manifest: Manifest) -> None:
        """Refuse what the bundle does not have.

        Raises:
            ConfigError: A layer or camera is unknown, or a layer is to be on and off.
        """
        layout = manifest.layout
        for option, layers in (('--layer-on', self.on), ('--layer-off', self.off)):
            for layer in layers:
                if not 0 <= layer < layout.layers_total:
                    raise ConfigError(option, layer, f'within [0, {layout.layers_total - 1}]')
        for layer in self.on:
            if layer in self.off:
                raise ConfigError('--layer-on', layer, 'another layer than --layer-off')
        known = [camera.name for camera in manifest.cameras]
        for name in self.blank:
            if name not in known:
                raise ConfigError('--blank', name, f'a camera of the bundle: {", ".join(known)}')

    def instruction(self, text: str) -> str:
        """With words changed, whole words only, whatever their case."""
        for word, other in dict(self.words).items():
            text = re.sub(rf'\b{re.escape(word)}\b', other, text, flags=re.IGNORECASE)
        return text


class ForcedEngine:
    """An engine some of whose layers are forced; asks and runs nothing else differently.

    The controller right behind a layer that is off is not asked, and does not open: it reads what
    that layer would have left.
    """

    def __init__(self, engine: Engine, change: Change) -> None:
        """Args: the engine, and which layers."""
        self._engine = engine
        self._off = frozenset(change.off)
        # A jump over a forced layer is one from its segment's layers up to itself.
        self._closed = {
            layer for first, end in engine.layout.segments for forced in change.on
            if first <= forced < end for layer in range(first, forced + 1)
        } | {layer + 1 for layer in change.off}  # fmt: skip

    @property
    def layout(self) -> LayerLayout:
        """As the engine."""
        return self._engine.layout

    @property
    def device(self) -> str:
        """As the engine."""
        return self._engine.device

    def encode(self, inputs: Mapping[str, NDArray[Any]]) -> Hidden:
        """As the engine."""
        return self._engine.encode(inputs)

    def run_layer(self, layer: int, hidden: Hidden) -> Hidden:
        """As the engine; a layer that is off hands on what it is given."""
        return hidden if layer in self._off else self._engine.run_layer(layer, hidden)

    def skip_score(self, layer: int, hidden: Hidden) -> float:
        """As the engine; 0 where a jump would pass over a layer that is on."""
        return 0.0 if layer in self._closed else self._engine.skip_score(layer, hidden)

    def bridge(self, layer: int, hidden: Hidden) -> Hidden:
        """As the engine."""
        return self._engine.bridge(layer, hidden)

    def keep(self, hidden: Hidden) -> object:
        """As the engine."""
        return self._engine.keep(hidden)

    def restore(self, kept: object) -> Hidden:
        """As the engine."""
        return self._engine.restore(kept)

    def decode(self, hidden: Hidden) -> Any:
        """As the engine."""
        return self._engine.decode(hidden)

    def synchronize(self) -> None:
        """As the engine."""
        self._engine.synchronize()

    def close(self) -> None:
        """As the engine."""
        self._engine.close()


class FedPolicy(Policy):
    """Gets steps of a recording where others get observations.

    Attributes:
        step: The one that is fed; its observation is what ``predict`` is to be given.
    """

    def __init__(self, engine: Any, manifest: Manifest, tokenizer: Any, change: Change) -> None:
        """Join the parts.

        Args:
            engine: Opened on the bundle.
            manifest: Its contract.
            tokenizer: Of the same bundle.
            change: What is made otherwise.
        """
        change.check(manifest)
        forced = bool(change.on or change.off)
        super().__init__(ForcedEngine(engine, change) if forced else engine, manifest, tokenizer)
        self._plain = engine
        self._change = change
        self.step: Step | None = None

    def without_change(self) -> FedPolicy:
        """Another on the same engine, to which nothing is done; used in turns with this one."""
        return FedPolicy(self._plain, self.manifest, self._tokenizer, Change())

    def prepare(self, observation: Observation) -> dict[str, NDArray[Any]]:
        """The very inputs of the recorded pass, where the bundle is the one that was recorded.

        Raises:
            InputError: The step does not have what this bundle wants.
        """
        step = self.step
        assert step is not None
        record, manifest = step.record, self.manifest
        same = record is not None and record.source.digest == manifest.digest
        inputs: dict[str, NDArray[Any]] = {}
        for camera in manifest.cameras:
            values = _values(step, camera)
            if camera.name in self._change.blank:
                values = np.zeros_like(values)
            inputs[camera.name] = values_to_tensor(values, camera)
        if same and record is not None and not self._change.words:
            inputs['tokens'] = np.array([record.tokens], dtype=np.int64)
        else:
            inputs['tokens'] = self.tokens(self._change.instruction(observation.instruction))
        if manifest.proprioception.dim:
            if same and record is not None:
                inputs['proprioception'] = np.array([record.proprioception], dtype=np.float32)
            else:
                inputs['proprioception'] = proprioception_input(manifest, observation)
        return inputs

    def feed(self, step: Step, plan: SkipPlan, compare: bool = False) -> Pass:
        """The pass of a step; ``compare`` also runs it in full, as the mode of that name."""
        self.step = step
        run = self.compare if compare else self.predict
        return self._without_off(run(step.observation, plan))

    def again(self, first: Pass) -> Pass:
        """The re-run of a step's pass."""
        return self._without_off(self.rerun(first))

    def _without_off(self, result: Pass) -> Pass:
        """Layers that were left out did not run."""
        if not self._change.off:
            return result
        trace = result.trace
        run = tuple(layer for layer in trace.layers_run if layer not in self._change.off)
        return replace(result, trace=_with_run(trace, run))


def open_fed(config: EngineConfig, change: Change) -> FedPolicy:
    """Open a bundle for a replay.

    Raises:
        BundleError: No bundle there, or one that is altered.
        EngineError: The back end is not available, or cannot run the bundle.
        ConfigError: The change does not fit the bundle.
    """
    opened, text = open_with_tokenizer(config)
    tokenizer = load_tokenizer(opened.manifest, text)
    return FedPolicy(opened.engine, opened.manifest, tokenizer, change)


def _with_run(trace: LayerTrace, run: tuple[int, ...]) -> LayerTrace:
    return replace(trace, layers_run=run)


def _values(step: Step, camera: CameraSpec) -> NDArray[np.float32]:
    """What a camera of the bundle shows: as the model saw it, else brought in from the camera.

    What another model saw is resized to this one's size, also where that makes it larger.
    """
    seen = step.observation.seen.get(camera.name)
    size = camera.height, camera.width
    if seen is not None:
        return seen if seen.shape[:2] == size else resize(seen, *size)
    if camera.name not in step.observation.images:
        known = sorted({*step.observation.seen, *step.observation.images})
        raise InputError(f'pictures of {known}: expected {camera.name!r} too, as the bundle wants')
    return seen_values(step.observation.images[camera.name], camera)
