"""Passes and errors survive the way to the other process and back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from dysl_vla_ros import errors
from dysl_vla_ros.data_types import Jump, LayerTrace, Observation, SkipPlan
from dysl_vla_ros.engines.fake.bundle import fake_manifest
from dysl_vla_ros.engines.tensorrt.cuda_driver import NoDriverError
from dysl_vla_ros.policy import Pass
from dysl_vla_ros.policy_process.exit_codes import describe_exit
from dysl_vla_ros.policy_process.messages import (
    StateToken,
    ask_for_pass,
    read_error,
    read_pass,
    read_request,
    say_error,
    say_pass,
)
from dysl_vla_ros.policy_process.wire import Message, WireError

MANIFEST = fake_manifest()
TRACE = LayerTrace(
    (0, 1, 5), 24, {2: 0.1 + 0.2, 3: math.nan}, (Jump(1, 5), Jump(6, 11)), 1, object()
)
PASS = Pass(7.0, 'go', np.full((8, 7), 1 / 3), 'skipped', TRACE, {'encode': 0.1}, True)


def there_and_back(message):
    return Message(message.kind, json.loads(json.dumps(message.values)), message.arrays)


def test_a_pass_keeps_everything_and_its_state_becomes_a_token():
    full = Pass(7.0, 'go', np.zeros((8, 7)), 'full', LayerTrace((0, 1), 24), {}, False, PASS)
    back = read_pass(there_and_back(say_pass(full, 5)), 7.0, 'go', MANIFEST, 2)
    assert back.trace == full.trace and back.trace.resume_state is None
    other = back.compared
    assert other.trace.resume_state == StateToken(2, 5)
    assert other.normalised.tobytes() == PASS.normalised.tobytes()
    assert math.isnan(other.trace.scores[3]) and other.trace.scores[2] == 0.1 + 0.2
    assert (other.trace.jumps, other.trace.layers_run) == (TRACE.jumps, TRACE.layers_run)
    assert (other.trace.resume_layer, other.mode, other.changed) == (1, 'skipped', True)
    assert other.stage_seconds == PASS.stage_seconds


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('mode', 'fast'), ('changed', 1), ('layers_total', 23), ('layers_run', [24]),
        ('layers_run', [True]), ('layers_run', 'abc'), ('resume_layer', -1),
        ('resume_layer', 1.0), ('scored', [24]), ('scores', [0.5, 'high']), ('scores', None),
        ('jumps', [1]), ('jumps', [1, 99]), ('stages', []), ('stages', {'encode': '1'}),
        ('token', None),
    ],
)  # fmt: skip
def test_a_pass_with_one_wrong_value_is_refused_by_its_name(name, value):
    message = there_and_back(say_pass(PASS, 1))
    wrong = Message('pass', {**message.values, name: value}, message.arrays)
    with pytest.raises(WireError, match=name):
        read_pass(wrong, 7.0, 'go', MANIFEST, 0)


@pytest.mark.parametrize(
    'array', [np.zeros((8, 6)), np.zeros((8, 7), np.float32), np.zeros(56), None]
)
def test_actions_of_another_shape_or_type_are_refused(array):
    message = there_and_back(say_pass(PASS, 1))
    arrays = {} if array is None else {'normalised': array}
    with pytest.raises(WireError, match=r'normalised: .*: expected float64, \(8, 7\)'):
        read_pass(Message('pass', message.values, arrays), 7.0, 'go', MANIFEST, 0)


@pytest.mark.parametrize(
    ('error', 'kind'),
    [
        (errors.BundleError('no manifest'), errors.BundleError),
        (errors.InputError('a black image'), errors.InputError),
        (NoDriverError('no NVIDIA driver'), errors.EngineError),
        (errors.ModelProcessError('only this side may say that'), errors.EngineError),
        (RuntimeError('a bug'), errors.EngineError),
    ],
)
def test_an_error_keeps_class_and_text_and_a_bug_becomes_an_error_of_the_engine(error, kind):
    back = read_error(there_and_back(say_error(error)))
    assert type(back) is kind
    assert str(back) == (str(error) if isinstance(error, errors.DyslError) else repr(error))


def test_a_config_error_keeps_its_parts():
    error = errors.ConfigError('engine.threads', 0, 'at least 1')
    back = read_error(there_and_back(say_error(error)))
    assert type(back) is errors.ConfigError
    assert (str(back), back.field, back.expected) == (str(error), error.field, error.expected)


@pytest.mark.parametrize(
    ('code', 'text'),
    [
        (0, 'ended by itself'), (3, 'ended with exit code 3'), (12, 'ran out of memory'),
        (-11, 'died of SIGSEGV'), (-6, 'died of SIGABRT'), (-99, 'died of signal 99'),
        (-9, 'died of SIGKILL (out of memory, or somebody killed it)'),
    ],
)  # fmt: skip
def test_an_end_is_described_in_words(code, text):
    assert describe_exit(code) == text


@pytest.mark.parametrize('plan', [SkipPlan((1, 2), 'open', 0.25), SkipPlan((3,), exit_layer=2)])
def test_a_plan_keeps_everything_on_its_way(plan):
    observation = Observation(1.0, {}, np.zeros(6), 1.0, 'go')
    message = there_and_back(ask_for_pass('predict', observation, plan, MANIFEST))
    assert read_request(message)[1] == plan
