"""Proposals: algorithms to be used together, in strongSwan's keywords, and the choice between two ends' lists."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gateway.crypto import suites
from gateway.crypto.suites import Encryption, Integrity, KeyExchangeMethod, PseudoRandom
from gateway.wire import payloads as wire
from gateway.wire.numbers import Encr, Integ, KeMethod, Prf, Protocol, SequenceNumbers, TransformType, name_of

_IMPLIED_PRF = {
    "sha1": "prfsha1",
    "sha256": "prfsha256",
    "sha384": "prfsha384",
    "sha512": "prfsha512",
    "aesxcbc": "prfaesxcbc",
    "aescmac": "prfaescmac",
}
_SEQUENCE_NUMBERS: dict[str, int] = {"noesn": SequenceNumbers(0), "esn": SequenceNumbers(1)}


class InvalidProposal(ValueError):
    """The keywords make no proposal; the message says what is missing or wrong."""


def _implied_prf(integ: Integrity) -> PseudoRandom:
    row = suites.by_keyword(_IMPLIED_PRF[integ.keyword])
    assert isinstance(row, PseudoRandom)
    return row


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal (RFC 7296 3.3.1): of each kind of algorithm those acceptable, best first."""

    protocol: int
    encr: tuple[Encryption, ...]
    integ: tuple[Integrity, ...] = ()
    prf: tuple[PseudoRandom, ...] = ()
    ke: tuple[KeyExchangeMethod, ...] = ()
    esn: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str, protocol: int) -> "Proposal":
        """Read `aes256gcm16-prfsha256-x25519` (IKE) or `aes256-sha256-x25519-esn` (ESP). Raises InvalidProposal."""
        encr: list[Encryption] = []
        integ: list[Integrity] = []
        prf: list[PseudoRandom] = []
        ke: list[KeyExchangeMethod] = []
        esn: list[int] = []
        for word in text.lower().split("-"):
            if word in _SEQUENCE_NUMBERS:
                esn.append(_SEQUENCE_NUMBERS[word])
                continue
            match suites.by_keyword(word):
                case Encryption() as row:
                    encr.append(row)
                case Integrity() as row:
                    integ.append(row)
                case PseudoRandom() as row:
                    prf.append(row)
                case KeyExchangeMethod() as row:
                    ke.append(row)
                case _:
                    raise InvalidProposal(f"{text!r}: {word!r} is no algorithm we know")
        if protocol == Protocol.IKE:
            prf = prf or [_implied_prf(row) for row in integ]
        elif not esn:
            esn = [SequenceNumbers(0)]
        proposal = cls(protocol, tuple(encr), tuple(integ), tuple(prf), tuple(ke), tuple(esn))
        proposal._check(text)
        return proposal

    def _check(self, text: str) -> None:
        def wrong(why: str) -> InvalidProposal:
            return InvalidProposal(f"{text!r}: {why}")

        if not self.encr:
            raise wrong("name an encryption algorithm, such as aes256gcm16")
        if len({row.aead for row in self.encr}) > 1:
            raise wrong("combined-mode (GCM, CCM, ChaCha20) and other ciphers go in separate proposals (RFC 7296 3.3)")
        if self.aead and self.integ:
            raise wrong("a combined-mode cipher takes no integrity algorithm; for the PRF write prfsha256")
        if not self.aead and not self.integ:
            raise wrong("this cipher needs an integrity algorithm, such as sha256")
        if self.protocol == Protocol.IKE:
            if not self.prf:
                raise wrong("name a pseudo-random function, such as prfsha256")
            if not self.ke:
                raise wrong("name a key exchange method, such as x25519")
            if self.esn:
                raise wrong("extended sequence numbers are a matter of ESP, not of IKE")
        elif self.prf:
            raise wrong("ESP has no pseudo-random function of its own")

    @property
    def aead(self) -> bool:
        return self.encr[0].aead

    @property
    def keywords(self) -> str:
        """The proposal in the form that `parse` reads."""
        words = [row.keyword for rows in (self.encr, self.integ, self.prf, self.ke) for row in rows]
        names = {number: word for word, number in _SEQUENCE_NUMBERS.items()}
        words += [names[number] for number in self.esn if self.esn != (0,)]
        return "-".join(words)

    @property
    def weak(self) -> tuple[str, ...]:
        """Keywords of algorithms that are there for legacy peers only (RFC 8247, RFC 8221)."""
        return tuple(row.keyword for rows in (self.encr, self.integ, self.prf, self.ke) for row in rows if row.weak)

    def to_wire(self, number: int, spi: bytes) -> wire.Proposal:
        """The proposal as offered; the first CHILD_SA's has `ke` taken out (RFC 7296 1.2)."""
        transforms = [wire.Transform(TransformType.ENCR, row.number, row.key_bits or None) for row in self.encr]
        transforms += [wire.Transform(TransformType.PRF, row.number, None) for row in self.prf]
        transforms += [wire.Transform(TransformType.INTEG, row.number, None) for row in self.integ]
        transforms += [wire.Transform(TransformType.KE, row.number, None) for row in self.ke]
        transforms += [wire.Transform(TransformType.SN, number, None) for number in self.esn]
        return wire.Proposal(number, self.protocol, spi, transforms)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The one algorithm of each kind that both ends agreed on."""

    number: int
    protocol: int
    spi: bytes
    encr: Encryption
    integ: Integrity | None = None
    prf: PseudoRandom | None = None
    ke: KeyExchangeMethod | None = None
    esn: bool = False

    def to_wire(self, spi: bytes) -> wire.Proposal:
        """The answer: the offer's number, our SPI, one transform of each kind."""
        transforms = [wire.Transform(TransformType.ENCR, self.encr.number, self.encr.key_bits or None)]
        if self.prf:
            transforms.append(wire.Transform(TransformType.PRF, self.prf.number, None))
        if self.integ:
            transforms.append(wire.Transform(TransformType.INTEG, self.integ.number, None))
        if self.ke:
            transforms.append(wire.Transform(TransformType.KE, self.ke.number, None))
        if self.protocol != Protocol.IKE:
            transforms.append(wire.Transform(TransformType.SN, int(self.esn), None))
        return wire.Proposal(self.number, self.protocol, spi, transforms)

    @property
    def keywords(self) -> str:
        rows = (self.encr, self.integ, self.prf, self.ke)
        return "-".join([row.keyword for row in rows if row] + (["esn"] if self.esn else []))


