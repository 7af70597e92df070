"""A stranger adds a back end by a package of their own: nothing of this one is edited."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tiny_bundle
from strangers import entry_points, write_points

from dysl_vla_ros.cli.main import main
from dysl_vla_ros.config import EngineConfig, NodeConfig
from dysl_vla_ros.data_types import Observation, SkipPlan
from dysl_vla_ros.engines.open_engine import open_engine
from dysl_vla_ros.engines.packages import GROUP
from dysl_vla_ros.errors import ConfigError, EngineError
from dysl_vla_ros.policy import open_policy
from dysl_vla_ros.policy_process.client import ProcessPolicy

MINE = 'package:my_engine'
LAYERS = 5


@pytest.fixture(scope='module')
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundle') / 'tiny'
    return str(tiny_bundle.write_tiny_bundle(folder, layers=LAYERS, mask=True))


def observed(manifest):
    random = np.random.default_rng(1)
    images = {c.name: random.integers(0, 256, (c.height, c.width, 3), np.uint8)
              for c in manifest.cameras}  # fmt: skip
    joints = np.linspace(-0.3, 0.4, manifest.proprioception.body)
    return Observation(1.0, images, joints, 0.5, 'pick up the red cube')


def test_it_runs_the_bundle_as_onnx_runtime_does(bundle, site):
    mine = open_policy(EngineConfig(path=bundle, backend=MINE, warmup_runs=1))
    ours = open_policy(EngineConfig(path=bundle, backend='onnxruntime', warmup_runs=1))
    assert 'its reference' in mine.engine.device
    layout, seen = ours.manifest.layout, observed(ours.manifest)
    jumps = SkipPlan(layout.open_plan().allow, 'open')
    for plan in (layout.full_plan(), jumps, layout.open_plan()):
        found, wanted = mine.predict(seen, plan), ours.predict(seen, plan)
        assert found.trace.layers_run == wanted.trace.layers_run
        np.testing.assert_allclose(found.normalised, wanted.normalised, atol=1e-4)
    again = mine.rerun(mine.predict(seen, jumps))
    np.testing.assert_array_equal(
        again.normalised, mine.predict(seen, layout.full_plan()).normalised
    )


def test_the_nodes_own_process_opens_it(bundle, site, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(site), prepend=':')
    config = NodeConfig(engine=EngineConfig(path=bundle, backend=MINE, warmup_runs=1)).engine
    policy = ProcessPolicy(config)
    try:
        assert 'its reference' in policy.engine.device
        result = policy.predict(observed(policy.manifest), policy.manifest.layout.full_plan())
        assert result.normalised.shape == (8, 7)
    finally:
        policy.engine.close()


def test_commands_take_it(bundle, site, capsys):
    call = ['bench', '--engine', bundle, '--backend', MINE, '--runs', '1', '--count', '1',
            '--warm-up', '0']  # fmt: skip
    assert main(call) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ('broken', 'said'),
    [
        ('unkept', 'keep must copy what later layers overwrite'),
        ('endless', 'expected finite floats of shape (8, 7)'),
        ('halved', 'decode gives float64 of shape (4, 7)'),
        ('odd', 'expected a float within [0, 1]'),
        ('noisy', 'other actions the second time'),
        ('unprepared', 'takes 0 positional arguments but 1 was given'),
        ('shallow', 'layout = LayerLayout'),
        ('empty', 'without encode, run_layer, skip_score, bridge, keep, restore, decode'),
        ('raising', "RuntimeError('no such card')"),
        ('offline', 'imports dysl_vla_ros.cli'),
        ('nothing', 'is a int: expected a function'),
        ('missing', 'cannot be loaded'),
    ],
)
@pytest.mark.filterwarnings('ignore:divide by zero')
def test_an_engine_that_breaks_a_promise_is_refused_with_what_would_be_right(
    broken, said, bundle, site, monkeypatch
):
    write_points(site, f'[{GROUP}]\nmy_engine = my_engine.broken:{broken}\n')
    for name in [n for n in sys.modules if n.startswith('dysl_vla_ros.cli')]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EngineError) as caught:
        open_engine(bundle, MINE)
    assert said in str(caught.value) and 'my_engine' in str(caught.value)


@pytest.mark.parametrize(
    ('broken', 'said'), [('weary', 'ValueError (too warm)'), ('leaving', 'SystemExit (0)')]
)
def test_one_that_fails_in_the_middle_of_a_command_is_named(broken, said, bundle, site, capsys):
    write_points(site, f'[{GROUP}]\nmy_engine = my_engine.broken:{broken}\n')
    call = ['bench', '--engine', bundle, '--backend', MINE, '--runs', '9', '--count', '9']
    assert main(call) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f'dysl bench: my_engine fails: {said}; it is a package beside this one: '
        'DYSL_TRACEBACK=1 before the command shows where'
    )


def test_one_that_is_not_there_or_twice_is_an_error_that_says_so(bundle, site):
    with pytest.raises(EngineError, match=r'found 0 \(my_engine\); see doc/add_an_engine'):
        open_engine(bundle, 'package:myengine')
    other = site / 'other-1.0.dist-info'
    other.mkdir()
    (other / 'METADATA').write_text('Metadata-Version: 2.1\nName: other\nVersion: 1.0\n')
    (other / 'entry_points.txt').write_text(entry_points(GROUP))
    with pytest.raises(EngineError, match='found 2'):
        open_engine(bundle, MINE)


@pytest.mark.parametrize('value', ['my_engine', 'package:', 'Package:my_engine', 'tensort'])
def test_another_word_is_refused_where_the_parameters_are_read(value, capsys):
    with pytest.raises(ConfigError, match='package:NAME'):
        NodeConfig(engine=EngineConfig(backend=value))
    assert main(['bench', '--backend', value]) == 2
    assert 'package:NAME' in capsys.readouterr().err
