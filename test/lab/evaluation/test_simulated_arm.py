"""A bundle that the simulation cannot play is refused before it is, by every command alike."""

from __future__ import annotations

import pytest
import tiny_bundle

from dysl_vla_ros.cli.main import main

JOINTS = tuple(f'joint_{number}' for number in range(6))


@pytest.fixture(scope='module')
def own(tmp_path_factory):
    """Bundles of another arm: its camera, its joints."""
    folder = tmp_path_factory.mktemp('own')
    return {
        'front': tiny_bundle.write_tiny_bundle(
            folder / 'a', layers=5, cameras=(('front', 96, 96),)
        ),
        'joint_0': tiny_bundle.write_tiny_bundle(folder / 'b', layers=5, joint_names=JOINTS),
    }


@pytest.mark.parametrize('part', ['front', 'joint_0'])
@pytest.mark.parametrize('command', ['evaluate', 'film', 'calibrate', 'headroom'])
def test_a_bundle_of_another_arm_is_refused_with_what_can_be_done_with_it(
    command, part, own, tmp_path, capsys
):
    calls = {
        'evaluate': ['--engine', own[part], '--episodes', 1, '--modes', 'full'],
        'film': [tmp_path / 'film.gif', '--engine', own[part]],
        'calibrate': [own[part], '--out', tmp_path / 'out', '--episodes', 1],
        'headroom': ['--engine', own[part], '--episodes', 1],
    }
    assert main([command, *map(str, calls[command])]) == 2
    told = capsys.readouterr().err
    assert 'a bundle for the simulated arm' in told and 'should not happen' not in told
    assert part in told or command == 'headroom'
