"""The one choice between the two twins."""

from __future__ import annotations

from typing import cast

from dysl_vla_ros.config import EngineConfig
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.policy_process.client import ProcessPolicy
from dysl_vla_ros.remote_policy import open_anywhere


def open_policy(config: EngineConfig) -> Policy | ProcessPolicy:
    """Open and warm up the policy, in a process of its own unless ``engine.in_process`` is on.

    Raises:
        BundleError: No bundle there, or one that is altered.
        EngineError: The back end is not available, cannot run the bundle, or died.
        ConfigError: A parameter does not fit.
    """
    if config.in_process:
        return cast(Policy, open_anywhere(config)[0])
    return ProcessPolicy(config)
