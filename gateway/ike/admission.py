"""Who may make us work, and how much: all limits for those who have proven nothing yet (RFC 7296 2.6, RFC 8019 4).

Nothing here grows with the number of senders: buckets are bounded, and who is not seen for long begins anew. Work is
taken from the sender's budget when it is done, and given back when the sender turns out to be a peer: only those who
begin and do not prove themselves run dry.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

from gateway.crypto.suites import KeyExchangeMethod
from gateway.policy.snapshot import EngineSettings
from gateway.wire.outcome import Drop

_BUCKETS_KEPT = 8192
_VERDICTS_KEPT = 4096
_SOURCE_BURST, _SOURCE_REFILL = 128.0, 8.0  # key exchanges, and key exchanges a second
_NETWORK_TIMES = 8.0  # a network of sources gets that much more than one source
_STRANGERS_BURST, _STRANGERS_REFILL = 512.0, 128.0
_LEGACY_BURST, _LEGACY_REFILL = 32.0, 8.0
_FORGED_BURST, _FORGED_REFILL = 64.0, 2.0  # messages that do not open, and how many of them a second are no attack
_ANSWER_PAUSE = 10.0  # seconds between two unprotected answers to one source
_ANSWERS_BURST, _ANSWERS_REFILL = 32.0, 8.0
_DEAREST = 16.0
_EASIEST, _HARDEST = 16, 20  # zero bits: a third of a second to some five seconds of a processor
_SOLVED_TIMES = 4

_EVERYBODY = ""


@dataclass(slots=True)
class _Bucket:
    left: float
    since: float


class Budget:
    """Token buckets by key: each holds up to `burst`, and gains `refill` a second."""

    def __init__(self, burst: float, refill: float, kept: int = _BUCKETS_KEPT) -> None:
        self.burst, self.refill = burst, refill
        self._kept = kept
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def _bucket(self, key: Hashable, now: float) -> _Bucket | None:
        """The key's bucket with what it gained until now; None for who was never seen, or not for long."""
        bucket = self._buckets.get(key)
        if bucket is not None and bucket.since != now:
            bucket.left = min(self.burst, bucket.left + (now - bucket.since) * self.refill)
            bucket.since = now
        return bucket

    def left(self, key: Hashable, now: float) -> float:
        """What the key may still spend; who was never seen, or not for long, may spend all."""
        bucket = self._bucket(key, now)
        return self.burst if bucket is None else bucket.left

    def take(self, key: Hashable, cost: float, now: float) -> None:
        """Spend, down to nothing: a debt would punish long after."""
        bucket = self._bucket(key, now)
        if bucket is not None:
            bucket.left = max(0.0, bucket.left - cost)
            self._buckets.move_to_end(key)
            return
        self._buckets[key] = _Bucket(max(0.0, self.burst - cost), now)
        if len(self._buckets) > self._kept:
            self._buckets.popitem(last=False)

    def give(self, key: Hashable, cost: float, now: float) -> None:
        """What was spent well comes back."""
        bucket = self._bucket(key, now)
        if bucket is not None:
            bucket.left = min(self.burst, bucket.left + cost)


@lru_cache(1024)
def source_of(address: str) -> str:
    """Whom an address belongs to: an IPv4 address itself, the /64 of an IPv6 address (RFC 8019 4.2)."""
    return f"{int(ip_address(address)) >> 64:x}/64" if ":" in address else address


@lru_cache(1024)
def _network_of(address: str) -> str:
    """The next larger thing that one owner may hold: an IPv4 /24, an IPv6 /48."""
    return f"{int(ip_address(address)) >> 80:x}/48" if ":" in address else address.rpartition(".")[0] + "/24"


def cost_of(method: KeyExchangeMethod) -> float:
    """Work of one key exchange, in units of an elliptic curve's: MODP grows with the cube of its size."""
    if method.kem or method.public_octets <= 256:
        return 1.0
    return min(_DEAREST, (method.public_octets / 256) ** 3)


