"""Recordings of ROS 2 topics, MCAP and sqlite3, whole or broken, without ROS."""
