"""Numbers as numbers, for plots: viewers like Foxglove and PlotJuggler draw them as they come."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Float64, Float64MultiArray, MultiArrayDimension, MultiArrayLayout

from dysl_vla_ros.data_types import ActionChunk
from dysl_vla_ros.ros import qos
from dysl_vla_ros.ros.chunk_stats import STAGES


class Plots:
    """`~/inference_ms` `~/stage_ms` `~/layers_run` per pass, `~/command_rate_hz` per second."""

    def __init__(self, node: Node) -> None:
        """Create the publishers."""
        self._node = node
        make = node.create_publisher
        self._inference = make(Float64, '~/inference_ms', qos.REPORT)
        self._stages = make(Float64MultiArray, '~/stage_ms', qos.REPORT)
        self._layers = make(Float64, '~/layers_run', qos.REPORT)
        self._rate = make(Float64, '~/command_rate_hz', qos.REPORT)
        # The names stand in the message, so that a plot of a bag explains itself.
        label = ' '.join(STAGES)
        size = len(STAGES)
        self._layout = MultiArrayLayout(
            dim=[MultiArrayDimension(label=label, size=size, stride=size)]
        )

    def destroy(self) -> None:
        """Drop the publishers."""
        for publisher in (self._inference, self._stages, self._layers, self._rate):
            self._node.destroy_publisher(publisher)

    def chunk(self, chunk: ActionChunk) -> None:
        """One pass: what it took, stage by stage, and how deep it went."""
        self._layers.publish(Float64(data=float(len(chunk.trace.layers_run))))
        known = [chunk.stage_seconds.get(stage) for stage in STAGES]
        times = [1e3 * seconds for seconds in known if seconds is not None]
        if len(times) == len(STAGES):  # a stage that was not measured is not 0
            self._inference.publish(Float64(data=sum(times)))
            self._stages.publish(Float64MultiArray(layout=self._layout, data=times))

    def rate(self, hertz: float | None) -> None:
        """Commands per second over the last second; None publishes nothing."""
        if hertz is not None:
            self._rate.publish(Float64(data=hertz))
