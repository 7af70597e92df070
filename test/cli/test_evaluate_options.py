"""Every option of ``dysl evaluate`` belongs to worlds and modes; beside others it is refused."""

from __future__ import annotations

import pytest

from dysl_vla_ros.cli.evaluate import _options
from dysl_vla_ros.cli.evaluate_options import OF_MODES, PLACES, refuse_idle
from dysl_vla_ros.cli.main import main, parser_of
from dysl_vla_ros.errors import ConfigError

VALUES = {
    '--families': 'pick', '--split': 'heldout_objects', '--probe': 'blank_image',
    '--skip-rule': 'level', '--control': 'blank', '--video-of': 'all', '--video-kind': 'gif',
    '--random-depth': '0.5', '--tau': '0.5', '--thin': '0.5', '--latency': 'garbage',
    '--pace': 'continuity:5@0.5/11@0.5', '--option': 'size=96', '--modes': 'auto',
    '--world': 'tabletop', '--observations': '/nope',
}  # fmt: skip
"""What each option is given; 1 where nothing stands here."""
WORLDS = {'tabletop': 'tabletop', 'libero': 'libero', 'package:NAME': 'package:mars'}


def options() -> set[str]:
    """Of the parser, as they are written in full."""
    return {one.option_strings[-1] for one in parser_of('evaluate')._actions} - {'--help'}


def parsed(*words: str):
    return parser_of('evaluate').parse_args(list(words))


def test_every_option_has_its_worlds_and_no_other_is_named():
    assert set(PLACES) == options()
    assert set(OF_MODES) < options()
    assert {world for place in PLACES.values() for world in place.worlds} == set(WORLDS)


@pytest.mark.parametrize('world', WORLDS)
@pytest.mark.parametrize('option', sorted(options() - {'--world'}))
def test_an_option_is_refused_by_its_name_beside_a_world_that_has_no_use_for_it(option, world):
    words = ('--world', WORLDS[world]) * (world != 'tabletop')
    given = parsed(*words, option, VALUES.get(option, '1'))
    given.modes = OF_MODES.get(option, given.modes)
    if world in PLACES[option].worlds:
        refuse_idle(given)
        return
    with pytest.raises(ConfigError, match=f'{option} = .*left away beside --world {WORLDS[world]}'
                       f': {option} is of --world {PLACES[option].worlds[0]}'):  # fmt: skip
        refuse_idle(given)


@pytest.mark.parametrize('option', OF_MODES)
def test_an_option_of_a_mode_is_refused_where_that_mode_is_not_played(option):
    world = PLACES[option].worlds[0]
    given = parsed('--world', WORLDS[world], '--modes', 'full', option, VALUES.get(option, '1'))
    with pytest.raises(ConfigError, match=f'{option} = .*beside --modes full: .*is of mode '
                       f'{OF_MODES[option][0]}'):  # fmt: skip
        refuse_idle(given)
    given.modes = [OF_MODES[option][-1]]
    refuse_idle(given)


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ('--control blank', 'here --probe shuffled_instruction or blank_image'),
        ('--world libero --engine . --probe blank_image', 'here --control other_words or blank'),
        ('--world package:mars --episodes 5', 'here --starts'),
        ('--world package:mars --videos films', 'is of --world tabletop or libero'),
        ('--starts 5 --suite libero_goal', '--starts, --suite = '),
        ('--world libero --engine . --modes full deer', '--deer-ratio is missing'),
        ('--world libero --engine . --modes full paced', '--pace is missing'),
    ],
)
def test_the_option_to_use_in_its_place_is_named(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(['evaluate', *words.split(' ')]) == 2
    found = capsys.readouterr().err
    assert said in found and len(found.splitlines()) == 1, found
    assert list(tmp_path.iterdir()) == []


def test_the_scenes_hang_on_which_families_are_played_not_on_their_order():
    orders = (('pick', 'push'), ('push', 'pick'), ('push', 'pick', 'push'))
    played = [_options(parsed('--families', *words), None).specs() for words in orders]
    assert played[0] == played[1] == played[2]