class _Offer:
    """The numbers of one offered proposal by transform type, looked at once."""

    __slots__ = ("encr", "esn", "integ", "ke", "other", "prf")

    def __init__(self, proposal: wire.Proposal) -> None:
        self.encr: list[tuple[int, int]] = []
        self.integ: list[int] = []
        self.prf: list[int] = []
        self.ke: list[int] = []
        self.esn: list[int] = []
        self.other = False
        for transform in proposal.transforms:
            if transform.attributes:  # RFC 7296 3.3.6: a transform with an unknown attribute is not acceptable
                continue
            match transform.type:
                case TransformType.ENCR:
                    self.encr.append((transform.number, transform.key_bits or 0))
                case TransformType.INTEG:
                    self.integ.append(transform.number)
                case TransformType.PRF:
                    self.prf.append(transform.number)
                case TransformType.KE:
                    self.ke.append(transform.number)
                case TransformType.SN:
                    self.esn.append(transform.number)
                case _:
                    self.other = True  # RFC 7296 3.3.6: an unknown transform type fails its proposal


Row = TypeVar("Row", Encryption, Integrity, PseudoRandom, KeyExchangeMethod)


def _first(rows: Iterable[Row], numbers: Sequence[int]) -> Row | None:
    return next((row for row in rows if row.number in numbers), None)


def _match(ours: Proposal, offer: _Offer, theirs: wire.Proposal, with_ke: bool) -> Chosen | None:
    encr = next((row for row in ours.encr if (row.number, row.key_bits) in offer.encr), None)
    integ = _first(ours.integ, offer.integ)
    if offer.other or encr is None or (ours.integ and integ is None):
        return None
    if not ours.integ and any(offer.integ):  # only NONE may stand beside a combined-mode cipher
        return None
    prf = _first(ours.prf, offer.prf)
    if (ours.prf and prf is None) or (not ours.prf and offer.prf):
        return None
    ke = _first(ours.ke, offer.ke) if with_ke else None
    if with_ke and ke is None and (ours.ke or (offer.ke and KeMethod.NONE not in offer.ke)):
        return None
    esn = 0
    if ours.esn:
        agreed = next((number for number in ours.esn if number in (offer.esn or [0])), None)
        if agreed is None:
            return None
        esn = agreed
    return Chosen(theirs.number, ours.protocol, theirs.spi, encr, integ, prf, ke, bool(esn))


