"""Demonstrations of LIBERO: what the simulator sends, packed, read again as samples."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from libero_frames import frame

from dysl_vla_ros.errors import ConfigError, EngineError
from dysl_vla_ros.lab.data import libero
from dysl_vla_ros.lab.data.batches import NO_AUGMENTATION
from dysl_vla_ros.lab.data.libero import LiberoCollect, load_libero
from dysl_vla_ros.lab.data.samples import batch_source, split
from dysl_vla_ros.lab.learn.dense import fresh_checkpoint
from dysl_vla_ros.lab.worlds.libero.suites import CAMERAS
from dysl_vla_ros.lab.worlds.libero.units import DROPPED_ROWS, official, patch_of, physical

WORDS = ['pick up the milk', 'pick up the butter']
FRAMES = 12


class Simulator:
    """What LIBERO's process answers, without LIBERO; seed 1 fails."""

    asked: list[int] = []

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        pass

    def ask(self, request, *arguments):
        if request == 'words':
            return WORDS
        if request == 'demonstrate':
            self.asked.append(arguments[0])
            return {'goal': 0, 'won': arguments[0] != 1,
                    'frames': [frame(n) for n in range(FRAMES)]}  # fmt: skip
        return {}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(libero, 'LiberoClient', Simulator)
    Simulator.asked.clear()
    folder = tmp_path / 'demonstrations'
    settings = LiberoCollect('libero_object', episodes=2, tasks=(0,))
    assert libero.collect_libero(folder, settings) == 2
    return folder


def test_a_seed_that_failed_is_not_played_again_and_the_rest_goes_on(folder):
    assert Simulator.asked == [0, 1, 2]
    more = LiberoCollect('libero_object', episodes=3, tasks=(0,))
    assert libero.collect_libero(folder, more) == 3
    assert Simulator.asked == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match='these are of libero_object'):
        libero.collect_libero(folder, LiberoCollect('libero_spatial', episodes=1, tasks=(0,)))


def test_a_scene_that_is_never_won_is_not_tried_for_ever(tmp_path, monkeypatch):
    class Hopeless(Simulator):
        def ask(self, request, *arguments):
            found = super().ask(request, *arguments)
            return {**found, 'won': False} if request == 'demonstrate' else found

    monkeypatch.setattr(libero, 'LiberoClient', Hopeless)
    monkeypatch.setattr(libero, '_HOPELESS', 8)
    settings = LiberoCollect('libero_object', episodes=3, tasks=(7,))
    with pytest.raises(ConfigError, match='tasks = 7: expected a scene .* of 9 starts 0 were'):
        libero.collect_libero(tmp_path / 'demonstrations', settings)


def test_demonstrations_that_were_made_in_another_way_are_not_mixed_with_new_ones(folder):
    mark = folder / libero.MARK
    old = {name: value for name, value in json.loads(mark.read_text()).items()
           if name != 'recoloured'}  # fmt: skip
    mark.write_text(json.dumps(old))
    more = LiberoCollect('libero_object', episodes=3, tasks=(0,))
    with pytest.raises(ConfigError, match=r'a new one: .*differ in recoloured, None for \[0\.6'):
        libero.collect_libero(folder, more)
    assert len(list(folder.glob('scene_00/*.npz'))) == 3, 'what is there is left alone'


def test_two_simulators_share_a_scene_and_keep_the_first_seeds_that_are_won(folder, tmp_path):
    """Seed 1 is lost in every scene: what is kept does not depend on how many play."""
    alone, shared = tmp_path / 'alone', tmp_path / 'shared'
    told = []
    for place, workers in ((alone, 1), (shared, 2)):
        settings = LiberoCollect('libero_object', episodes=11, tasks=(0, 3), workers=workers)
        assert libero.collect_libero(place, settings, lambda *one: told.append(one)) == 22
    kept = [{path.relative_to(place): path.stat().st_size > 0 for path in place.rglob('*.npz')}
            for place in (alone, shared)]  # fmt: skip
    assert kept[0] == kept[1] and len(kept[0]) == 24 and sum(kept[0].values()) == 22
    assert set(told) >= {(number, 22) for number in range(1, 23)}, 'it is told of every episode'


