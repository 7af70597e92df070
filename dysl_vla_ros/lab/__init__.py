"""Offline: data, training, guidance, export, evaluation; the robot imports none of it."""
