"""Those who ask for addresses."""

from gateway.policy.identities import Identity


def who(name: str) -> Identity:
    return Identity.parse(name)
