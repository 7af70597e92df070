"""When to skip: the numbers of the guidance, from recordings."""
