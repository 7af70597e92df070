"""Where the model runs: one protocol, and one file per back end."""
