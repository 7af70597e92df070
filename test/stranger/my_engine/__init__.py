"""A back end of somebody else's."""
