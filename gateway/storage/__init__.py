"""The configuration at rest: models, repositories and sealed secrets."""
