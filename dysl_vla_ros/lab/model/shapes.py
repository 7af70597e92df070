"""Shapes and statistics of a policy, without torch: processes that only simulate read them too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dysl_vla_ros.bundle.manifest import NormalisationSpec
from dysl_vla_ros.errors import ConfigError

PATCH = 16
"""Side of an image patch that becomes one token [pixels]; four halvings."""
TOY_NETWORK: dict[str, Any] = {
    'layers': 6, 'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8), 'auxiliary_layer': 2,
}  # fmt: skip
"""Of a ``PolicyConfig``: the smallest that has all parts, for trying out a whole way."""


@dataclass(frozen=True)
class CameraShape:
    """One camera's input: name and size [pixels].

    Attributes:
        name: Key of the image.
        height: Rows of the image.
        width: Columns of the image.
        dropped_rows: Rows of patches, from the top, that get no token: with the camera fixed,
            what matters never shows there, and every token costs time in every layer.
    """

    name: str
    height: int
    width: int
    dropped_rows: int = 0

    def __post_init__(self) -> None:
        """Refuse sizes that do not divide into patches."""
        for field, size in (('height', self.height), ('width', self.width)):
            if size < PATCH or size % PATCH:
                raise ConfigError(f'cameras.{self.name}.{field}', size, f'a multiple of {PATCH}')
        if not 0 <= self.dropped_rows < self.height // PATCH:
            raise ConfigError(
                f'cameras.{self.name}.dropped_rows',
                self.dropped_rows,
                f'0 to {self.height // PATCH - 1}',
            )

    @property
    def patches(self) -> int:
        """Tokens this camera contributes."""
        return (self.height // PATCH - self.dropped_rows) * (self.width // PATCH)


def check_sizes(layers: int, width: int, head_dim: int, auxiliary_layer: int) -> None:
    """Refuse a depth and a width that the other sizes do not allow.

    Raises:
        ConfigError: Of ``width``, ``layers`` or what divides them.
    """
    if head_dim < 2 or head_dim % 2:
        raise ConfigError('head_dim', head_dim, 'an even number')
    if width % head_dim:
        raise ConfigError('width', width, f'a multiple of {head_dim}, the size of an attention '
                          'head (head_dim)')  # fmt: skip
    if auxiliary_layer < 1:
        raise ConfigError('auxiliary_layer', auxiliary_layer, 'at least 1')
    if layers <= auxiliary_layer:
        raise ConfigError('layers', layers, f'at least {auxiliary_layer + 1}: training also reads '
                          f'what enters layer {auxiliary_layer} (auxiliary_layer)')  # fmt: skip


@dataclass(frozen=True)
class PolicyConfig:
    """Shape of the network.

    Attributes:
        vocabulary: Token ids run from 0 to ``vocabulary - 1``.
        cameras: In the order of their tokens.
        instruction_tokens: Words after padding; the padding is a word like any other.
        proprioception_dim: Joint positions and gripper opening.
        action_horizon: Actions per chunk = action slots.
        action_dim: Numbers per action.
        layers: Depth of the backbone.
        width: Size of a token.
        head_dim: Size of an attention head.
        mlp_ratio: SwiGLU hidden size / width.
        stem_channels: After the first, second and third halving of the image.
        auxiliary_layer: The training-time losses read the state entering this layer.
        names: Names that an object can have; patches are asked for them in training.
        direct: Carry the proprioception to the actions by a straight way too: for absolute joint
            positions, of which most is where the joints are.
    """

    vocabulary: int
    cameras: tuple[CameraShape, ...] = (
        CameraShape('image', 96, 96),
        CameraShape('wrist_image', 64, 64),
    )
    instruction_tokens: int = 12
    proprioception_dim: int = 7
    action_horizon: int = 8
    action_dim: int = 7
    layers: int = 24
    width: int = 160
    head_dim: int = 32
    mlp_ratio: int = 2
    stem_channels: tuple[int, int, int] = (32, 64, 128)
    auxiliary_layer: int = 6
    names: int = 12
    direct: bool = False

    def __post_init__(self) -> None:
        """Check what must divide, and what must be there at all."""
        check_sizes(self.layers, self.width, self.head_dim, self.auxiliary_layer)
        if not self.cameras:
            raise ConfigError('cameras', self.cameras, 'at least one camera')

    @property
    def patches(self) -> int:
        """Patch tokens of all cameras."""
        return sum(camera.patches for camera in self.cameras)

    @property
    def tokens(self) -> int:
        """Length of the sequence: patches, words, proprioception, action slots."""
        return self.patches + self.instruction_tokens + 1 + self.action_horizon


def check_network(network: Mapping[str, Any]) -> None:
    """Refuse changes to the network that cannot be, before anything is read.

    Raises:
        ConfigError: As ``check_sizes``.
    """
    names = ('layers', 'width', 'head_dim', 'auxiliary_layer')
    check_sizes(*(network.get(name, getattr(PolicyConfig, name)) for name in names))


@dataclass(frozen=True)
class Statistics:
    """Normalisation of what goes in and comes out."""

    proprioception: NormalisationSpec
    action: NormalisationSpec
