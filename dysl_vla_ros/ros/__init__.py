"""The ROS 2 node: thin, and the only place that knows rclpy and messages."""
