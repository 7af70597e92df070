"""A robot description is bounded before it is parsed; only the package's error comes out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('pinocchio', reason="needs the extra 'kinematics'")

from dysl_vla_ros.collision import ArmCollision
from dysl_vla_ros.description import MAX_URDF_CHARACTERS, MAX_URDF_JOINTS
from dysl_vla_ros.errors import DyslError, KinematicsError
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


JUNK = (
    '', '0', 'nan', '-1', '1e308', '1e400', 'x', '0 0', '0 0 0 0', 'é', '"', '<', '&#0;',
    'j1', 'l1', 'fixed', 'prismatic', 'continuous', 'floating', '\x00',
)  # fmt: skip


def spoilt(text, rng):
    """A description with a value, a piece or an element of it gone wrong."""
    what = rng.integers(3)
    if what == 0:
        values = list(re.finditer(r'"([^"]*)"', text))
        one = values[rng.integers(len(values))]
        return text[: one.start(1)] + JUNK[rng.integers(len(JUNK))] + text[one.end(1) :]
    if what == 1:
        at = int(rng.integers(len(text)))
        return text[:at] + text[at + int(rng.integers(1, 60)) :]
    tags = list(re.finditer(r'<[^>]*>', text))
    tag = tags[rng.integers(len(tags))]
    return text[: tag.start()] + tag[0] * 2 * int(rng.integers(2)) + text[tag.end() :]


def test_whatever_goes_wrong_with_a_description_only_the_package_s_error_comes_out():
    solid = '<collision><geometry><sphere radius="0.05"/></geometry></collision></link>'
    whole = re.sub(r'(<link name="l[12]")/>', lambda m: f'{m[1]}>{solid}', chain(3))
    whole = whole.replace('</joint></robot>', '<mimic joint="j2" multiplier="2"/></joint></robot>')
    rng = np.random.default_rng(0)
    outcomes = Counter()
    for _ in range(500):
        text = spoilt(whole, rng)
        try:
            kinematics = read(text)
            kinematics.forward(np.zeros(2))
            ArmCollision(text, ['j1', 'j2'], 'l0').check(np.zeros((2, 2)))
            outcomes['read'] += 1
        except DyslError:
            outcomes['refused'] += 1
    assert read(whole) and min(outcomes['read'], outcomes['refused']) > 50, outcomes
