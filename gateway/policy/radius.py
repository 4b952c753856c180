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
