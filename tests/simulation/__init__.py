"""Real engines joined by a seeded bad network under virtual time."""
