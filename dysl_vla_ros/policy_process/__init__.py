"""The model in a process of its own: what breaks there never delays a command."""