def choose(ours: Sequence[Proposal], offered: Sequence[wire.Proposal], *, with_ke: bool = True) -> Chosen | None:
    """The first of our proposals that the peer offers too, with our preferred algorithm of each kind (RFC 7296 2.7).

    `with_ke` is off in IKE_AUTH, where a key exchange offered for the first CHILD_SA has no meaning (RFC 7296 1.2).
    """
    offers = [(_Offer(theirs), theirs) for theirs in offered]
    for our in ours:
        for offer, theirs in offers:
            if theirs.protocol == our.protocol and (chosen := _match(our, offer, theirs, with_ke)):
                return chosen
    return None


def accepted(ours: Sequence[Proposal], answer: wire.Proposal, *, with_ke: bool = True) -> Chosen | None:
    """What the responder chose, if it is one of each kind out of what we offered; None when it is not."""
    offer = _Offer(answer)
    if any(len(numbers) > 1 for numbers in (offer.encr, offer.integ, offer.prf, offer.ke, offer.esn)):
        return None
    return choose(ours, [answer], with_ke=with_ke)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why none was chosen, for people: both lists, and in the closest pair the kinds with nothing in common."""

    offered: tuple[str, ...]
    acceptable: tuple[str, ...]
    differences: tuple[str, ...]


_SHOWN_PROPOSALS = 32  # of what a peer offers: attempts are kept, and their number alone does not bound their size
_SHOWN_CHARACTERS = 500
_KINDS = {
    "encr": "encryption",
    "integ": "integrity",
    "prf": "pseudo-random function",
    "ke": "key exchange",
    "esn": "sequence numbers",
}


def explain(ours: Sequence[Proposal], offered: Sequence[wire.Proposal], *, with_ke: bool = True) -> Mismatch:
    """Compare every pair of proposals and tell the difference of the pair that comes closest."""
    closest: tuple[str, ...] | None = None
    shown = offered[:_SHOWN_PROPOSALS]
    for our in ours:
        for theirs in shown:
            found = _differences(our, theirs, with_ke)
            if closest is None or len(found) < len(closest):
                closest = found
    return Mismatch(
        tuple(offer_text(theirs) for theirs in shown),
        tuple(our.keywords for our in ours),
        closest or ("there is nothing to compare: one side has no proposal",),
    )


def _differences(ours: Proposal, theirs: wire.Proposal, with_ke: bool) -> tuple[str, ...]:
    offer = _Offer(theirs)
    found = []
    if theirs.protocol != ours.protocol:
        return tuple(f"{kind}: the offer is for another protocol" for kind in _KINDS.values())
    mine: dict[str, list[str]] = {
        "encr": [row.keyword for row in ours.encr],
        "integ": [row.keyword for row in ours.integ],
        "prf": [row.keyword for row in ours.prf],
        "ke": [row.keyword for row in ours.ke] if with_ke else [],
        "esn": ["esn" if number else "noesn" for number in ours.esn],
    }
    other: dict[str, list[str]] = _offer_words(offer)
    if not with_ke:
        other["ke"] = []
    for kind, label in _KINDS.items():
        if mine[kind] != other[kind] and not set(mine[kind]) & set(other[kind]):
            theirs_text, ours_text = _short(", ".join(other[kind])), ", ".join(mine[kind])
            found.append(f"{label}: they offer {theirs_text or 'none'}; we accept {ours_text or 'none'}")
    if offer.other:
        found.append("the offer has a kind of transform that we do not know")
    return tuple(found)


def _offer_words(offer: _Offer) -> dict[str, list[str]]:
    def word(row: Encryption | Integrity | PseudoRandom | KeyExchangeMethod | None, name: str) -> str:
        return row.keyword if row else name

    return {
        "encr": [
            word(suites.encryption(n, bits), name_of(Encr, n) + (f"_{bits}" if bits else "")) for n, bits in offer.encr
        ],
        "integ": [word(suites.integrity(n), name_of(Integ, n)) for n in offer.integ if n],
        "prf": [word(suites.pseudo_random(n), name_of(Prf, n)) for n in offer.prf],
        "ke": [word(suites.key_exchange(n), name_of(KeMethod, n)) for n in offer.ke],
        "esn": ["esn" if number else "noesn" for number in offer.esn],
    }


def offer_text(proposal: wire.Proposal) -> str:
    """An offered proposal in keywords, with the registry's names for what we have no keyword for."""
    words = _offer_words(_Offer(proposal))
    if words["esn"] == ["noesn"]:
        words["esn"] = []
    return _short("-".join(word for kind in _KINDS for word in words[kind]))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
