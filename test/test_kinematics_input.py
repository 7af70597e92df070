"""A robot description is bounded before it is parsed; only the package's error comes out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('pinocchio', reason="needs the extra 'kinematics'")

from dysl_vla_ros.description import MAX_URDF_CHARACTERS, MAX_URDF_JOINTS
from dysl_vla_ros.errors import KinematicsError
from dysl_vla_ros.kinematics import ArmKinematics


def chain(count, limit='lower="-2" upper="2" velocity="3" effort="5"'):
    text = ['<robot name="a"><link name="l0"/>']
    text += [
        f'<link name="l{i}"/><joint name="j{i}" type="revolute"><parent link="l{i - 1}"/>'
        f'<child link="l{i}"/><origin xyz="0 0 .3"/><axis xyz="0 1 0"/><limit {limit}/></joint>'
        for i in range(1, count + 1)
    ]
    return ''.join(text) + '</robot>'


def read(urdf):
    return ArmKinematics(urdf, ['j1', 'j2'], 'l2', 'l0')


def test_a_description_of_many_megabytes_is_refused_before_it_is_parsed():
    text = chain(2) + ' ' * MAX_URDF_CHARACTERS
    with pytest.raises(KinematicsError, match='characters with 2 joints: expected at most'):
        read(text)


def test_a_chain_that_would_end_the_process_is_refused():
    """In a process of its own: the parser's recursion ends it with a segmentation fault."""
    assert read(chain(MAX_URDF_JOINTS))
    code = (
        'import test_kinematics_input as t\n'
        'try:\n    t.read(t.chain(20_000))\n'
        'except t.KinematicsError as error:\n    print(error)\n'
    )
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False,
        env={'PYTHONPATH': f'{here.parent}:{here}', 'PATH': ''},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f'with 20000 joints: expected at most 10000000 characters and {MAX_URDF_JOINTS}' in (
        done.stdout
    )


@pytest.mark.parametrize(
    'urdf',
    [
        '', 'hello', '\x00<robot/>', '<robot/>', '<a>' * 100_000, chain(2) + '\udc80',
        chain(2, 'lower="nan" upper="2" velocity="3" effort="5"'),
        chain(2, 'lower="-2" upper="2" velocity="-3" effort="5"'),
        chain(2, 'lower="-2,0" upper="2" velocity="3" effort="5"'),
        chain(2).replace('"j2"', '"j1"'), chain(2).replace('"l2"', '"l1"'),
        chain(2).replace('0 1 0', 'nan nan nan'), chain(2).replace('revolute', 'wheel'),
    ],
)  # fmt: skip
def test_what_is_no_description_gives_the_packages_error(urdf):
    with pytest.raises(KinematicsError):
        read(urdf)
