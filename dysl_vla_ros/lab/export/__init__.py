"""Offline: from a checkpoint to the bundle that the robot loads."""
