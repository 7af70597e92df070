"""Two-stage distillation: what is trained, what is frozen, what is sampled."""

from __future__ import annotations

import pytest
import torch
from synthetic import demonstrations, small_config, tokens_and_statistics

from dysl_vla_ros.data_types import LayerLayout
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.batches import NO_AUGMENTATION, BatchSource
from dysl_vla_ros.lab.learn.dense_model import dense_model, states
from dysl_vla_ros.lab.learn.distill import DistillSettings, _positions, controller_loss, distill
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork
from dysl_vla_ros.lab.model.skipping import SkipModules

LAYOUT = LayerLayout(6, (0, 3, 5))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def source() -> BatchSource:
    data = demonstrations()
    _, table, stats = tokens_and_statistics(data)
    return BatchSource(data, table, stats, torch.device('cpu'), seed=1)


def parts() -> tuple[PolicyNetwork, SkipModules]:
    torch.manual_seed(0)
    network = PolicyNetwork(small_config())
    return network, SkipModules(LAYOUT, network.config.width, 8)


def changed(before: dict[str, torch.Tensor], module: torch.nn.Module) -> set[str]:
    now = module.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, now[name])}


def copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_stage_one_trains_adapters_alone() -> None:
    network, skipping = parts()
    frozen, trained = copied(network), copied(skipping)
    distill(network, skipping, source(), DistillSettings(3, 0, batch=8))
    assert changed(frozen, network) == set()
    moved = changed(trained, skipping)
    assert moved and all(name.startswith('adapters.') for name in moved)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_stage_two_trains_adapters_and_controllers_and_not_the_backbone() -> None:
    network, skipping = parts()
    frozen, trained = copied(network), copied(skipping)
    distill(network, skipping, source(), DistillSettings(0, 12, batch=8, positions=3))
    assert changed(frozen, network) == set()
    moved = changed(trained, skipping)
    assert any(name.startswith('adapters.') for name in moved)
    assert any(name.startswith('controllers.') for name in moved)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_stage_one_lets_adapters_explain_what_the_layers_did() -> None:
    network, skipping = parts()
    plan = DistillSettings(120, 0, batch=32, adapter_rate=1e-2)
    curve = distill(network, skipping, source(), plan, note_every=120)
    # One is what doing nothing scores.
    assert curve[-1]['unexplained'] < 0.5


def test_a_larger_skip_weight_opens_more_controllers() -> None:
    shares = []
    for weight in (0.0, 0.5):
        network, skipping = parts()
        plan = DistillSettings(20, 60, batch=16, skip_weight=weight, controller_rate=3e-2)
        curve = distill(network, skipping, source(), plan, note_every=60)
        shares.append(curve[-1]['open'])
    assert shares[1] > shares[0] + 0.1


def one_loss(mix: str) -> tuple[float, float, float]:
    """Stage 2's loss at layer 4 alone, and what it should be with either mix."""
    network, skipping = parts()
    generator = torch.Generator().manual_seed(3)
    for parameter in skipping.adapter(4).parameters():
        parameter.data.normal_(0.0, 0.3, generator=generator)
    batch = source().draw(0, 16, NO_AUGMENTATION)
    plan = DistillSettings(skip_weight=0.1, task_share=0.0, upstream_share=0.0, mix=mix)
    dense = dense_model(network, source())
    with torch.no_grad():
        entering = states(dense, dense.encode(batch))
        bridged, full = skipping.adapter(4)(entering[4]), entering[5]
        gate = skipping.controller(4)(entering[4])[:, None, None]
        wanted = network.head(network.layer(5, full))

        def cost(state: torch.Tensor) -> torch.Tensor:
            return (network.head(network.layer(5, state)) - wanted).abs().flatten(1).mean(1)

        jump, mixture = cost(bridged), cost(gate * bridged + (1 - gate) * full)
    draws = torch.Generator()
    while _positions(LAYOUT, 1, draws.manual_seed(draws.initial_seed() + 1)) != [4]:
        pass
    draws.manual_seed(draws.initial_seed())
    loss, _ = controller_loss(dense, skipping, batch, plan, draws)
    share = gate.flatten()
    by_cost = (share * jump + 0.1 * (1 - share)).mean()
    by_state = (mixture + 0.1 * (1 - share)).mean()
    return float(loss.detach()), float(by_cost), float(by_state)


def test_stage_two_mixes_what_a_jump_costs_so_that_an_adapter_stands_alone() -> None:
    loss, by_cost, by_state = one_loss('cost')
    assert loss == pytest.approx(by_cost, abs=1e-6)
    assert abs(loss - by_state) > 1e-4


def test_stage_two_can_mix_states_as_the_paper_does() -> None:
    loss, by_cost, by_state = one_loss('state')
    assert loss == pytest.approx(by_state, abs=1e-6)
    assert abs(loss - by_cost) > 1e-4


def test_a_mix_of_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"distill\.mix = 'gates'"):
        DistillSettings(mix='gates')  # type: ignore[arg-type]


def test_positions_are_distinct_and_of_one_segment() -> None:
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(200):
        chosen = _positions(LAYOUT, 2, generator)
        assert len(set(chosen)) == len(chosen)
        assert set(chosen) <= {1, 2} or set(chosen) <= {4}
        seen |= set(chosen)
    assert seen == {1, 2, 4}
    assert {len(_positions(LAYOUT, 1, generator)) for _ in range(20)} == {1}


def test_no_position_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'distill\.positions = 0'):
        DistillSettings(positions=0)


def test_bf16_on_the_cpu_distils_weights_that_stay_whole_and_end_elsewhere() -> None:
    def distilled(precision: str) -> dict[str, torch.Tensor]:
        network, skipping = parts()
        plan = DistillSettings(4, 8, batch=8, positions=2, precision=precision)  # type: ignore[arg-type]
        distill(network, skipping, source(), plan)
        return copied(skipping)

    whole, half = distilled('fp32'), distilled('bf16')
    assert all(value.dtype == torch.float32 for value in half.values())
    assert any(not torch.equal(whole[name], half[name]) for name in whole)
    apart = max(float((whole[name] - half[name]).abs().max()) for name in whole)
    assert apart < 0.1, 'they went the same way'
    with pytest.raises(ConfigError, match=r'distill\.precision'):
        DistillSettings(precision='fp8')  # type: ignore[arg-type]
