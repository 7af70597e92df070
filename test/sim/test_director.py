"""Episode after episode: told, judged, stopped, and laid out anew; on a world that is scripted."""

from __future__ import annotations

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim.director import Director, DirectorSettings
from dysl_vla_ros.sim.tasks import draw_episode


class ScriptedWorld:
    """Succeeds when told to."""

    def __init__(self):
        self.good = False
        self.resets = []

    def reset(self, seed, family, split):
        self.resets.append((seed, family))
        self.good = False
        return draw_episode(seed, family, split)

    def lay_out(self, episode):
        self.resets.append((episode.seed, 'asked'))
        return episode

    def success(self):
        return self.good


def director(**settings):
    return Director(ScriptedWorld(), DirectorSettings(**settings))


def run(made, begin, seconds, listening=True, last_command=None):
    for step in range(round(seconds / 0.1)):
        made.update(begin + 0.1 * step, listening, last_command)
    return begin + seconds


def test_nothing_is_said_before_anybody_listens():
    made = director()
    run(made, 0.0, 5.0, listening=False)
    assert made.instruction == ''


def test_the_instruction_of_the_scene_is_said_once_the_pictures_are_fresh():
    made = director()
    made.update(0.0, True, None)
    assert made.instruction == ''
    run(made, 0.1, 1.3)
    assert made.instruction == made.episode.instruction != ''


def test_a_success_counts_once_it_has_lasted():
    made = director()
    now = run(made, 0.0, 1.6)
    made.world.good = True
    made.update(now, True, now)
    made.world.good = False
    now = run(made, now + 0.1, 1.0, last_command=now)
    assert made.episodes == 0
    made.world.good = True
    run(made, now, 1.0, last_command=now)
    assert (made.episodes, made.successes) == (1, 1)


def test_the_time_limit_ends_an_episode_as_a_failure():
    made = director(time_limit=2.0)
    run(made, 0.0, 3.6)
    assert (made.episodes, made.successes, made.last_outcome) == (1, 0, 'failure')


def test_the_scene_changes_only_after_the_arm_has_been_without_commands():
    made = director(time_limit=2.0)
    now = run(made, 0.0, 3.2)
    assert made.instruction == ''
    for step in range(30):  # commands keep coming
        made.update(now + 0.1 * step, True, now + 0.1 * step)
    assert len(made.world.resets) == 1
    run(made, now + 3.0, 1.0, last_command=now + 2.9)
    assert made.world.resets[1][0] == 1


def test_seeds_count_up_and_families_take_turns():
    made = director(time_limit=1.0, families=('bin', 'push'), first_seed=4)
    run(made, 0.0, 8.0)
    assert made.world.resets[:3] == [(4, 'bin'), (5, 'push'), (6, 'bin')]


def test_a_scene_that_was_just_laid_out_has_no_outcome_of_the_one_before():
    """Who listens counted the episode that ended again, under the next one's seed."""
    made, told = director(time_limit=2.0), []
    for step in range(120):
        made.update(0.1 * step, True, None)
        told.append((made.seed, made.outcome))
    ended = [seed for seed, outcome in dict.fromkeys(told) if outcome == 'failure']
    assert ended == list(range(made.episodes)) and made.episodes > 1
    assert made.last_outcome == 'failure'


def test_skipping_to_a_seed_lays_it_out_and_counts_nothing():
    made = director()
    now = run(made, 0.0, 2.0)
    made.skip_to(77, now)
    assert made.seed == 77 and made.episodes == 0 and made.instruction == ''


def test_what_is_asked_for_waits_until_the_policy_has_stopped_and_is_tried_once():
    made = director(time_limit=2.0)
    now = run(made, 0.0, 2.0)
    made.ask('put the red cube into the bin', 10, now)
    assert made.instruction == ''  # told to stop
    run(made, now, 2.0, last_command=now + 2.0)
    assert len(made.world.resets) == 1
    now = run(made, now + 2.0, 3.0, last_command=now + 2.0)
    assert made.instruction == 'put the red cube into the bin'
    assert made.world.resets[1][1] == 'asked' and made.episode.goal.relation == 'inside'
    run(made, now, 9.0, last_command=now)
    assert made.instruction == '' and made.episodes == 1 and len(made.world.resets) == 2
    made.ask('', 30, now + 9.0)
    run(made, now + 9.0, 3.0, last_command=now)
    assert made.instruction and made.seed == 30


def test_nonsense_that_is_asked_for_changes_nothing():
    made = director()
    now = run(made, 0.0, 2.0)
    said = made.instruction
    with pytest.raises(ConfigError, match='fetch a beer'):
        made.ask('fetch a beer', 0, now)
    assert made.instruction == said


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'families': ('pick', 'juggle')}, 'episodes.families'),
        ({'families': ()}, 'episodes.families'),
        ({'first_seed': -1}, 'seed = -1: expected an integer >= 0'),
        ({'time_limit': 0.0}, 'episodes.time_limit_s'),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        director(**settings)


def test_the_scene_does_not_change_under_a_node_that_stalls_and_still_means_to_move():
    made = director(time_limit=2.0)
    run(made, 0.0, 3.2)
    for step in range(50):  # silent for five seconds, and not stopped
        made.update(3.2 + 0.1 * step, True, 3.2, obeys=True)
    assert len(made.world.resets) == 1
    made.update(8.2, True, 3.2, obeys=False)
    assert len(made.world.resets) == 2
