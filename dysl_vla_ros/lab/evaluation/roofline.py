"""The least time that a pass can take on a device: its operations at peak, its weights at peak.

What runs faster than this is measured wrongly; how far a measurement lies above it is what an
engine still wastes. Only matrix products are counted: everything else is free here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """Peak numbers of a device, dense (no structured sparsity).

    Attributes:
        name: For people.
        fp16: Operations per second of its matrix units [1/s]; a multiply-add is two.
        int8: The same for 8-bit integers [1/s].
        bandwidth: Of its memory [byte/s].
    """

    name: str
    fp16: float
    int8: float
    bandwidth: float


# 16 streaming multiprocessors at 1.3005 GHz, 1024 half-precision multiply-adds per clock each:
# half of the 85 dense (170 sparse) INT8 TOPS that NVIDIA states for the GPU; 256-bit LPDDR5-6400.
AGX_ORIN_64GB = Device(
    name='Jetson AGX Orin 64GB, GPU at 1.3 GHz (MAXN)',
    fp16=16 * 1024 * 2 * 1.3005e9,
    int8=16 * 2048 * 2 * 1.3005e9,
    bandwidth=204.8e9,
)


@dataclass(frozen=True)
class Part:
    """A stack of products of one sequence.

    Attributes:
        weights: Numbers in its matrices.
        products: Multiply-adds for one observation.
    """

    weights: float
    products: float

    def seconds(self, peak: float, bandwidth: float, weight_bytes: int) -> float:
        """The larger of computing and of reading the weights once."""
        return max(2.0 * self.products / peak, self.weights * weight_bytes / bandwidth)


@dataclass(frozen=True)
class Network:
    """A policy as parts that always run, and layers that may be skipped.

    Attributes:
        name: For people.
        tokens: Length of the backbone's sequence.
        layers: Depth of the backbone.
        layer: One of its layers.
        rest: Vision, projector and head, once per observation.
    """

    name: str
    tokens: int
    layers: int
    layer: Part
    rest: tuple[Part, ...]

    def floor(self, device: Device, layers_run: float, int8_layers: bool = False) -> float:
        """Least seconds of one pass.

        Args:
            device: Where.
            layers_run: Layers of the backbone that run.
            int8_layers: Layers in INT8; the rest stays FP16.
        """
        peak, size = (device.int8, 1) if int8_layers else (device.fp16, 2)
        layer = self.layer.seconds(peak, device.bandwidth, size)
        rest = sum(part.seconds(device.fp16, device.bandwidth, 2) for part in self.rest)
        return layers_run * layer + rest


def transformer(layers: int, width: int, mlp: float, tokens: int, images: int = 1) -> Part:
    """Attention and feed-forward products.

    Args:
        layers: Depth.
        width: Size of a token.
        mlp: Numbers in the feed-forward matrices of one layer.
        tokens: Per sequence.
        images: Sequences.
    """
    weights = layers * (4.0 * width * width + mlp)
    attention = layers * 2.0 * tokens * tokens * width
    return Part(weights, images * (weights * tokens + attention))


def openvla_oft(prompt_tokens: int = 35) -> Network:
    """OpenVLA-OFT with two cameras, proprioception and chunks of 8 x 7 (Kim et al., 2025).

    Llama-2-7B over BOS and prompt, 2 x 256 patches, proprioception, 56 action slots and the end;
    DINOv2 ViT-L/14 with 4 registers and SigLIP so400m/14 up to the second-to-last block.
    """
    tokens = prompt_tokens + 2 * 256 + 1 + 56 + 1
    joined = 1024 + 1152
    projector = 4.0 * joined * joined + 4.0 * joined * 4096 + 4096.0 * 4096
    head = 7.0 * 4096 * 4096 + 2.0 * 4096 * 4096 + 4096.0 * 7
    return Network(
        name='OpenVLA-OFT, two cameras',
        tokens=tokens,
        layers=32,
        layer=transformer(1, 4096, 3.0 * 4096 * 11008, tokens),
        rest=(
            transformer(23, 1024, 2.0 * 1024 * 4096, 256 + 5, images=2),
            transformer(26, 1152, 2.0 * 1152 * 4304, 256, images=2),
            Part(projector, projector * 2 * 256),
            Part(head, head * 8),
        ),
    )


SHARES = (('full', 1.0), ('half', 0.5), ('a fifth', 0.2))


def table(
    network: Network, device: Device, shares: Sequence[tuple[str, float]] = SHARES
) -> list[str]:
    """The floors as Markdown rows, with an empty column for what was measured."""
    rows = [
        f'Floors [ms] of {network.name}, {network.tokens} tokens, on {device.name}:',
        '',
        '| layers run | FP16 | INT8 layers, FP16 rest | your `dysl bench` |',
        '| --- | --- | --- | --- |',
    ]
    for name, share in shares:
        run = share * network.layers
        fp16, int8 = (1e3 * network.floor(device, run, int8) for int8 in (False, True))
        rows.append(f'| {name} ({run:g} of {network.layers}) | {fp16:.0f} | {int8:.0f} | |')
    return rows


if __name__ == '__main__':
    print('\n'.join(table(openvla_oft(), AGX_ORIN_64GB)))
