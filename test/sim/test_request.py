"""What a person asks for becomes a scene that holds it; or a refusal says what can be asked."""

from __future__ import annotations

import pytest

from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.sim.director import Director, DirectorSettings
from dysl_vla_ros.sim.request import find_episode
from dysl_vla_ros.sim.world import World


@pytest.mark.parametrize(
    ('text', 'relation', 'target', 'reference'),
    [
        ('Pick up the RED cube.', 'up', 'red cube', None),
        ('put  the green cylinder into the bin', 'inside', 'green cylinder', None),
        ('stack the blue cube on the red cylinder', 'onto', 'blue cube', 'red cylinder'),
        ('put the orange cube down beside the blue cube', 'beside', 'orange cube', 'blue cube'),
        ('slide the purple cylinder left', 'left', 'purple cylinder', None),
        ('push the yellow cylinder to the right', 'right', 'yellow cylinder', None),
    ],
)
def test_the_scene_holds_what_is_asked_for_and_the_judge_knows_the_goal(
    text, relation, target, reference
):
    episode = find_episode(text, first_seed=3)
    assert episode.seed >= 3
    assert episode.goal.relation == relation
    assert episode.target.name == target
    assert (None if episode.reference is None else episode.reference.name) == reference
    assert episode.instruction == ' '.join(text.lower().rstrip('.').split())


@pytest.mark.parametrize(
    'text',
    ['make me coffee', 'pick up the red ball', 'put the red cube next to the red cube', '',
     'pick up the red cube and put the blue cube into the bin'],
)  # fmt: skip
def test_what_nobody_could_judge_is_refused_with_what_can_be_asked(text):
    with pytest.raises(ConfigError, match='expected a sentence such as: pick up the red') as error:
        find_episode(text)
    assert 'orange' in str(error.value) and 'cylinder' in str(error.value)


def test_a_request_is_tried_once_and_judged():
    director = Director(World(), DirectorSettings(instruction='pick up the red cube'))
    now = 0.0
    said = set()
    while now < 40.0:
        director.update(now, listening=True, last_command=None)
        said.add(director.instruction)
        now += 0.1
    assert said == {'', 'pick up the red cube'}
    assert (director.episodes, director.outcome) == (1, 'failure')  # nobody moved the arm
    assert director.episode.target.name == 'red cube'