class Blocked:
    """Networks whose datagrams are dropped unread; a sender is looked up by as many prefix lengths as there are."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._prefixes: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        self._verdicts: dict[str, bool] = {}
        self.any = False
        for text in networks:
            network = ip_network(text, strict=False)
            shift = network.max_prefixlen - network.prefixlen
            self._prefixes[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)
            self.any = True

    def __contains__(self, address: str) -> bool:
        if not self.any:
            return False
        verdict = self._verdicts.get(address)
        if verdict is None:
            if len(self._verdicts) >= _VERDICTS_KEPT:
                self._verdicts.clear()
            verdict = self._verdicts[address] = self._look(address)
        return verdict

    def _look(self, address: str) -> bool:
        number = int(ip_address(address))
        prefixes = self._prefixes[6 if ":" in address else 4]
        return any(number >> shift in networks for shift, networks in prefixes.items())


class Admission:
    """The books about those who have proven nothing: half-open IKE SAs, work done for them, answers given."""

    def __init__(self) -> None:
        self.blocked = Blocked()
        self.half_open_total = 0
        self._half_open: Counter[str] = Counter()
        self._sources = Budget(_SOURCE_BURST, _SOURCE_REFILL)
        self._networks = Budget(_SOURCE_BURST * _NETWORK_TIMES, _SOURCE_REFILL * _NETWORK_TIMES)
        self._strangers = Budget(_STRANGERS_BURST, _STRANGERS_REFILL, kept=1)
        self._legacy = Budget(_LEGACY_BURST, _LEGACY_REFILL, kept=1)
        self._forged = Budget(_FORGED_BURST, _FORGED_REFILL, kept=1)
        self._answered = Budget(1.0, 1.0 / _ANSWER_PAUSE)
        self._answers = Budget(_ANSWERS_BURST, _ANSWERS_REFILL, kept=1)

    def half_open(self, remote: str) -> int:
        """How many IKE SAs of this source wait for IKE_AUTH."""
        return self._half_open[source_of(remote)]

    def opened(self, remote: str) -> None:
        """A half-open IKE SA was made."""
        self._half_open[source_of(remote)] += 1
        self.half_open_total += 1

    def settled(self, remote: str) -> None:
        """A half-open IKE SA came to stand, or ended."""
        source = source_of(remote)
        self.half_open_total -= 1
        self._half_open[source] -= 1
        if not self._half_open[source]:
            del self._half_open[source]

    def worked(self, remote: str, method: KeyExchangeMethod, now: float) -> None:
        """A key exchange was computed for this sender."""
        cost = cost_of(method)
        self._sources.take(source_of(remote), cost, now)
        self._networks.take(_network_of(remote), cost, now)
        self._strangers.take(_EVERYBODY, cost, now)

    def proven(self, remote: str, method: KeyExchangeMethod, now: float) -> None:
        """That key exchange was a peer's: it costs him nothing."""
        cost = cost_of(method)
        self._sources.give(source_of(remote), cost, now)
        self._networks.give(_network_of(remote), cost, now)
        self._strangers.give(_EVERYBODY, cost, now)

    def under_pressure(self, remote: str, now: float, limits: EngineSettings) -> bool:
        """Whether this sender must show first that it is where it says. Raises Drop when there is no room at all."""
        if self.half_open_total >= limits.half_open_limit:
            raise Drop("too many half-open IKE SAs")
        return (
            self.half_open_total >= limits.cookie_threshold
            or self._strangers.left(_EVERYBODY, now) < 1.0
            or self._overdrawn(remote, now, limits)
        )

    def _overdrawn(self, remote: str, now: float, limits: EngineSettings) -> bool:
        """The source holds, or cost, more than its share."""
        return (
            self.half_open(remote) >= limits.half_open_per_source
            or self._sources.left(source_of(remote), now) < 1.0
            or self._networks.left(_network_of(remote), now) < 1.0
        )

    def difficulty(self, remote: str, now: float, limits: EngineSettings) -> int:
        """Zero bits of the puzzle that this sender has to solve, 0 for none: more by pressure (RFC 8019 7.1.1.1)."""
        overdrawn = self._overdrawn(remote, now, limits)
        crowd = self.half_open_total // max(1, 2 * limits.cookie_threshold)
        crowded = self.half_open_total >= 2 * limits.cookie_threshold
        if not limits.puzzles or not (overdrawn or crowded):
            return 0
        return min(_HARDEST, _EASIEST + crowd.bit_length() // 2 + 2 * overdrawn)

    def forged(self, now: float) -> None:
        """A half-open IKE SA was sent what does not open: its sender made us compute keys for nothing."""
        self._forged.take(_EVERYBODY, 1.0, now)

    def forgeries_abound(self, now: float) -> bool:
        """Whether so many came lately that who wants IKE_AUTH heard has to pay first (RFC 8019 7.2)."""
        return self._forged.left(_EVERYBODY, now) < 1.0

    def auth_difficulty(self, method: KeyExchangeMethod) -> int:
        """Zero bits that cost more than this key exchange costs us (RFC 8019 7.2.1.1): 8 are a thousand attempts."""
        return min(_HARDEST, 8 + int(cost_of(method)).bit_length())

    def admit(self, remote: str, now: float, limits: EngineSettings, *, solved: bool) -> None:
        """A sender at the address it says wants in; a puzzle `solved` is a stronger claim. Raises Drop."""
        room = limits.half_open_per_source * (_SOLVED_TIMES if solved else 1)
        if self.half_open(remote) >= room:
            raise Drop("too many half-open IKE SAs from this source")
        if not solved and self._overdrawn(remote, now, limits):
            raise Drop("this source has spent its budget of work")

    def admit_unsolved(self, now: float) -> bool:
        """A few of those who do not solve puzzles are served nevertheless (RFC 8019 7.1.5)."""
        if self._legacy.left(_EVERYBODY, now) < 1.0:
            return False
        self._legacy.take(_EVERYBODY, 1.0, now)
        return True

    def may_answer(self, remote: str, now: float) -> bool:
        """Whether a datagram outside of any IKE SA gets an unprotected answer: one in ten seconds to one source."""
        source = source_of(remote)
        if self._answered.left(source, now) < 1.0 or self._answers.left(_EVERYBODY, now) < 1.0:
            return False
        self._answered.take(source, 1.0, now)
        self._answers.take(_EVERYBODY, 1.0, now)
        return True
