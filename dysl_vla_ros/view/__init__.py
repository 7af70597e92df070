"""The page of ``dysl view``: a small local web server, and what it shows; knows nothing of ROS."""
