"""The package is what colcon and pip expect."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {
    'package.xml', 'colcon.pkg', 'setup.py', 'setup.cfg', 'pyproject.toml', 'constraints-cpu.txt',
    'Makefile',
    'README.md', 'LICENSE', 'CHANGELOG.rst', 'CONTRIBUTING.md', 'SECURITY.md', '.gitignore', '.ci',
    'dysl_vla_ros', 'launch', 'config', 'resource', 'test', 'doc',
}  # fmt: skip


def tracked():
    listed = subprocess.run(
        ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip('not a git checkout')
    return listed.stdout.splitlines()


def test_the_top_level_holds_only_what_it_is_meant_to():
    assert {path.split('/')[0] for path in tracked()} <= TOP_LEVEL


def test_the_models_stay_small():
    size = sum(path.stat().st_size for path in (ROOT / 'resource').rglob('*') if path.is_file())
    assert size < 25e6


def test_package_xml_is_valid_where_colcon_is_strict():
    root = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert root.findtext('export/build_type') == 'ament_python'
    email = root.find('maintainer').get('email')
    assert re.fullmatch(r'[\w.+-]+@[\w-]+(\.[\w-]+)+', email)
    assert root.findtext('license') == 'Apache-2.0'


def test_versions_agree():
    version = ElementTree.parse(ROOT / 'package.xml').getroot().findtext('version')
    assert f"version='{version}'" in (ROOT / 'setup.py').read_text()
    assert version in (ROOT / 'CHANGELOG.rst').read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_colcon_builds_it_as_ament_python_with_executables_and_share(tmp_path):
    tools = tmp_path / 'tools'
    venv.create(tools, with_pip=True)
    python = tools / 'bin' / 'python'
    env = {k: v for k, v in os.environ.items() if k not in ('LD_LIBRARY_PATH', 'PYTHONPATH')}
    subprocess.run(
        [python, '-m', 'pip', 'install', '-q', 'colcon-common-extensions', 'colcon-ros',
         'setuptools<80', 'catkin_pkg', 'empy<4', 'lark', 'numpy>=1.24,<3', 'PyYAML', 'pytest',
         'pytest-timeout', 'transforms3d'],
        check=True, env=env,
    )  # fmt: skip
    source = tmp_path / 'ws' / 'src' / 'dysl_vla_ros'
    for path in tracked():
        if (ROOT / path).is_file():
            target = source / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, target)  # with its mode
    env['PATH'] = f'{tools / "bin"}{os.pathsep}{env["PATH"]}'
    colcon = [tools / 'bin' / 'colcon', '--log-base', tmp_path / 'log']

    def run(*words):
        done = subprocess.run(
            [*colcon, *words], cwd=tmp_path / 'ws', env=env, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert '(ros.ament_python)' in run('list')
    run('build')
    install = tmp_path / 'ws' / 'install' / 'dysl_vla_ros'
    for name in ('dysl', 'vla_node', 'sim_arm'):
        assert (install / 'lib' / 'dysl_vla_ros' / name).is_file()
    share = install / 'share' / 'dysl_vla_ros'
    assert (share / 'launch' / 'manipulation.launch.py').is_file()
    assert (share / 'config' / 'robots' / 'sim.yaml').is_file()
    assert list((share / 'models').glob('*/manifest.json'))
    assert (install / 'share/ament_index/resource_index/packages/dysl_vla_ros').is_file()
    site = next((install / 'lib').glob('python3*/site-packages'))
    found = subprocess.run(
        [sys.executable, '-c', 'import dysl_vla_ros.engines.open_engine as o;'
         'print(o.bundled_model())'],
        env={**env, 'PYTHONPATH': str(site)}, cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert str(share) in found.stdout
    sourced = subprocess.run(
        ['bash', '-c', 'source install/setup.bash; command -v dysl && dysl doctor'],
        cwd=tmp_path / 'ws', env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert sourced.stdout.startswith(str(install)), sourced.stdout + sourced.stderr
    assert 'bundled model' in sourced.stdout and 'Traceback' not in sourced.stderr
    few = ('test/test_rotations.py', 'test/sim', 'test/test_bringup.py')
    run('test', '--pytest-args', *few)
    told = run('test-result', '--all')
    count = int(re.search(r'(\d+) tests, 0 errors, 0 failures', told)[1])
    assert count > 100, told  # and not 0, with a green light


def make_environment(**env):
    """What `make` passes on, in a shell with these variables."""
    done = subprocess.run(
        ['make', '-s', '--eval=probe: ; @env', 'probe'], cwd=ROOT, capture_output=True, text=True,
        check=True, env={'PATH': os.environ['PATH'], **env},
    )  # fmt: skip
    return dict(line.split('=', 1) for line in done.stdout.splitlines() if '=' in line)


def test_make_runs_this_tree_whatever_a_sourced_shell_has_on_its_path(tmp_path):
    sourced = {'PYTHONPATH': '/ws/install', 'AMENT_PREFIX_PATH': '/ws'}
    sourced['COLCON_PREFIX_PATH'] = '/ws'
    found = make_environment(**sourced)  # no ROS in there: wheels, which bring all they need
    assert not set(sourced) & set(found)
    (tmp_path / 'rclpy.py').touch()
    ros = {**sourced, 'ROS_DISTRO': 'jazzy', 'PYTHONPATH': f'{tmp_path}:/ws/install'}
    found = make_environment(**ros)
    assert found['PYTHONPATH'] == f'{ROOT}:{tmp_path}:/ws/install'
    assert found['AMENT_PREFIX_PATH'] == '/ws'
