"""Rotation vectors and matrices: one pair of functions for policy, arm and simulation."""

from __future__ import annotations

import math

import numpy as np
from transforms3d import axangles, euler, quaternions  # type: ignore[import-untyped]

from dysl_vla_ros.data_types import FloatArray

_TINY_ANGLE = 1e-12


def rotation_matrix(vector: FloatArray) -> FloatArray:
    """Matrix (3, 3) of a rotation vector (3,) [rad]."""
    angle = float(np.linalg.norm(vector))
    if angle < _TINY_ANGLE:
        return np.eye(3)
    return np.asarray(axangles.axangle2mat(np.asarray(vector) / angle, angle, is_normalized=True))


def rotation_vector(rotation: FloatArray) -> FloatArray:
    """Rotation vector (3,) [rad] of a matrix (3, 3), at most pi long.

    By way of the quaternion: precise to rounding for small and for half turns, where the
    matrix's own angle is not.
    """
    quaternion = np.asarray(quaternions.mat2quat(rotation))
    axis = quaternion[1:]
    length = float(np.linalg.norm(axis))
    if length < _TINY_ANGLE:
        return 2.0 * axis
    return np.asarray(axis * (2.0 * math.atan2(length, float(quaternion[0])) / length))


def rotation_of_angles(angles: FloatArray) -> FloatArray:
    """Matrix (3, 3) of angles (3,) [rad] about the fixed x, y and z axes, in this order."""
    return np.asarray(euler.euler2mat(*(float(angle) for angle in angles), 'sxyz'))


def roll_pitch_yaw(rotation: FloatArray) -> FloatArray:
    """Angles (3,) [rad] about the fixed x, y and z axes, in this order, of a matrix (3, 3)."""
    return np.asarray(euler.mat2euler(rotation, 'sxyz'))
