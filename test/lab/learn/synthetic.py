"""A task small enough to be learned in seconds: move to where the named square is."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.lab.data.demonstrations import Demonstrations, statistics
from dysl_vla_ros.lab.data.words import build_tokenizer, encode_table
from dysl_vla_ros.lab.model.shapes import CameraShape, PolicyConfig, Statistics

PHRASES = (('take red', 'red please'), ('take blue',))
CAMERAS = (CameraShape('image', 32, 32), CameraShape('wrist_image', 16, 16))


def small_config(layers: int = 6) -> PolicyConfig:
    """A network that runs in a millisecond."""
    return PolicyConfig(
        vocabulary=len(build_tokenizer(p for goal in PHRASES for p in goal).get_vocab()),
        cameras=CAMERAS, instruction_tokens=3, proprioception_dim=7, layers=layers, width=32,
        head_dim=16, stem_channels=(8, 8, 8), auxiliary_layer=2,
    )  # fmt: skip


def demonstrations(frames: int = 96, seed: int = 0) -> Demonstrations:
    """Two squares per image; the chunk moves by the named square's quadrant."""
    rng = np.random.default_rng(seed)
    image = np.full((frames, 32, 32, 3), 90, dtype=np.uint8)
    patches = np.array([rng.permutation(4)[:2] for _ in range(frames)])
    for index in range(frames):
        for colour, patch in zip((0, 2), patches[index], strict=True):
            row, column = divmod(int(patch), 2)
            image[index, row * 16 + 4 : row * 16 + 12, column * 16 + 4 : column * 16 + 12] = 0
            image[index, row * 16 + 4 : row * 16 + 12, column * 16 + 4 : column * 16 + 12,
                  colour] = 250  # fmt: skip
    place = np.stack(np.divmod(patches, 2), axis=-1) * 2.0 - 1.0
    chunk = np.zeros((frames, 2, 8, 7), dtype=np.float32)
    chunk[..., :2] = 0.008 * place[:, :, None, :]
    chunk[..., 6] = 1.0
    offset = np.full((frames, 2, 2, 3), np.nan, dtype=np.float32)
    offset[:, :, 0, :2] = 0.1 * place
    offset[:, :, 0, 2] = 0.0
    point = np.full((frames, 2, 2), -1, dtype=np.int64)
    point[:, :, 0] = patches
    return Demonstrations(
        images={'image': image, 'wrist_image': np.zeros((frames, 16, 16, 3), np.uint8)},
        proprioception=rng.uniform(-1, 1, (frames, 7)).astype(np.float32),
        frame=np.repeat(np.arange(frames), 2),
        goal=np.tile(np.arange(2), frames),
        own=np.tile(np.array([True, False]), frames),
        chunk=chunk.reshape(-1, 8, 7),
        point=point.reshape(-1, 2),
        offset=offset.reshape(-1, 2, 3),
    )


def tokens_and_statistics(data: Demonstrations):  # type: ignore[no-untyped-def]
    """The word table and the normalisation that go with the data."""
    tokenizer = build_tokenizer(p for goal in PHRASES for p in goal)
    stats: Statistics = statistics(data)
    return tokenizer, encode_table(tokenizer, PHRASES, 3), stats
