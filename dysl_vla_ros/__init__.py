"""DySL-VLA on ROS 2: dynamic-static layer skipping for vision-language-action models."""
