"""What the passes of the last chunks cost and found, for `/diagnostics`."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.loop_status import Delivery

STAGES = ('preprocess', 'encode', 'backbone', 'decode')
REMOTE = 'remote'
"""The stage of a policy server: request, pass and answer."""


@dataclass(frozen=True)
class ChunkReport:
    """Over the last ``window`` chunks; None before the first. Times in milliseconds.

    Attributes:
        skip_ratio: Layers not run / all layers per chunk; the layers of a re-run count too, so
            that a chunk which was predicted twice may be below 0.
        skip_ratio_lifetime: The same since activation.
        layers_run_mean: Per chunk, re-runs included.
        layers_last: Per chunk, of the last one.
        mode_last: ``full``, ``skipped`` or ``rerun``.
        backbone_share: Time in the backbone / time of all stages.
        inference_ms: Of one chunk, re-run included: 50 %, 95 %, largest.
        stage_ms: Stage -> the same three numbers.
        observation_age_ms_p95: From the camera's stamp to the chunk.
        last_at: When the last chunk arrived [s].
    """

    skip_ratio: float | None = None
    skip_ratio_lifetime: float | None = None
    layers_run_mean: float | None = None
    layers_last: int | None = None
    mode_last: str | None = None
    backbone_share: float | None = None
    inference_ms: tuple[float, float, float] | None = None
    stage_ms: dict[str, tuple[float, float, float]] | None = None
    observation_age_ms_p95: float | None = None
    last_at: float | None = None


class ChunkStats:
    """Fed by the worker with every delivery, read by diagnostics."""

    def __init__(self, window: int) -> None:
        """Args: number of chunks averaged over."""
        self._lock = threading.Lock()
        self._layers: deque[int] = deque(maxlen=window)
        self._stages: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=window))
        self._totals: deque[float] = deque(maxlen=window)
        self._ages: deque[float] = deque(maxlen=window)
        self._layers_sum = 0
        self._chunks = 0
        self._depth = 0
        self._pending_layers = 0
        self._pending_stages: dict[str, float] = defaultdict(float)
        self._mode: str | None = None
        self._last_at: float | None = None

    def add(self, delivery: Delivery, now: float) -> None:
        """Note one pass; a chunk is complete when no re-run follows."""
        chunk = delivery.chunk
        if chunk is None:
            return
        with self._lock:
            self._depth = chunk.trace.layers_total
            self._pending_layers += len(chunk.trace.layers_run)
            for stage, seconds in chunk.stage_seconds.items():
                self._pending_stages[stage] += seconds
            if delivery.rerun:
                return
            self._chunks += 1
            self._layers.append(self._pending_layers)
            self._layers_sum += self._pending_layers
            self._totals.append(1e3 * sum(self._pending_stages.values()))
            for stage, seconds in self._pending_stages.items():
                self._stages[stage].append(1e3 * seconds)
            self._ages.append(1e3 * (now - chunk.stamp))
            self._pending_layers = 0
            self._pending_stages = defaultdict(float)
            self._mode = chunk.mode
            self._last_at = now

    def skip_ratio(self) -> float | None:
        """``ChunkReport.skip_ratio`` alone; None before the first chunk."""
        with self._lock:
            if not self._chunks:
                return None
            return 1.0 - sum(self._layers) / (len(self._layers) * self._depth)

    def report(self) -> ChunkReport:
        """The figures now."""
        with self._lock:
            if not self._chunks:
                return ChunkReport()
            mean = float(np.mean(self._layers))
            total = sum(self._totals)
            backbone = sum(self._stages['backbone'])
            return ChunkReport(
                skip_ratio=1.0 - mean / self._depth,
                skip_ratio_lifetime=1.0 - self._layers_sum / (self._chunks * self._depth),
                layers_run_mean=mean,
                layers_last=self._layers[-1],
                mode_last=self._mode,
                backbone_share=backbone / total if total > 0 else None,
                inference_ms=_quantiles(self._totals),
                stage_ms={
                    name: _quantiles(self._stages[name])
                    for name in (*STAGES, REMOTE)
                    if self._stages.get(name)
                },
                observation_age_ms_p95=float(np.quantile(self._ages, 0.95)),
                last_at=self._last_at,
            )


def _quantiles(values: deque[float]) -> tuple[float, float, float]:
    array = np.array(values)
    return float(np.quantile(array, 0.5)), float(np.quantile(array, 0.95)), float(array.max())
