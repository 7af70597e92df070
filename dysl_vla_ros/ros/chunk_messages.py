"""A delivered chunk as messages: for recorders, plots and people."""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dysl_vla_ros.bundle.manifest import ActionSpec
from dysl_vla_ros.config import ArmsConfig
from dysl_vla_ros.data_types import ActionChunk, FloatArray
from dysl_vla_ros.loop_status import Delivery
from dysl_vla_ros.policy import Pass
from dysl_vla_ros.ros.command_messages import duration, ros_time

_POSE = ('x', 'y', 'z', 'rx', 'ry', 'rz')


def dimension_names(
    action: ActionSpec, joint_names: tuple[str, ...], arms: ArmsConfig | None = None
) -> list[str]:
    """A name per action dimension: joints, or ``x .. rz`` (``dx .. drz`` for deltas)."""
    if arms is not None and arms.names:
        found: list[str] = []
        for arm in arms.each:
            found += [*arm.joint_names, *([f'{arm.name}_gripper'] if action.gripper else [])]
        return found
    size = action.dim - int(action.gripper)
    if action.space.startswith('joint'):
        names = list(joint_names[:size])
    else:
        prefix = 'd' if action.space == 'eef_delta' else ''
        names = [prefix + name for name in _POSE]
    return [*names, 'gripper'] if action.gripper else names


def action_chunk(
    chunk: ActionChunk, action: ActionSpec, names: list[str], period: float, stamp_s: float
) -> Any:
    """Every action of a chunk, in the units and space of the action contract.

    Args:
        chunk: What was predicted.
        action: Its contract.
        names: Of the dimensions.
        period: How long an action lasts [s].
        stamp_s: Time of its observation, in ROS time [s].
    """
    message = JointTrajectory()
    message.header.stamp = ros_time(stamp_s)
    message.header.frame_id = action.frame_id if action.space.startswith('eef') else ''
    message.joint_names = names
    message.points = [
        JointTrajectoryPoint(positions=row, time_from_start=duration((index + 1) * period))
        for index, row in enumerate(chunk.actions.tolist())
    ]
    return message


def _rows(displacements: FloatArray) -> str:
    """Actions as per-step displacements in the model's normalised space, rows apart by ``;``.

    Continuity is computed from them, so that a bag of `~/chunk_info` alone can be calibrated on.
    """
    return '; '.join(' '.join(f'{value:.5f}' for value in row) for row in displacements.tolist())


def chunk_info(delivery: Delivery, compared: Pass | None, name: str, hardware_id: str) -> Any:
    """Which layers ran, why the chunk was taken or not, and what it cost.

    Args:
        delivery: What became of the pass.
        compared: In ``compare`` mode, the skipped pass on the same observation.
        name: Of the status.
        hardware_id: The device.
    """
    chunk = delivery.chunk
    level = DiagnosticStatus.OK if delivery.accepted or delivery.rerun else DiagnosticStatus.WARN
    outcome = 'accepted' if delivery.accepted else 're-run' if delivery.rerun else 'refused'
    values: dict[str, str] = {'outcome': outcome, 'reason': delivery.reason}
    if chunk is not None:
        trace = chunk.trace
        values |= {
            'chunk_id': str(chunk.chunk_id),
            'epoch': str(chunk.epoch),
            'instruction': chunk.instruction,
            'mode': chunk.mode,
            'skip_ratio': f'{trace.skip_ratio:.4f}',
            'layer_mask': trace.layer_mask,
            'layers_run': str(len(trace.layers_run)),
            'layers_total': str(trace.layers_total),
            'jumps': ' '.join(f'{jump.layer}>{jump.target}' for jump in trace.jumps),
            'scores': ' '.join(f'{layer}:{score:.3f}' for layer, score in trace.scores.items()),
            'continuity': ' '.join(
                'n/a' if value is None else f'{value:.4f}' for value in delivery.continuity
            ),
            'drop_index': 'n/a' if delivery.drop_index is None else str(delivery.drop_index),
            'seam_jump': f'{delivery.seam_jump:.5f}',
            'actions_dropped': f'{delivery.played:.2f}',
            'actions_played': str(delivery.actions_played),
            'displacements': _rows(chunk.displacements),
        }
        if compared is not None:
            values['compared_layer_mask'] = compared.trace.layer_mask
            values['compared_skip_ratio'] = f'{compared.trace.skip_ratio:.4f}'
        values |= {f'{stage}_ms': f'{1e3 * t:.2f}' for stage, t in chunk.stage_seconds.items()}
    return DiagnosticStatus(
        level=level,
        name=name,
        message=delivery.reason or outcome,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
