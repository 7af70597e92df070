"""Everything the node publishes about itself: state, metadata, chunks, diagnostics."""

from __future__ import annotations

import json
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from std_msgs.msg import Float64, String
from trajectory_msgs.msg import JointTrajectory

from dysl_vla_ros.bundle.manifest import Manifest, manifest_to_dict
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.policy import Pass
from dysl_vla_ros.ros import chunk_messages, diagnostics, qos
from dysl_vla_ros.ros.layer_view import LayerView
from dysl_vla_ros.ros.plots import Plots
from dysl_vla_ros.ros.session import Session

INTERFACE_VERSION = 2
"""Of topics, services, states and parameters as ``doc/interface.md`` has them: goes up when a
listener or a parameter file of before would be misled."""

_LEVELS = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)


class Reports:
    """The publishers; ``state`` is called by the command thread, ``chunk`` by the worker."""

    def __init__(self, node: Node) -> None:
        """Create the publishers."""
        self._node = node
        self._state = node.create_publisher(String, '~/state', qos.LATCHED)
        self._metadata = node.create_publisher(String, '~/policy_metadata', qos.LATCHED)
        self._chunk = node.create_publisher(JointTrajectory, '~/action_chunk', qos.REPORT)
        self._info = node.create_publisher(DiagnosticStatus, '~/chunk_info', qos.REPORT)
        self._continuity = node.create_publisher(Float64, '~/continuity', qos.REPORT)
        self._skip_ratio = node.create_publisher(Float64, '~/skip_ratio', qos.REPORT)
        self._skip_ratio_pass = node.create_publisher(Float64, '~/skip_ratio_pass', qos.REPORT)
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', qos.REPORT)
        self._plots, self._layers = Plots(node), LayerView(node)
        self._levels: tuple[int, ...] = ()

    def destroy(self) -> None:
        """Drop the publishers."""
        for publisher in (
            self._state, self._metadata, self._chunk, self._info,
            self._continuity, self._skip_ratio, self._skip_ratio_pass, self._diagnostics,
        ):  # fmt: skip
            self._node.destroy_publisher(publisher)
        self._plots.destroy()
        self._layers.destroy()

    def state(self, state: str) -> None:
        """Publish `~/state`."""
        self._state.publish(String(data=state))

    def metadata(self, manifest: Manifest, device: str, joint_names: tuple[str, ...]) -> None:
        """Publish `~/policy_metadata`: what the numbers on the other topics mean."""
        self._metadata.publish(String(data=json.dumps(metadata(manifest, device, joint_names))))

    def chunk(
        self,
        delivery: Delivery,
        result: Pass,
        names: list[str],
        period: float,
        session: Session,
        now: float,
    ) -> Any:
        """Publish everything about one pass; returns the `~/chunk_info` message."""
        name = f'{self._node.get_fully_qualified_name()}: chunk'
        info = chunk_messages.chunk_info(
            delivery, result.compared, name, session.policy.engine.device
        )
        self._info.publish(info)
        chunk = delivery.chunk
        if chunk is None:
            return info
        self._plots.chunk(chunk)
        self._layers.show(chunk.trace.layer_mask, chunk.mode)
        known = [value for value in delivery.continuity if value is not None]
        if known:
            self._continuity.publish(Float64(data=known[-1]))
        self._skip_ratio_pass.publish(Float64(data=chunk.trace.skip_ratio))
        windowed = session.stats.skip_ratio()
        if windowed is not None:
            self._skip_ratio.publish(Float64(data=windowed))
        if self._chunk.get_subscription_count():
            age = now - chunk.stamp
            stamp = self._node.get_clock().now().nanoseconds * 1e-9 - age
            action = session.policy.manifest.action
            self._chunk.publish(chunk_messages.action_chunk(chunk, action, names, period, stamp))
        return info

    def diagnostics(self, session: Session, active: bool, only_changes: bool = False) -> None:
        """Publish the four statuses.

        Args:
            session: What is configured.
            active: Whether commands are being sent.
            only_changes: Publish only when a level differs from what was published last.
        """
        statuses = diagnostics.collect(session, active, time.monotonic())
        if not only_changes:
            self._plots.rate(session.meter.report(time.monotonic()).rate_hz)
        levels = tuple(status.level for status in statuses)
        if only_changes and levels == self._levels:
            return
        self._levels = levels
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [
            DiagnosticStatus(
                level=_LEVELS[status.level],
                name=f'{self._node.get_fully_qualified_name()}: {status.name}',
                message=status.message,
                hardware_id=session.robot_name,
                values=[KeyValue(key=key, value=value) for key, value in status.values.items()],
            )
            for status in statuses
        ]
        self._diagnostics.publish(message)


def metadata(manifest: Manifest, device: str, joint_names: tuple[str, ...]) -> dict[str, Any]:
    """The document of `~/policy_metadata`: a bag that holds it explains itself."""
    document = manifest_to_dict(manifest)
    kept = (
        'name', 'family', 'version', 'precision', 'layers_total', 'static_layers', 'cameras',
        'proprioception', 'instruction', 'action', 'calibration', 'card',
    )  # fmt: skip
    return {
        'interface_version': INTERFACE_VERSION,
        **{key: document[key] for key in kept},
        'files': {name: entry['sha256'] for name, entry in document['files'].items()},
        'joint_names': list(joint_names),
        'device': device,
    }
