"""The demonstration without ``ros2 launch``: start the nodes, watch them, sum up."""
