"""Closed-loop success and latency: the same control loop and engine as on the robot."""
