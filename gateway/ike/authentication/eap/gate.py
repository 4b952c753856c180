"""What the server's side of EAP knows: the users, how often one may be wrong, and who it is itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.crypto import one_time
from gateway.crypto.chains import Chain
from gateway.ike.admission import Budget, source_of
from gateway.ike.authentication.eap.talk import Failed, clean
from gateway.ike.authentication.eap.tls_machine import TlsMachine
from gateway.policy.users import User
from gateway.policy.visits import Visit

MAX_IDENTITY_OCTETS = 253
"""A network access identifier has no more (RFC 7542 2.2)."""
_PAIR_BURST, _PAIR_REFILL = 5.0, 1 / 60
_NAME_BURST, _NAME_REFILL = 50.0, 1 / 20
_SOURCE_BURST, _SOURCE_REFILL = 30.0, 1 / 20


class Tries:
    """Wrong proofs, by identity and by source: whoever has used up his own waits, and others are hardly touched.

    Who keeps his name to himself is counted by his source alone: the name is many people's.

    A try is taken before it is judged, so that many at a time are no way around, and given back when it was right. One
    source has five for one name, and then one a minute; a name has fifty from everywhere, so that strangers cannot
    easily lock its owner out.
    """

    def __init__(self) -> None:
        self._pairs = Budget(_PAIR_BURST, _PAIR_REFILL)
        self._names = Budget(_NAME_BURST, _NAME_REFILL)
        self._sources = Budget(_SOURCE_BURST, _SOURCE_REFILL)
        self.steps_used: dict[str, int] = {}
        """The step of each user's last one-time code: none is good twice (RFC 6238 5.2)."""

    def _books(self, name: str, remote: str) -> tuple[tuple[Budget, object], ...]:
        source = source_of(remote)
        of_source = (self._sources, source)
        return ((self._pairs, (name, source)), (self._names, name), of_source) if name else (of_source,)

    def take(self, name: str, remote: str, now: float) -> bool:
        """Whether this source may try to be this name once more."""
        books = self._books(name, remote)
        if any(budget.left(key, now) < 1.0 for budget, key in books):
            return False
        for budget, key in books:
            budget.take(key, 1.0, now)
        return True

    def right(self, name: str, remote: str, now: float) -> None:
        """It was the right one."""
        for budget, key in self._books(name, remote):
            budget.give(key, 1.0, now)


def read_name(octets: bytes) -> str:
    """An EAP identity as a name that can be shown. Raises Failed."""
    if not octets or len(octets) > MAX_IDENTITY_OCTETS:
        raise Failed("eap-protocol", f"an EAP identity of {len(octets)} octets; 1 to {MAX_IDENTITY_OCTETS} are allowed")
    try:
        name = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise Failed("eap-protocol", "the EAP identity is no UTF-8 (RFC 3748 5.1)") from None
    if not name.isprintable():
        raise Failed("eap-protocol", "the EAP identity has characters that cannot be shown")
    return name


def is_anonymous(claimed: str) -> bool:
    """Whether this is no name, but the place where one belongs: `@realm`, `anonymous` (RFC 7542 2.4)."""
    user, at, realm = claimed.rpartition("@")
    return (user if at else realm).lower() in ("", "anonymous")


def _uncertified(claimed: str, chain: tuple[bytes, ...]) -> str:
    raise Failed("eap-tls", "nobody is trusted to say whose certificate it is")


def _unheard(failed: Failed) -> None:
    """Nobody keeps a book of it."""


def _unkept(user: str, step: int) -> None:
    """Nobody remembers it over a restart."""


def _unchecked(chain: tuple[bytes, ...]) -> None:
    raise Failed("eap-tls", "nobody is trusted to say whose certificate it is")


@dataclass(slots=True)
class Gate:
    """One conversation's view: `now` and `unix` are clocks in seconds, `remote` is the peer's address.

    `tls` makes the server's end of a TLS connection; None where there is no certificate for one.
    """

    users: Mapping[str, User]
    tries: Tries
    remote: str
    now: Callable[[], float]
    unix: Callable[[], float]
    random: Callable[[int], bytes] = field(repr=False)
    name: bytes = b"ikegate"
    tls: Callable[[], TlsMachine] | None = None
    certified: Callable[[str, tuple[bytes, ...]], str] = _uncertified
    """Whose certificate the peer showed, given what it claims; raises Failed."""
    spent: Callable[[str, int], None] = _unkept
    """A user's one-time code of that step was used."""
    shown: Chain | None = None
    """The peer's certificates, where `certified` took them."""
    doomed: Callable[[Failed], None] = _unheard
    """It has failed, and the peer is told so by the method itself; not every peer answers that."""

    def find(self, claimed: str) -> User | None:
        """The user of this name, or of what follows a domain and a backslash."""
        return self.users.get(claimed) or self.users.get(claimed.rpartition("\\")[2])

    def attempt(self, claimed: str) -> str:
        """A try is taken for this name; the name it is booked under. Raises Failed when there is none left."""
        user = self.find(claimed)
        booked = user.name if user else "" if is_anonymous(claimed) else claimed
        if not self.tries.take(booked, self.remote, self.now()):
            raise Failed("eap-locked", f"too many wrong proofs for {clean(claimed.encode())}, or from {self.remote}")
        return booked

    def right(self, booked: str) -> None:
        self.tries.right(booked, self.remote, self.now())

    def typed(self, user: User, fits: Callable[[bytes], bool]) -> bytes | None:
        """What the user has typed, where it `fits` and is right: the password, with a code that is good where he has
        them, which is used up then.

        As many are tried for everybody: the time does not tell who has codes, nor which was right.
        """
        used = self.tries.steps_used.get(user.name, -1)
        secret = user.totp_secret or bytes(one_time.SECRET_OCTETS)
        found: tuple[bytes, int | None] | None = None
        for step, code in one_time.codes(secret, self.unix()).items():
            password = user.password + code if user.totp_secret else user.password
            if fits(password) and (step > used or not user.totp_secret):
                found = password, step if user.totp_secret else None
        if found is not None and found[1] is not None:
            self.tries.steps_used[user.name] = found[1]
            self.spent(user.name, found[1])
        return found[0] if found else None

    def judge(self, claimed: str, user: User | None) -> str:
        """Why no password can be right, as a sentence; empty when one can."""
        if user is None:
            return f"there is no user {clean(claimed.encode())}"
        if barred := user.barred(self.unix()):
            return f"the user {user.name} {barred}"
        return "" if user.password else f"the user {user.name} has no password"


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are as EAP's peer. `methods` are the numbers that we would take, the best first."""

    identity: bytes
    password: bytes = field(default=b"", repr=False)
    methods: tuple[int, ...] = ()
    random: Callable[[int], bytes] = field(default=bytes, repr=False)
    tls: Callable[[], TlsMachine] | None = None
    certified: Callable[[tuple[bytes, ...]], None] = _unchecked
    """Is it the server's certificate? Raises Failed."""

    @property
    def bare_name(self) -> bytes:
        """Without the domain before a backslash."""
        return self.identity.rpartition(b"\\")[2]


@dataclass(frozen=True, slots=True)
class Proven:
    """EAP came to its end: who it is by the method's own proof, and the key that both ends have of it.

    `msk` is empty for a method that makes no key. `user` is None where a certificate alone is the proof.
    """

    identity: str
    kind: int
    msk: bytes = field(default=b"", repr=False)
    user: User | None = None
    visit: Visit | None = None
