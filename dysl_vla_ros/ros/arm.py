"""The robot description -> limits, kinematics and the control loop of this arm."""

from __future__ import annotations

import logging

import numpy as np

from dysl_vla_ros.bundle.manifest import Manifest
from dysl_vla_ros.collision import ArmCollision
from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.data_types import FloatArray, JointLimits
from dysl_vla_ros.description import read_description
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.joint_limits import GivenLimits, check_accelerations, check_home_length, doubts
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import Policy

_LOG = logging.getLogger(__name__)


def joint_names(manifest: Manifest, config: NodeConfig) -> tuple[str, ...]:
    """Joints of the arm, in the policy's order.

    Raises:
        ConfigError: Neither the bundle nor a parameter names them.
    """
    names = config.arms.joint_names or config.action.joint_names or manifest.action.joint_names
    if not names:
        raise ConfigError('action.joint_names', names, 'the joints of the arm, in order')
    if len(set(names)) != len(names):
        raise ConfigError('action.joint_names', names, 'every name once')
    return names


def tightened(kinematics: ArmKinematics, config: NodeConfig) -> MotionLimits:
    """The limits of the robot description; parameters can only narrow them."""
    limits, safety = kinematics.limits, config.safety
    slides = np.array([unit == 'm' for unit in limits.units])
    margin = np.where(slides, safety.position_margin_m, safety.position_margin)
    _check_margin(limits, margin)
    return MotionLimits(
        names=limits.names,
        lower=limits.lower + margin,
        upper=limits.upper - margin,
        velocity=limits.velocity * safety.velocity_scale,
        acceleration=accelerations(config, limits),
        max_lead=np.where(slides, safety.max_lead_m, safety.max_lead),
        rated=limits.velocity,
        units=limits.units,
    )


def _check_margin(limits: JointLimits, margin: FloatArray) -> None:
    left = limits.upper - limits.lower - 2 * margin
    for name, unit, given, travel in zip(limits.names, limits.units, margin, left, strict=True):
        if travel <= 0:
            raise ConfigError(
                'limits.position_margin_m' if unit == 'm' else 'limits.position_margin',
                float(given), f'less than {given + travel / 2:g} {unit}, half of the travel of '
                f'{name}',
            )  # fmt: skip


def accelerations(config: NodeConfig, limits: JointLimits) -> FloatArray:
    """Acceleration limit of each joint, shape (n,) [rad/s^2 or m/s^2].

    Raises:
        ConfigError: ``limits.accelerations`` has another number of joints.
    """
    given, safety = config.safety.accelerations, config.safety
    if not given:
        return np.array([
            safety.acceleration_m if unit == 'm' else safety.acceleration for unit in limits.units
        ])  # fmt: skip
    check_accelerations(given, len(limits.names))
    return np.array(given, dtype=np.float64)


def check_rest(limits: MotionLimits, config: NodeConfig) -> None:
    """Refuse parameters under which a window cannot come to rest in time.

    Raises:
        ConfigError: Braking from full speed alone takes longer than ``stop.rest_s``.
    """
    needed = limits.velocity / limits.acceleration
    worst = int(np.argmax(needed))
    unit = limits.units[worst]
    if needed[worst] > config.safety.rest_s:
        raise ConfigError(
            'stop.rest_s',
            config.safety.rest_s,
            f'at least {needed[worst]:.2f}, what {limits.names[worst]} takes to brake from '
            f'{limits.velocity[worst]:g} {unit}/s at limits.acceleration{"_m" * (unit == "m")} = '
            f'{limits.acceleration[worst]:g}; or a lower limits.velocity_scale',
        )


def check_home(limits: MotionLimits, config: NodeConfig) -> None:
    """Refuse a home where the arm cannot be.

    Raises:
        ConfigError: ``home.positions`` has another number of joints, or lies outside a limit.
    """
    home = config.home.positions
    check_home_length(home, limits.size)
    for index, value in enumerate(home):
        low, high = limits.lower[index], limits.upper[index]
        if not low <= value <= high:
            raise ConfigError(
                f'home.positions of {limits.names[index]}', value, f'within its limits and their '
                f'margin, {low:.3f} to {high:.3f} {limits.units[index]}',
            )  # fmt: skip


def build_loop(policy: Policy, config: NodeConfig, urdf: str) -> tuple[ControlLoop, ArmKinematics]:
    """Join policy and arm.

    Args:
        policy: Opened and warmed up.
        config: Validated parameters.
        urdf: Text of the robot description.

    Raises:
        KinematicsError: The description lacks a joint or frame.
        ConfigError: The bundle's action contract does not fit the arm, or a parameter
            contradicts it.
    """
    config = with_bundle(config, policy.manifest)
    action, safety = policy.manifest.action, config.safety
    given = GivenLimits(safety.lower, safety.upper, safety.velocity)
    tip, base = config.action.tip_link, config.action.frame_id or action.frame_id
    if config.arms.names:  # joints alone: no link is the tip of two arms
        root = read_description(urdf).root
        tip, base = root, config.action.frame_id or root
    kinematics = ArmKinematics(urdf, joint_names(policy.manifest, config), tip, base, given)
    limits = tightened(kinematics, config)
    check_rest(limits, config)
    check_home(limits, config)
    workspace = None
    if safety.workspace_min:
        workspace = (np.array(safety.workspace_min), np.array(safety.workspace_max))
    collision = ArmCollision(
        urdf, limits.names, base, safety.planes, safety.self_collision, given,
    )  # fmt: skip
    idle = ''
    if kinematics.unmoved and not config.arms.names:
        idle = (
            f'tip_link = {tip!r} hangs on {", ".join(kinematics.unmoved)} too, none of '
            'action.joint_names: taken to stand at 0'
        )
    for doubt in filter(None, (doubts(kinematics.limits), idle, collision.warning)):
        _LOG.warning(doubt)
    planner = MotionPlanner(
        action, limits, kinematics, config.action, workspace, collision, config.arms.sizes
    )
    return ControlLoop(policy, config, limits, planner), kinematics
