"""``dysl film --bag`` of recorded passes: what the model saw, what ran, what was executed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_bundle

pytest.importorskip('rosbags', reason="pip install 'dysl_vla_ros[bags]'")
pytest.importorskip('mcap', reason="pip install 'dysl_vla_ros[bags]'")

import made_recording

from dysl_vla_ros.data_types import LayerTrace
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.lab.evaluation.film_bag import film_of
from dysl_vla_ros.lossless_picture import decode

LAYERS = 8


@pytest.fixture(scope='module')
def passes(tmp_path_factory):
    bundle = tiny_bundle.write_tiny_bundle(
        tmp_path_factory.mktemp('bundle'), layers=LAYERS, static_layers=(0, 3, 7)
    )
    return run_again(list(made_recording.records(bundle)))


def run_again(passes):
    """The recording with one skipped pass that was run again, from the layer where it resumes."""
    at = next(k for k, (record, _) in enumerate(passes) if record.result.mode == 'skipped')
    first, pictures = passes[at]
    resumed = LayerTrace(tuple(range(first.result.trace.resume_layer, LAYERS)), LAYERS)
    dropped = replace(first.judged, accepted=False, rerun=True, reason='continuity drops')
    again = replace(
        first, number=first.number + 1, first=first.number,
        result=replace(first.result, mode='rerun', trace=resumed),
        judged=replace(first.judged, continuity=(-0.75,)),
    )  # fmt: skip
    later = [(replace(record, number=record.number + 1), shown)
             for record, shown in passes[at + 1 :]]  # fmt: skip
    return [*passes[:at], (replace(first, judged=dropped), pictures), (again, {}), *later]


def layers(records):
    """All that ran for one observation, as a set."""
    return {layer for record in records for layer in record.result.trace.layers_run}


def test_a_film_of_recorded_passes_shows_each_observation_with_all_that_ran_for_it(
    passes, tmp_path
):
    made = film_of(made_recording.write(tmp_path / 'bag', passes))
    assert -0.75 in {frame.continuity for frame in made.frames}
    by_stamp = {}
    for record, _ in passes:
        by_stamp.setdefault(record.stamp_ns, []).append(record)
    groups = list(by_stamp.values())
    assert {len(group) for group in groups} == {1, 2}
    assert len(made.frames) == len(groups)
    for frame, group in zip(made.frames, groups, strict=True):
        assert {k for k, bit in enumerate(frame.mask) if bit == '1'} == layers(group)
        assert frame.mode == group[-1].result.mode
        known = [value for value in group[-1].judged.continuity if value is not None]
        assert frame.continuity == (known[0] if known else None)
        seconds = 1e-9 * (group[0].stamp_ns - groups[0][0].stamp_ns)
        assert frame.time == pytest.approx(seconds, abs=1e-6)
    assert made.instruction == made_recording.SENTENCE and made.success is None
    seen = [frame.image for frame in made.frames]
    assert len({image.tobytes() for image in seen}) == len(groups)  # it drifts
    (packed,) = passes[0][1].values()
    assert np.abs(seen[0].mean() - decode(packed).mean()) < 2 and seen[0].std() > 20


def test_a_pass_of_which_nothing_was_executed_is_not_in_the_film(passes, tmp_path):
    late = 0
    record, pictures = passes[late]
    refused = replace(record.judged, accepted=False, reason='too late')
    spoiled = [*passes[:late], (replace(record, judged=refused), pictures), *passes[late + 1 :]]
    whole = film_of(made_recording.write(tmp_path / 'whole', passes))
    made = film_of(made_recording.write(tmp_path / 'bag', spoiled))
    assert len(made.frames) == len(whole.frames) - 1


def test_a_camera_that_was_not_recorded_is_named_with_those_that_were(passes, tmp_path):
    bag = made_recording.write(tmp_path / 'bag', passes)
    with pytest.raises(ConfigError, match="--camera = 'wrist': expected one of image"):
        film_of(bag, 'wrist')
