"""The dense network, part by part."""

from __future__ import annotations

import pytest
import torch

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork, attend, rotary_table, rotate
from dysl_vla_ros.lab.model.shapes import CameraShape, PolicyConfig

CONFIG = PolicyConfig(
    vocabulary=9, layers=4, width=32, head_dim=16, stem_channels=(8, 8, 8), auxiliary_layer=2,
    cameras=(CameraShape('image', 32, 32), CameraShape('wrist_image', 16, 16)),
    instruction_tokens=3,
)  # fmt: skip


@pytest.fixture(scope='module')
def network() -> PolicyNetwork:
    torch.manual_seed(0)
    return PolicyNetwork(CONFIG).eval()


def inputs(batch: int = 2) -> tuple[tuple[torch.Tensor, ...], torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    images = (torch.randn(batch, 3, 32, 32), torch.randn(batch, 3, 16, 16))
    return images, torch.randint(0, 9, (batch, 3)), torch.randn(batch, 7)


def test_the_sequence_is_patches_words_joints_and_slots(network: PolicyNetwork) -> None:
    hidden = network.encode(*inputs())
    assert hidden.shape == (2, 4 + 1 + 3 + 1 + 8, 32)
    assert hidden.shape[1] == CONFIG.tokens


def test_the_parts_in_a_row_are_the_whole(network: PolicyNetwork) -> None:
    hidden = network.encode(*inputs())
    for index in range(CONFIG.layers):
        hidden = network.layer(index, hidden)
    whole, _, _ = network(*inputs())
    assert torch.equal(network.head(hidden), whole)
    assert whole.shape == (2, 8, 7)


def test_attention_sees_both_ways(network: PolicyNetwork) -> None:
    hidden = torch.randn(1, CONFIG.tokens, 32)
    changed = hidden.clone()
    changed[0, -1] += 1.0
    before, after = network.layer(0, hidden), network.layer(0, changed)
    assert not torch.allclose(before[0, 0], after[0, 0])


def test_one_sample_does_not_touch_another(network: PolicyNetwork) -> None:
    images, tokens, joints = inputs()
    both, _, _ = network(images, tokens, joints)
    alone, _, _ = network(tuple(i[:1] for i in images), tokens[:1], joints[:1])
    assert torch.allclose(both[:1], alone, atol=1e-5)


def test_the_actions_do_not_read_the_auxiliary_heads(network: PolicyNetwork) -> None:
    actions, _, _ = network(*inputs())
    network.zero_grad()
    actions.sum().backward()
    assert all(p.grad is None for p in network.auxiliary.parameters())


def test_rotary_scores_depend_on_distance_alone() -> None:
    cos, sin = rotary_table(12, 8)
    query, key = torch.randn(8), torch.randn(8)
    turned_q = rotate(query.expand(12, 8), cos, sin)
    turned_k = rotate(key.expand(12, 8), cos, sin)
    scores = turned_q @ turned_k.T
    assert scores[2, 5] == pytest.approx(float(scores[7, 10]), abs=1e-5)
    assert scores[2, 5] != pytest.approx(float(scores[2, 6]), abs=1e-3)


@pytest.mark.parametrize(
    ('changes', 'field'),
    [
        ({'head_dim': 24}, 'head_dim'),
        ({'auxiliary_layer': 24}, 'auxiliary_layer'),
        ({'width': 48}, 'width = 48: expected a multiple of 32'),
        ({'layers': 6}, 'layers = 6: expected at least 7'),
        ({'cameras': ()}, 'cameras'),
    ],
)
def test_an_impossible_shape_is_refused_by_name(changes: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        PolicyConfig(vocabulary=9, **changes)  # type: ignore[arg-type]


def test_a_camera_must_divide_into_patches() -> None:
    with pytest.raises(ConfigError, match=r'cameras\.image\.width'):
        CameraShape('image', 96, 100)


def test_attention_in_bf16_on_a_cpu_is_that_of_float32_rounded_once() -> None:
    """Also within autocast, which would choose bf16 for it: its gradient there is slow."""
    torch.manual_seed(2)
    parts = [torch.randn(2, 3, 20, 8).to(torch.bfloat16) for _ in range(3)]
    wanted = torch.nn.functional.scaled_dot_product_attention(*(part.float() for part in parts))
    with torch.autocast('cpu', torch.bfloat16):
        found = attend(*parts)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, wanted.to(torch.bfloat16))
