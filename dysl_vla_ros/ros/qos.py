"""One quality-of-service profile per kind of topic; every topic of the node names one of these."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(
    reliability: ReliabilityPolicy, durability: DurabilityPolicy, depth: int = 1
) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=durability,
    )


SENSOR = _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
"""Images: only the newest counts; matches publishers of either reliability."""

JOINTS = _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, depth=20)
"""`joint_states`: a gripper's or another arm's message must not overwrite this arm's."""

SENSOR_RELIABLE = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
"""Images from publishers that are reliable themselves: see ``camera_topic``."""

REQUEST = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE)
"""`instruction`, `estop`, `enable`: a plain ``ros2 topic pub`` reaches it.

A transient local subscription would silently refuse such a publisher.
"""

STOP = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, depth=50)
"""`estop`: no true may be overwritten by the false that follows it."""

STOP_BEST_EFFORT = _profile(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, depth=50)
"""The same from publishers that are not reliable."""

SOURCE = REQUEST
"""What the simulated arm measures: sources are reliable, whoever reads may be less (REP-2003)."""

COMMAND = REQUEST
"""To the arm: controllers subscribe reliably; an old command is worth nothing."""

LATCHED = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)
"""`robot_description`, `~/state`, `~/policy_metadata`: late joiners get the newest."""

REPORT = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, depth=10)
"""Chunks, continuity, diagnostics: a recorder should miss none."""

RECORD = _profile(ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE, depth=20)
"""`~/pass`, `~/seen/<camera>`: a recording without a gap; only made while somebody listens."""
