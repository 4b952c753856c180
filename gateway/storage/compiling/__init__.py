"""From documents to policy: what an administrator wrote, checked and made into the values that the engine takes."""
