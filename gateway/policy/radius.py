"""A RADIUS server as the administrator names it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RadiusServer:
    """Where one listens (an address, no name), and the secret that it shares with us.

    A request is sent `tries` times, `timeout` seconds apart, before the next server is asked.
    """

    name: str
    address: str
    secret: bytes = field(repr=False)
    port: int = 1812
    accounting_port: int = 1813
    timeout: float = 2.0
    tries: int = 3
    accounting: bool = True
    """Whether it is told who is in."""
    interim: float = 0.0
    """Seconds from one report of a session to the next where its Access-Accept names none; 0 for none."""
    dynamic: bool = False
    """Whether it may end and change sessions (RFC 5176)."""
    unsigned_rejects: bool = False
    """Whether a refusal of its is believed without a Message-Authenticator."""
