"""An option that a command cannot obey is named; one that it can is obeyed."""

from __future__ import annotations

import pytest

from dysl_vla_ros.cli.calls import Parser
from dysl_vla_ros.cli.ignored import refuse_ignored
from dysl_vla_ros.cli.main import main, parser_of
from dysl_vla_ros.cli.recipe_options import FIRST, STAGES, refuse_idle
from dysl_vla_ros.cli.robot_set import READ, TRAINED
from dysl_vla_ros.cli.train import dense_settings
from dysl_vla_ros.errors import ConfigError


def test_an_option_that_is_given_with_its_default_counts_as_given():
    parser = Parser('try', 'to try')
    parser.add_argument('--units', default='auto')
    parser.add_argument('--size', type=int, default=96)
    assert parser.parse_args([]).said == {}
    given = parser.parse_args(['--size=96', '--units', 'auto', '--size', '3'])
    assert given.said == {'--size': '3', '--units': 'auto'}
    with pytest.raises(
        ConfigError, match="--size = '3': expected to be left away beside ours: why"
    ):
        refuse_ignored(given, ('--size',), 'beside ours', 'why not')


def test_what_is_said_of_an_option_is_told_as_it_was_typed_and_no_more():
    parser = Parser('try', 'to try')
    parser.add_argument('place')
    parser.add_argument('--range', nargs=2)
    parser.add_argument('--fast', action='store_true')
    given = parser.parse_args(['--range', '-1', '1e3', '--fast', 'here'])
    assert given.said == {'--range': '-1 1e3', '--fast': ''}
    with pytest.raises(ConfigError, match="--range, --fast = '-1 1e3, given': expected to be"):
        refuse_ignored(given, ('--range', '--fast'), 'beside ours', 'why not')


@pytest.mark.parametrize('option', [*READ, *TRAINED])
def test_every_option_of_a_set_is_refused_where_the_checkpoint_decides(tmp_path, option, capsys):
    value = {'--cameras': ['a'], '--state': ['b'], '--gripper-range': ['0', '1'],
             '--action-space': ['eef_pose'], '--units': ['radians'], '--action-units': ['radians'],
             '--action-scale': ['1'], '--horizon': ['8'], '--image-size': ['32'],
             '--held-out': ['0.5']}.get(option, ['c'])  # fmt: skip
    words = ['train', str(tmp_path), '--start', str(tmp_path / 'none'), option, *value]
    assert main(words) == 2
    assert (
        f"{option} = '{' '.join(value)}': expected to be left away beside --start"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ('words', 'beside'),
    [
        (['--world', 'libero', '--start', 'bundle'], '--world libero'),
        (['--world', 'libero', '--collect-seconds', '9'], '--world libero'),
        (['--suite', 'libero_goal'], '--world tabletop'),
        (['--episodes', '60'], '--world tabletop'),
        (['--steps', '4500'], '--world tabletop'),
        (['--start', 'bundle', '--train-seconds', '9'], '--start'),
    ],
)
def test_options_that_a_recipe_could_not_obey_are_refused(words, beside, tmp_path, capsys):
    assert main(['recipe', '--folder', str(tmp_path / 'run'), *words]) == 2
    assert (
        f"{words[-2]} = '{words[-1]}': expected to be left away beside {beside}"
        in capsys.readouterr().err
    )
    assert not (tmp_path / 'run').exists()


def test_every_option_of_the_recipe_has_the_stage_from_which_on_it_acts():
    assert set(FIRST) == parser_of('recipe').options() - {'-h', '--help'}
    assert set(FIRST.values()) <= set(STAGES)


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ('--rounds 0 --round-episodes 5', "--round-episodes = '5': expected to be left away"),
        ('--rounds 0 --round-seconds 5', "--round-seconds = '5': expected to be left away beside"),
        ('--until dense --rounds 3 --round-seconds 1',
         "--rounds, --round-seconds = '3, 1': expected to be left away beside --until dense: "
         '--rounds '
         'acts from --until dagger on'),
        ('--world libero --until demonstrations --train-seconds 9',
         "--train-seconds = '9': expected to be left away beside --until demonstrations"),
        ('--world libero --until demonstrations --seed 3', '--seed acts from --until dense on'),
        ('--until demonstrations', 'the demonstrations alone: dysl collect'),
        ('--start a.safetensors --until dense --precision fp32 --collect-seconds 9',
         "--precision, --collect-seconds = 'fp32, 9': expected to be left away beside --start "
         'CHECKPOINT and --until dense'),
        ('--start a.safetensors --rounds 0 --until dagger --precision fp32',
         'nothing is collected or trained'),
    ],
)  # fmt: skip
def test_options_of_stages_that_a_recipe_does_not_come_to_are_refused(
    words, said, tmp_path, capsys
):
    assert main(['recipe', '--folder', str(tmp_path / 'run'), *words.split(' ')]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('words', [
    '--start BUNDLE --rounds 0 --until dagger --precision fp32 --collect-seconds 9',
    '--until dagger --rounds 2 --round-seconds 5', '--world libero --rounds 1 --steps 4500',
    '--until dense --train-seconds 9 --seed 3 --collect-seconds 9',
])  # fmt: skip
def test_options_that_a_recipe_obeys_are_not_refused(words, tmp_path):
    said = words.replace('BUNDLE', str(tmp_path)).split(' ')
    refuse_idle(parser_of('recipe').parse_args(['--folder', str(tmp_path / 'run'), *said]))


@pytest.mark.slow
def test_options_of_any_robot_are_refused_beside_a_set_of_the_bundled_arm(tmp_path, capsys):
    pytest.importorskip('pyarrow')
    (tmp_path / 'set/meta').mkdir(parents=True)
    (tmp_path / 'set/meta/info.json').write_text('{}')
    (tmp_path / 'set/meta/dysl.json').write_text('{"goals": []}')
    words = ['train', str(tmp_path / 'set'), '--out', str(tmp_path / 'out'), '--units', 'degrees']
    assert main(words) == 2
    assert (
        "--units = 'degrees': expected to be left away beside sets of dysl"
        in capsys.readouterr().err
    )
    (tmp_path / 'set/meta/dysl.json').unlink()
    assert main([*words[:4], '--free-motion', '0.4']) == 2
    assert (
        "--free-motion = '0.4': expected to be left away beside a set of any"
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_the_precision_that_is_said_is_that_of_the_training():
    pytest.importorskip('torch')
    given = parser_of('train').parse_args(['set', '--precision', 'bf16', '--preset', 'toy'])
    settings = dense_settings(given, False)
    assert (settings.train.precision, settings.ground.precision) == ('bf16', 'bf16')
