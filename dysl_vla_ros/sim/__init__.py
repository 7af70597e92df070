"""The demonstration robot: physics, camera, tasks and a scripted expert; knows nothing of ROS."""
