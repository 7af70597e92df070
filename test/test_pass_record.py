"""A pass reads back as it was, bit by bit; what is none is refused in words."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dysl_vla_ros.data_types import Jump, LayerTrace, Observation, SkipPlan
from dysl_vla_ros.errors import InputError
from dysl_vla_ros.pass_record import Judged, PassRecord, Source, from_text, to_text
from dysl_vla_ros.policy import Pass


def a_record(**changes):
    random = np.random.default_rng(3)
    odd = random.normal(size=(8, 7))
    plan = SkipPlan((1, 4), threshold=0.1 + 0.2, since=(None, odd[0], odd[1]))
    trace = LayerTrace((0, 3, 5), 6, {1: 1 / 3, 4: 0.9}, (Jump(1, 3), Jump(4, 5)), 1)
    result = Pass(2.5, 'red', odd, 'skipped', trace, {'encode': 0.1})
    record = PassRecord(
        source=Source('ab12', 'tabletop', '0' * 64, 'CPU'), number=7, first=None,
        stamp_ns=1_700_000_000_123_456_789,
        observation=Observation(0.0, {}, random.normal(size=6), 1 / 7, 'pick up the réd cube'),
        cameras=('image',), tokens=(1, 2, 0), proprioception=(0.1, -0.2), mode='auto',
        settings={'rule': 'level', 'weights': np.ones(7), 'eta': 0.1}, plan=plan, result=result,
        judged=Judged(True, False, '', 2, odd, (None, -0.1), None, 40, 1, (odd[2],)),
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


def test_every_number_comes_back_to_the_bit():
    record = a_record()
    read = from_text(to_text(record))
    assert (read.result.normalised == record.result.normalised).all()
    assert read.result.trace == record.result.trace
    assert read.plan == record.plan and read.stamp_ns == record.stamp_ns
    assert read.plan.since[0] is None and (read.plan.since[2] == record.plan.since[2]).all()
    assert (read.observation.joints == record.observation.joints).all()
    assert read.observation.gripper == record.observation.gripper
    assert read.judged.continuity == (None, -0.1) and read.settings['weights'] == [1.0] * 7


def test_a_compared_pass_comes_along_and_a_rerun_names_its_first():
    skipped = a_record().result
    full = dataclasses.replace(skipped, mode='full', compared=skipped)
    read = from_text(to_text(a_record(result=full, mode='compare', first=6)))
    assert read.first == 6
    assert read.result.compared is not None and read.result.compared.mode == 'skipped'


def test_actions_that_are_not_finite_are_recorded_too():
    broken = dataclasses.replace(a_record().result, normalised=np.array([[np.nan, np.inf]]))
    read = from_text(to_text(a_record(result=broken)))
    assert np.isnan(read.result.normalised[0, 0]) and np.isinf(read.result.normalised[0, 1])


def spoiled(**changes):
    return json.dumps({**json.loads(to_text(a_record())), **changes})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', 'no pass'),
        ('[]', 'no pass'),
        ('{"format": "other"}', "format 'other'"),
        (spoiled(version=2), 'version 2'),
        (spoiled(plan={}), "KeyError 'allow'"),
        (spoiled(mode='fast'), "mode 'fast'"),
        (spoiled(tokens='x'), 'no pass'),
        ('[' * 100_000, 'no pass'),
    ],
)
def test_what_is_no_pass_is_refused_in_words(text, message):
    with pytest.raises(InputError, match=message):
        from_text(text)
