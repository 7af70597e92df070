"""The console program ``dysl``: one file per subcommand."""
