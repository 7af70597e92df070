"""Every option of ``dysl calibrate`` is for some targets; for others it is refused by its name."""

from __future__ import annotations

import pytest
import tiny_bundle

from dysl_vla_ros.cli.calibrate_options import (
    BUNDLE,
    BUNDLE_BAG,
    CHECKPOINT,
    FOLDER,
    PLACES,
    TOLD,
    WAYS,
    refuse_idle,
    what_is_kept,
)
from dysl_vla_ros.cli.main import main, parser_of
from dysl_vla_ros.errors import ConfigError

WITH = {'--bag': 'bag', '--observations': 'seen.npz', '--by-instruction': 'report.json',
        '--skipping': 'skipping.safetensors'}  # fmt: skip
VALUES = WITH | {
    '--first-seed': '7', '--depth': '0.5', '--drop-rate': '0.1', '--rule': 'ceil', '--tokens':
    'all', '--static-share': '0.3', '--bounds': 'extremes', '--action-space': 'eef_delta',
    '--proprioception': 'joints', '--crop-area': '0.9',
}  # fmt: skip
BARE = ('--shard', '--turned', '--libero-units', '--rotate-180')


@pytest.fixture(scope='module')
def targets(tmp_path_factory):
    """What each way of calibrating begins with."""
    folder = tmp_path_factory.mktemp('targets')
    (folder / 'published').mkdir()
    (folder / 'published/config.json').write_text('{}')
    (folder / 'a.safetensors').write_bytes(b'')
    bundle = tiny_bundle.write_tiny_bundle(folder / 'tiny')
    return {BUNDLE: bundle, CHECKPOINT: folder / 'a.safetensors', FOLDER: folder / 'published'}


def parsed(way: str, targets, *words: str):
    kind, _, beside = way.partition(' with ')
    more = (beside, WITH[beside]) if beside else ()
    return parser_of('calibrate').parse_args([str(targets[kind]), *more, *words])


def options() -> set[str]:
    """Of the parser, in every spelling."""
    return {name for one in parser_of('calibrate')._actions for name in one.option_strings}


def test_every_option_of_calibrate_has_its_targets():
    assert set(PLACES) == options() - {'-h', '--help'}
    assert {way for ways in PLACES.values() for way in ways} == set(WAYS)


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('option', sorted(set(PLACES) - set(WITH)))
def test_an_option_is_refused_by_its_name_for_a_target_that_it_does_nothing_to(
    option, way, targets
):
    bare = option in BARE or option.startswith('--no-')
    words = [option] if bare else [option, VALUES.get(option, '1')]
    given = parsed(way, targets, *words, '--dataset', 'set')
    if way in PLACES[option]:
        refuse_idle(given)
        return
    with pytest.raises(
        ConfigError, match=f"{option} = '.*': expected to be left away beside {way}: "
    ):
        refuse_idle(given)


@pytest.mark.parametrize('words', [
    '--depth 0.5', '--compare 3', '--rule level', '--drop-rate 0.1', '--weights equal',
    '--episodes 3', '--latency zero', '--window 3', '--topic /x', '--skipping FILE',
])  # fmt: skip
def test_beside_a_report_what_would_not_be_obeyed_is_refused(words, targets, capsys):
    bundle, option = targets[BUNDLE], words.split(' ')[0]
    before = (bundle / 'manifest.json').read_bytes()
    call = ['calibrate', str(bundle), '--by-instruction', 'report.json', *words.split(' ')]
    assert main(call) == 2
    said = f"{option} = '{words.split(' ')[1]}': expected to be left away beside {TOLD}: "
    assert said in capsys.readouterr().err
    assert (bundle / 'manifest.json').read_bytes() == before


@pytest.mark.parametrize('way', WAYS)
def test_an_interruption_promises_episodes_only_where_a_bundle_is_played(way, targets):
    told = what_is_kept(parsed(way, targets))
    assert told.startswith('finished episodes are kept') == (way in (BUNDLE, BUNDLE_BAG))
    assert 'the same command' in told


def test_how_layers_are_scored_is_refused_where_no_set_is_given_to_score_them_on(targets):
    with pytest.raises(ConfigError, match='--tokens = .*without --dataset'):
        refuse_idle(parsed(CHECKPOINT, targets, '--tokens', 'all'))


def test_a_set_is_refused_for_a_bundle_whatever_else_is_missing(targets, capsys):
    call = ['calibrate', str(targets[BUNDLE]), '--dataset', str(targets[BUNDLE].parent)]
    assert main(call) == 2
    assert '--dataset = ' in (told := capsys.readouterr().err) and 'set' in told
