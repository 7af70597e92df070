"""The limits of the arm's joints: the robot description's, narrowed or settled by parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dysl_vla_ros.data_types import JointLimits
from dysl_vla_ros.description import Description, Joint
from dysl_vla_ros.errors import ConfigError, KinematicsError

_MANY_TURNS = 8 * math.pi
_VERY_FAST = 10 * math.pi


@dataclass(frozen=True)
class GivenLimits:
    """What parameters say; they never widen what the description says.

    Attributes:
        lower: ``limits.lower``, one number per joint [rad or m], or none.
        upper: ``limits.upper``; the same number in both leaves that joint to the description.
        velocity: ``limits.velocity``, one number, or one per joint [rad/s or m/s], or none.
    """

    lower: Sequence[float] = ()
    upper: Sequence[float] = ()
    velocity: Sequence[float] = ()

    def check(self, count: int) -> None:
        """Refuse lists that are not those of an arm of so many joints.

        Args:
            count: Joints of the arm.

        Raises:
            ConfigError: Names the parameter, its value and how many numbers it takes.
        """
        for key in ('lower', 'upper'):
            values = getattr(self, key)
            if len(values) not in (0, count):
                raise ConfigError(
                    f'limits.{key}', values, f'{count} numbers, one per joint, or none'
                )
        if len(self.lower) != len(self.upper):
            raise ConfigError('limits.lower', self.lower, 'limits.upper beside it, or neither')
        if len(self.velocity) not in (0, 1, count) or any(value <= 0 for value in self.velocity):
            raise ConfigError(
                'limits.velocity', self.velocity,
                f'one number above 0 for every joint, or {count}, or none',
            )  # fmt: skip


def check_accelerations(given: Sequence[float], count: int) -> None:
    """Refuse ``limits.accelerations`` that are not those of an arm of so many joints.

    Raises:
        ConfigError: Another number of values, or one that is not above 0; none at all is right.
    """
    if given and (len(given) != count or min(given) <= 0):
        raise ConfigError('limits.accelerations', given, f'{count} numbers above 0, one per joint')


def check_home_length(given: Sequence[float], count: int) -> None:
    """Refuse ``home.positions`` that are not those of an arm of so many joints.

    Raises:
        ConfigError: Another number of values; none at all is right.
    """
    if given and len(given) != count:
        raise ConfigError('home.positions', given, f'{count} numbers, one per joint, or none')


def joint_limits(
    description: Description, names: tuple[str, ...], given: GivenLimits
) -> JointLimits:
    """The limits of the arm's joints.

    Args:
        description: The tree.
        names: The arm's joints.
        given: The parameters.

    Raises:
        ConfigError: A parameter has another number of values, or contradicts itself.
        KinematicsError: A limit is neither in the description nor given; names the joint, what
            was found, and the parameter that settles it.
    """
    count = len(names)
    given.check(count)
    joints = [description.joint(name) for name in names]
    fast = tuple(given.velocity) * (count if len(given.velocity) == 1 else 1)
    ranges = [
        _range(joint, given.lower[index], given.upper[index]) if given.lower
        else _range(joint, 0.0, 0.0)
        for index, joint in enumerate(joints)
    ]  # fmt: skip
    speeds = [_speed(joint, fast[index] if fast else None) for index, joint in enumerate(joints)]
    lower, upper = np.array(ranges).T
    units = tuple(joint.unit for joint in joints)
    return JointLimits(names, lower, upper, np.array(speeds), units)


def doubts(limits: JointLimits) -> str:
    """What looks like degrees in place of radians, for a log; '' when nothing does."""
    found = []
    for index, name in enumerate(limits.names):
        low, high, speed = (
            float(part[index]) for part in (limits.lower, limits.upper, limits.velocity)
        )
        if limits.units[index] != 'rad':
            continue
        if math.isfinite(low) and max(abs(low), abs(high)) > _MANY_TURNS:
            found.append(f'{name} = {low:g} to {high:g} rad (limits.lower, limits.upper)')
        if speed > _VERY_FAST:
            found.append(f'{name} = {speed:g} rad/s (limits.velocity)')
    if not found:
        return ''
    return f'limits of robot_description that may be degrees: {"; ".join(found)}'


def _range(joint: Joint, given_low: float, given_high: float) -> tuple[float, float]:
    low, high = -math.inf, math.inf
    if joint.kind != 'continuous':
        low = joint.number('limit', 'lower', 0.0) or 0.0
        high = joint.number('limit', 'upper', 0.0) or 0.0
    stated = low < high
    if given_low != given_high:
        low = max(low, given_low) if stated else given_low
        high = min(high, given_high) if stated else given_high
        if not low < high:
            raise ConfigError(
                f'limits.lower of {joint.name}', given_low, f'less than {high:g} {joint.unit}, '
                'the lower of limits.upper and the limit in robot_description',
            )  # fmt: skip
    elif not stated:
        found = f'limits {low:g} to {high:g} {joint.unit}' if joint.limit else 'no <limit>'
        raise KinematicsError(
            f'joint {joint.name} ({joint.kind}): {found} in robot_description: expected lower < '
            f'upper; limits.lower and limits.upper settle it, one number per joint [{joint.unit}]'
        )
    return low, high


def _speed(joint: Joint, given: float | None) -> float:
    stated = joint.number('limit', 'velocity')
    if stated is not None and stated > 0:
        return stated if given is None else min(stated, given)
    if given is None:
        found = 'no velocity limit' if stated is None else (
            f'velocity limit {stated:g} {joint.unit}/s')  # fmt: skip
        raise KinematicsError(
            f'joint {joint.name} ({joint.kind}): {found} in robot_description: expected more than '
            f'0; limits.velocity settles it, one number or one per joint [{joint.unit}/s]'
        )
    return given
