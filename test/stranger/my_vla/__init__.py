"""A family of somebody else's."""
