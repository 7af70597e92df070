"""Training on a toy task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import demonstrations, small_config, tokens_and_statistics

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.data.batches import NO_AUGMENTATION, BatchSource
from dysl_vla_ros.lab.learn.ground import ground
from dysl_vla_ros.lab.learn.train import TrainSettings, exits_of, learning_rate, train
from dysl_vla_ros.lab.model.policy_network import PolicyNetwork


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def source(seed: int = 0) -> BatchSource:
    data = demonstrations(seed=seed)
    _, table, stats = tokens_and_statistics(demonstrations())
    names = np.arange(2)
    return BatchSource(data, table, stats, torch.device('cpu'), seed=1, names=names)


def settings(steps: int, **changes: object) -> TrainSettings:
    return TrainSettings(
        steps=steps,
        batch=32,
        warmup=10,
        ema=0.9,
        learning_rate=3e-3,
        augmentation=NO_AUGMENTATION,
        **changes,
    )  # type: ignore[arg-type]


def test_training_learns_to_move_to_the_named_square() -> None:
    torch.manual_seed(0)
    result = train(PolicyNetwork(small_config()), source(), source(seed=5), settings(200))
    assert result.curve[-1]['action'] < 0.5 * result.curve[0]['action']
    assert result.validation['named_found'] > 0.9


def test_a_batch_depends_on_its_number_and_seed_alone() -> None:
    first, second = source(), source()
    torch.manual_seed(5)
    a = first.draw(3, 16, NO_AUGMENTATION)
    b = second.draw(3, 16, NO_AUGMENTATION)
    c = second.draw(4, 16, NO_AUGMENTATION)
    assert torch.equal(a.chunk, b.chunk) and torch.equal(a.images[0], b.images[0])
    assert not torch.equal(a.images[0], c.images[0])


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    def fresh() -> PolicyNetwork:
        torch.manual_seed(0)
        return PolicyNetwork(small_config(layers=3))

    state = tmp_path / 'state.safetensors'
    whole = train(fresh(), source(), None, settings(12)).network

    def stop(step: int, steps: int, note: dict[str, float]) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(fresh(), source(), None, settings(12, save_every_s=1e-9, note_every=1), state, stop)
    resumed = train(fresh(), source(), None, settings(12), state).network
    for (name, a), b in zip(whole.named_parameters(), resumed.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6), name


def test_the_learning_rate_rises_then_falls_to_two_percent() -> None:
    plan = settings(100)
    rates = [learning_rate(step, 100, plan) for step in range(101)]
    assert rates[9] == max(rates)
    assert rates[100] == pytest.approx(0.02 * max(rates))


def test_grounding_finds_the_named_square_with_the_lower_layers_alone() -> None:
    torch.manual_seed(0)
    network = PolicyNetwork(small_config())
    upper = network.layers[-1].down.weight.clone()
    note = ground(network, source(), settings(150))
    assert note['named_found'] > 0.9
    assert torch.equal(network.layers[-1].down.weight, upper)


def test_an_early_exit_goes_from_its_layer_straight_to_the_last() -> None:
    torch.manual_seed(0)
    network = PolicyNetwork(small_config()).eval()
    batch = source().draw(0, 4, NO_AUGMENTATION)
    inputs = (batch.images, batch.tokens, batch.proprioception)
    hidden = network.encode(*inputs)
    for layer in (0, 1, 2, 5):
        hidden = network.layer(layer, hidden)
    actions, _, early = network(*inputs, (1, 3))
    assert len(early) == 2
    assert torch.equal(early[1], network.head(hidden))
    full, _, none = network(*inputs)
    assert none == [] and torch.equal(actions, full)
    assert not torch.equal(early[1], full)


def test_every_update_draws_as_many_exits_as_asked_for_from_the_range() -> None:
    network = PolicyNetwork(small_config())
    drawn = [exits_of(n, network, settings(10, exits=2)) for n in range(200)]
    assert {len(exits) for exits in drawn} == {2}
    assert {layer for exits in drawn for layer in exits} == {2, 3, 4}
    assert all(first < second for first, second in drawn)
    narrow = settings(10, exits=1, exit_layers=(3, 3))
    assert {exits_of(n, network, narrow) for n in range(20)} == {(3,)}
    assert {exits_of(n, network, settings(10)) for n in range(20)} == {()}
    always = settings(10, exits=1, exit_layers=(3, 3), every_exit=(2, 4))
    assert {exits_of(n, network, always) for n in range(20)} == {(2, 3, 4)}


def test_early_exits_make_the_states_in_mid_stack_act() -> None:
    def error_at(layer: int, exits: int) -> float:
        torch.manual_seed(0)
        network = PolicyNetwork(small_config())
        plan = settings(120, exits=exits, exit_layers=(2, 3))
        trained = train(network, source(), None, plan).network.eval()
        batch = source(seed=5).draw(0, 64, NO_AUGMENTATION)
        _, _, early = trained(batch.images, batch.tokens, batch.proprioception, (layer,))
        return float((early[0] - batch.chunk).abs().mean().detach())

    assert error_at(2, exits=1) < 0.7 * error_at(2, exits=0)


def test_more_exits_than_the_range_has_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'train\.exits'):
        settings(10, exits=3, exit_layers=(3, 4))


def test_exits_behind_the_stack_are_refused_before_the_first_update() -> None:
    plan = settings(10, exits=1, exit_layers=(3, 5))
    with pytest.raises(ConfigError, match=r'train\.exit_layers = \(3, 5\)'):
        train(PolicyNetwork(small_config()), source(), None, plan)


def test_an_interrupted_warm_up_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    def fresh() -> PolicyNetwork:
        torch.manual_seed(0)
        return PolicyNetwork(small_config(layers=3))

    def stop(step: int, steps: int, note: dict[str, float]) -> None:
        if step == 6:
            raise KeyboardInterrupt

    state = tmp_path / 'ground.state.safetensors'
    whole, cut = fresh(), fresh()
    ground(whole, source(), settings(12))
    with pytest.raises(KeyboardInterrupt):
        ground(cut, source(), settings(12, save_every_s=1e-9, note_every=1), stop, state)
    resumed = fresh()
    steps: list[int] = []
    ground(resumed, source(), settings(12, note_every=1), lambda n, *_: steps.append(n), state)
    assert steps[0] == 6  # the fifth was saved
    for (name, a), b in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.allclose(a, b[1], atol=1e-6), name


def test_bf16_on_the_cpu_trains_weights_that_stay_whole_and_end_elsewhere() -> None:
    def trained(precision: str) -> PolicyNetwork:
        torch.manual_seed(0)
        plan = settings(6, precision=precision)
        return train(PolicyNetwork(small_config(layers=3)), source(), None, plan).network

    whole, half = (dict(trained(name).named_parameters()) for name in ('fp32', 'bf16'))
    assert all(value.dtype == torch.float32 for value in half.values())
    assert any(not torch.equal(whole[name], half[name]) for name in whole)
    assert all(torch.isfinite(value).all() for value in half.values())


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match='fp8'):
        settings(1, precision='fp8')
