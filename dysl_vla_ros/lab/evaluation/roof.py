"""What the device itself reaches: the rate of one large product, and of one large copy.

Peak numbers of data sheets are never reached; a floor from what this very device did a moment ago
is one that an engine could reach. ``python -m dysl_vla_ros.lab.evaluation.roof cpu`` prints one as
JSON: a process of its own, for BLAS takes its number of threads when it is loaded.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.lab.evaluation.roofline import Part

_RUNS = 7
_CPU_SIDE, _GPU_SIDE = 1024, 8192
_CPU_BYTES, _GPU_BYTES = 64 << 20, 1 << 30


@dataclass(frozen=True)
class Roof:
    """Rates that a device reached.

    Attributes:
        what: How they were measured.
        flops: Operations per second of a product; a multiply-add is two [1/s].
        bandwidth: Bytes read and written per second by a copy [byte/s].
        number_bytes: Size of a number in the product.
    """

    what: str
    flops: float
    bandwidth: float
    number_bytes: int

    def floor_ms(self, parts: Sequence[Part]) -> float:
        """Least time of parts that run one after the other."""
        return 1e3 * sum(
            part.seconds(self.flops, self.bandwidth, self.number_bytes) for part in parts
        )


def measure_cpu(clock: Callable[[], float] = time.perf_counter) -> Roof:
    """Of this process: float32, with as many threads as its BLAS has."""
    random = np.random.default_rng(0)
    left, right = (random.random((_CPU_SIDE, _CPU_SIDE), np.float32) for _ in range(2))
    product = np.empty_like(left)
    source = np.ones(_CPU_BYTES // 4, np.float32)
    target = np.empty_like(source)
    multiply = _best(lambda: np.matmul(left, right, out=product), clock)
    copy = _best(lambda: np.copyto(target, source), clock)
    return Roof(
        f'numpy {np.__version__}: float32, {_CPU_SIDE} x {_CPU_SIDE}; copy of '
        f'{_CPU_BYTES >> 20} MiB',
        2.0 * _CPU_SIDE**3 / multiply, 2.0 * _CPU_BYTES / copy, 4,
    )  # fmt: skip


def measure_gpu(precision: str, clock: Callable[[], float] = time.perf_counter) -> Roof:
    """Of the current CUDA device, through torch.

    Args:
        precision: ``fp16``, or ``fp32`` without TF32, as the engines compute.
        clock: Seconds.

    Raises:
        EngineError: Torch is not installed, or sees no device.
    """
    try:
        import torch
    except ImportError as error:
        raise EngineError(f'the roof of a GPU is measured through torch ({error})') from None
    if not torch.cuda.is_available():
        raise EngineError(f'torch {torch.__version__} sees no CUDA device')
    kind = torch.float16 if precision == 'fp16' else torch.float32
    left = torch.randn(_GPU_SIDE, _GPU_SIDE, device='cuda', dtype=kind)
    source = torch.ones(_GPU_BYTES // 2, device='cuda', dtype=torch.float16)
    target = torch.empty_like(source)

    def waited(body: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            body()
            torch.cuda.synchronize()

        return run

    multiply = _best(waited(lambda: left @ left), clock)
    copy = _best(waited(lambda: target.copy_(source)), clock)
    return Roof(
        f'torch {torch.__version__}: {precision}, {_GPU_SIDE} x {_GPU_SIDE}; copy of '
        f'{_GPU_BYTES >> 20} MiB',
        2.0 * _GPU_SIDE**3 / multiply, 2.0 * _GPU_BYTES / copy, left.element_size(),
    )  # fmt: skip


def against(
    roof: Roof, parts: Mapping[str, Sequence[Part]], stages: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Floor, measured and share of every stage.

    Args:
        roof: Of the same run.
        parts: By stage.
        stages: Quantiles of what was measured, by stage [ms].
    """
    found = {}
    for stage, some in parts.items():
        floor, measured = roof.floor_ms(some), stages[stage]['p50']
        found[stage] = {'floor_ms': floor, 'measured_ms': measured, 'share': floor / measured}
    return found


def _best(body: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of the fastest of a few runs, after one that warms up."""
    body()
    times = []
    for _ in range(_RUNS):
        begun = clock()
        body()
        times.append(clock() - begun)
    return max(min(times), 1e-9)


if __name__ == '__main__':
    made = measure_cpu() if sys.argv[1:] == ['cpu'] else measure_gpu(sys.argv[1])
    print(json.dumps(asdict(made)))