def test_a_simulator_that_dies_ends_the_collection_with_what_was_won(tmp_path, monkeypatch):
    class Dies(Simulator):
        def ask(self, request, *arguments):
            if request == 'demonstrate' and arguments[0] == 3:
                raise EngineError('libero: the simulator ended (exit code 1)')
            return super().ask(request, *arguments)

    monkeypatch.setattr(libero, 'LiberoClient', Dies)
    settings = LiberoCollect('libero_object', episodes=40, tasks=(0,), workers=2)
    with pytest.raises(EngineError, match='exit code 1'):
        libero.collect_libero(tmp_path, settings)
    there = sorted(int(path.stem) for path in tmp_path.rglob('*.npz'))
    assert there[:3] == [0, 1, 2] and len(there) < 30


def test_every_frame_is_a_sample_of_its_goal_and_of_others_that_were_named(folder):
    data = load_libero(folder)
    assert (data.frames, data.samples) == (2 * FRAMES, 2 * (FRAMES + 3))
    assert data.own.sum() == 2 * FRAMES and set(data.goal[~data.own]) == {1}
    assert data.instructions == tuple(WORDS)
    assert data.episode.tolist() == [0] * FRAMES + [1] * FRAMES
    first = data.chunk[0]
    assert np.allclose(first[0], [0.025, 0, 0, 0.1, 0, 0, 1.0])
    assert first[5, 6] == 1.0 and first[6, 6] == 0.0, 'it closes after frame 5'
    assert np.allclose(data.offset[0, 0], [0.1, 0.2, 0.3])
    assert abs(int(data.images['image'][3].mean()) - 30) <= 1


def test_a_chunk_at_the_end_of_an_episode_stays_at_its_last_action(folder):
    data = load_libero(folder)
    last = data.chunk[FRAMES - 1]
    assert (last == last[0]).all()


def test_a_network_for_it_reads_the_tasks_words(folder):
    data = load_libero(folder)
    small = {'layers': 6, 'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8),
             'auxiliary_layer': 2}  # fmt: skip
    checkpoint = fresh_checkpoint(data, small, 0)
    assert [c.dropped_rows for c in checkpoint.config.cameras] == [DROPPED_ROWS, 0]
    training, held_out = split(data, 0.2)
    assert training.instructions == held_out.instructions == data.instructions
    source = batch_source(training, checkpoint, torch.device('cpu'), 0)
    batch = source.draw(0, 64, NO_AUGMENTATION)
    by_name = {int(name): tuple(row.tolist()) for name, row in
               zip(batch.name, batch.tokens, strict=True)}  # fmt: skip
    assert len(by_name) == 2 and by_name[0] != by_name[1]


def test_a_network_has_room_for_the_longest_words_of_the_suite(folder):
    """LIBERO-Spatial says its tasks in 17 words, and the network took 12."""
    long = 'pick up the bowl between the plate and the ramekin and place it on the plate'
    data = replace(load_libero(folder), instructions=(WORDS[0], long))
    small = {'layers': 6, 'width': 32, 'head_dim': 16, 'stem_channels': (8, 8, 8),
             'auxiliary_layer': 2}  # fmt: skip
    assert fresh_checkpoint(data, small, 0).config.instruction_tokens == 16
    source = batch_source(data, fresh_checkpoint(data, small, 0), torch.device('cpu'), 0)
    assert source.draw(0, 8, NO_AUGMENTATION).tokens.shape == (8, 16)
    short = fresh_checkpoint(load_libero(folder), small, 0)
    assert short.config.instruction_tokens == 12


def test_units_go_there_and_back():
    actions = np.array([[1, -1, 0.5, 0.2, 0, -0.4, 1], [0, 0, 0, 0, 0, 0, -1.0]], np.float32)
    assert np.allclose(official(physical(actions)), actions)
    assert official(np.full((1, 7), 9.0, np.float32)).max() == 1.0


def test_pixels_become_patches_below_the_rows_that_are_dropped():
    side = CAMERAS['image'][1] // 16
    found = patch_of(np.array([[0.0, (DROPPED_ROWS + 0.5) / side], [0.99, 0.99], [0.5, 0.01],
                               [np.nan, 0.5]]))  # fmt: skip
    assert found.tolist() == [0, side * (side - DROPPED_ROWS) - 1, -1, -1]


def test_what_is_no_demonstration_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='libero.json'):
        load_libero(tmp_path)
    with pytest.raises(ConfigError, match='scripted expert'):
        LiberoCollect('libero_10', 1)


def test_a_picture_of_another_size_is_refused_with_its_file(folder, monkeypatch):
    monkeypatch.setitem(libero.CAMERAS, 'image', (libero.CAMERAS['image'][0], 64))
    with pytest.raises(ConfigError, match=r'00000000\.npz: image = .*expected \(64, 64, 3\)'):
        load_libero(folder)
