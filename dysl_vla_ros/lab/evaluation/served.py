"""A policy served to its own evaluation, over real sockets of this process."""

from __future__ import annotations

from typing import Any

from dysl_vla_ros.config import NodeConfig
from dysl_vla_ros.engines.remote.contract import contract_of
from dysl_vla_ros.errors import EngineError
from dysl_vla_ros.loop_settings import skip_settings
from dysl_vla_ros.policy import Policy
from dysl_vla_ros.remote_policy import RemotePolicy

_CONNECT_S = 30.0


def own_link(policy: Policy, config: NodeConfig) -> Any:
    """A connection to a server of the policy, which lives as long as this process.

    Raises:
        EngineError: The libraries of policy servers are missing.
    """
    try:
        from dysl_vla_ros.engines.remote.link import Address, Link
        from dysl_vla_ros.serving.episode import ServeSettings
        from dysl_vla_ros.serving.server import Place, PolicyServer
    except ImportError as error:
        raise EngineError(f"{error}: pip install 'dysl_vla_ros[remote]'") from None
    manifest = policy.manifest
    # How long a silence is has no meaning here: time is the simulation's.
    settings = ServeSettings(
        skip_settings(config, manifest.calibration), 'auto', silence_s=float('inf')
    )
    server = PolicyServer(policy, contract_of(manifest), settings, Place(port=0))
    server.start()
    link = Link(Address(server.url))
    link.wait(_CONNECT_S)
    return link


def remote_policy(policy: Policy, link: Any, deadline_s: float) -> RemotePolicy:
    """The policy as a robot sees it that asks a server for it."""
    return RemotePolicy(link, contract_of(policy.manifest), policy.manifest, policy, deadline_s)
