"""The robot description -> limits, kinematics and the control loop of this arm."""

from __future__ import annotations

import numpy as np

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.contract import with_bundle
from dysl_vla_ros.control_loop import ControlLoop
from dysl_vla_ros.core.safety import MotionLimits
from dysl_vla_ros.engines.bundle import Manifest
from dysl_vla_ros.errors import ConfigError
from dysl_vla_ros.kinematics import ArmKinematics
from dysl_vla_ros.motion import MotionPlanner
from dysl_vla_ros.policy import Policy


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
        acceleration=safety.acceleration,
        max_lead=safety.max_lead,
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
    workspace = None
    if safety.workspace_min:
        workspace = (np.array(safety.workspace_min), np.array(safety.workspace_max))
    planner = MotionPlanner(action, limits, kinematics, config.action, workspace)
    return ControlLoop(policy, config, limits, planner), kinematics
