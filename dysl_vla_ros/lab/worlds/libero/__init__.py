"""LIBERO as a world: its environments run in a process and an environment of their own."""
