"""Slows guessing down: a budget of failures for each source, each account, and everybody together."""

import ipaddress
from collections import OrderedDict

_KEPT = 10_000


class Throttled(Exception):
    """Too many failures lately; `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"Too many failed attempts. Try again in {max(1, round(retry_after))} seconds.")
        self.retry_after = retry_after


class Budget:
    """Generic cell rate algorithm (ITU-T I.371): `burst` failures at once, then one every `period` seconds, by key."""

    def __init__(self, burst: int, period: float) -> None:
        self._slack = burst * period
        self._period = period
        self._paid_until: OrderedDict[str, float] = OrderedDict()

    def wait(self, now: float, key: str) -> float:
        """Seconds until the next try is allowed; 0 when it is now."""
        return max(0.0, self._paid_until.get(key, now) + self._period - self._slack - now)

    def spend(self, now: float, key: str) -> None:
        self._paid_until[key] = max(now, self._paid_until.get(key, now)) + self._period
        self._paid_until.move_to_end(key)
        while len(self._paid_until) > _KEPT:
            self._paid_until.popitem(last=False)

    def clear(self, key: str) -> None:
        self._paid_until.pop(key, None)


class Throttle:
    """Failures of signing in and setting up.

    A source that has signed in to an account before is not held up by others who guess at that account, so that nobody
    can lock an administrator out.
    """

    def __init__(self) -> None:
        self._sources = Budget(burst=10, period=6.0)
        self._accounts = Budget(burst=10, period=10.0)
        self._all = Budget(burst=100, period=1.0)
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def check(self, now: float, source: str, account: str | None = None) -> None:
        """Raises Throttled."""
        network = network_of(source)
        waits = [self._sources.wait(now, network)]
        if (network, account) not in self._known:
            waits.append(self._all.wait(now, ""))
            if account is not None:
                waits.append(self._accounts.wait(now, account))
        if (longest := max(waits)) > 0:
            raise Throttled(longest)

    def failed(self, now: float, source: str, account: str | None = None) -> None:
        self._sources.spend(now, network_of(source))
        self._all.spend(now, "")
        if account is not None:
            self._accounts.spend(now, account)

    def succeeded(self, source: str, account: str) -> None:
        network = network_of(source)
        self._sources.clear(network)
        self._known[network, account] = None
        self._known.move_to_end((network, account))
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


def network_of(source: str) -> str:
    """An IPv6 host has a whole /64 to call from."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return source
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))
