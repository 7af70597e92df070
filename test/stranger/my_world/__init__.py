"""A world of somebody else's."""
