"""Decisions of the method and of the motion, in pure numpy; one per file."""
