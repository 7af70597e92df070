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
from dysl_vla_ros.data_types import FloatArray
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import Policy

_LOG = logging.getLogger(__name__)


def joint_names(manifest: Manifest, config: NodeConfig) -> tuple[str, ...]:
    """Joints of the arm, in the policy's order.

    Raises:
        ConfigError: Neither the bundle nor a parameter names them.
    """
    names = config.action.joint_names or manifest.action.joint_names
    if not names:
        raise ConfigError('action.joint_names', names, 'the joints of the arm, in order')
    if len(set(names)) != len(names):
        raise ConfigError('action.joint_names', names, 'every name once')
    return names


def tightened(kinematics: ArmKinematics, config: NodeConfig) -> MotionLimits:
    """The limits of the robot description; parameters can only narrow them."""
    limits, safety = kinematics.limits, config.safety
    return MotionLimits(
        names=limits.names,
        lower=limits.lower + safety.position_margin,
        upper=limits.upper - safety.position_margin,
        velocity=limits.velocity * safety.velocity_scale,
        acceleration=accelerations(config, limits.names),
        max_lead=safety.max_lead,
        rated=limits.velocity,
    )


def accelerations(config: NodeConfig, names: tuple[str, ...]) -> FloatArray:
    """Acceleration limit of each joint, shape (n,) [rad/s^2].

    Raises:
        ConfigError: ``limits.accelerations`` has another number of joints.
    """
    given = config.safety.accelerations
    if not given:
        return np.full(len(names), config.safety.acceleration)
    if len(given) != len(names) or min(given) <= 0:
        raise ConfigError(
            'limits.accelerations', given, f'{len(names)} numbers above 0, one per joint'
        )
    return np.array(given, dtype=np.float64)


def check_rest(limits: MotionLimits, config: NodeConfig) -> None:
    """Refuse parameters under which a window cannot come to rest in time.

    Raises:
        ConfigError: Braking from full speed alone takes longer than ``stop.rest_s``.
    """
    needed = limits.velocity / limits.acceleration
    worst = int(np.argmax(needed))
    if needed[worst] > config.safety.rest_s:
        raise ConfigError(
            'stop.rest_s',
            config.safety.rest_s,
            f'at least {needed[worst]:.2f}, what {limits.names[worst]} takes to brake from '
            f'{limits.velocity[worst]:g} rad/s at limits.acceleration = '
            f'{limits.acceleration[worst]:g}; or a lower limits.velocity_scale',
        )


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
    kinematics = ArmKinematics(
        urdf,
        joint_names(policy.manifest, config),
        config.action.tip_link,
        config.action.frame_id,
    )
    limits = tightened(kinematics, config)
    check_rest(limits, config)
    workspace = None
    if safety.workspace_min:
        workspace = (np.array(safety.workspace_min), np.array(safety.workspace_max))
    collision = ArmCollision(
        urdf, limits.names, config.action.frame_id or action.frame_id,
        safety.planes, safety.self_collision,
    )  # fmt: skip
    if collision.warning:
        _LOG.warning(collision.warning)
    planner = MotionPlanner(action, limits, kinematics, config.action, workspace, collision)
    return ControlLoop(policy, config, limits, planner), kinematics
