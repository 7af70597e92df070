"""A policy behind a socket: for other people's robots and harnesses."""
