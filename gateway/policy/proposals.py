"""Proposals: algorithms to be used together, in strongSwan's keywords, and the choice between two ends' lists."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from gateway.crypto import suites
from gateway.crypto.suites import Algorithm, Encryption, Integrity, KeyExchangeMethod, PseudoRandom
from gateway.wire import payloads as wire
from gateway.wire.numbers import KeMethod, Protocol, SequenceNumbers, TransformType

_IMPLIED_PRF = {
    "sha1": "prfsha1",
    "sha256": "prfsha256",
    "sha384": "prfsha384",
    "sha512": "prfsha512",
    "aesxcbc": "prfaesxcbc",
    "aescmac": "prfaescmac",
}
_ADDITIONAL = re.compile(r"ke([1-7])_(\w+)")
_FIRST_ADDITIONAL = TransformType.ADDKE1 - 1
_SEQUENCE_NUMBERS: dict[str, int] = {"noesn": SequenceNumbers(0), "esn": SequenceNumbers(1)}


class InvalidProposal(ValueError):
    """The keywords make no proposal; the message says what is missing or wrong."""


def _implied_prf(integ: Integrity) -> PseudoRandom:
    row = suites.by_keyword(_IMPLIED_PRF[integ.keyword])
    assert isinstance(row, PseudoRandom)
    return row


Additional = tuple[tuple[int, tuple[KeyExchangeMethod | None, ...]], ...]
"""By number, 1 to 7: what may be the additional key exchange, best first; None among them: it may be left out."""
Agreed = tuple[tuple[int, KeyExchangeMethod | None], ...]
"""By number: the additional key exchange that both ends agreed on, or None to leave it out."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal (RFC 7296 3.3.1): of each kind of algorithm those acceptable, best first.

    `additional` are the key exchanges that follow the one of `ke`, in the order of their numbers (RFC 9370).
    """

    protocol: int
    encr: tuple[Encryption, ...]
    integ: tuple[Integrity, ...] = ()
    prf: tuple[PseudoRandom, ...] = ()
    ke: tuple[KeyExchangeMethod, ...] = ()
    esn: tuple[int, ...] = ()
    additional: Additional = ()

    @classmethod
    def parse(cls, text: str, protocol: int) -> "Proposal":
        """Read `aes256gcm16-prfsha256-x25519-ke1_mlkem768` (IKE) or `aes256-sha256-x25519-esn` (ESP).

        `ke1_none` beside `ke1_mlkem768` makes that additional key exchange optional. Raises InvalidProposal.
        """
        encr: list[Encryption] = []
        integ: list[Integrity] = []
        prf: list[PseudoRandom] = []
        ke: list[KeyExchangeMethod] = []
        esn: list[int] = []
        additional: dict[int, list[KeyExchangeMethod | None]] = {}
        for word in text.lower().split("-"):
            if word in _SEQUENCE_NUMBERS:
                esn.append(_SEQUENCE_NUMBERS[word])
                continue
            if numbered := _ADDITIONAL.fullmatch(word):
                additional.setdefault(int(numbered[1]), []).append(_additional_method(text, numbered[2]))
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
        further = tuple((number, tuple(additional[number])) for number in sorted(additional))
        proposal = cls(protocol, tuple(encr), tuple(integ), tuple(prf), tuple(ke), tuple(esn), further)
        proposal._check(text)
        proposal._check_additional(text)
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

    def _check_additional(self, text: str) -> None:
        if self.additional and not self.ke:
            raise InvalidProposal(f"{text!r}: an additional key exchange (ke1_…) follows a first one, such as x25519")
        for place, rows in self.additional:
            if rows == (None,):
                raise InvalidProposal(f"{text!r}: beside ke{place}_none there must be a method to agree on")
        offered = {place: [row.number if row else 0 for row in rows] for place, rows in self.additional}
        if agree_additional(self.additional, offered) is None:
            raise InvalidProposal(f"{text!r}: no two additional key exchanges may be the same (RFC 9370 2.2.1)")

    @property
    def aead(self) -> bool:
        return self.encr[0].aead

    @property
    def keywords(self) -> str:
        """The proposal in the form that `parse` reads."""
        words = [row.keyword for rows in (self.encr, self.integ, self.prf, self.ke) for row in rows]
        words += additional_words(self.additional)
        names = {number: word for word, number in _SEQUENCE_NUMBERS.items()}
        words += [names[number] for number in self.esn if self.esn != (0,)]
        return "-".join(words)

    @property
    def weak(self) -> tuple[str, ...]:
        """Keywords of algorithms that are there for legacy peers only (RFC 8247, RFC 8221)."""
        return tuple(row.keyword for row in self.rows if row.weak)

    @property
    def rows(self) -> tuple[Algorithm, ...]:
        """Every algorithm that it names."""
        further = [row for _, rows in self.additional for row in rows if row]
        return (*self.encr, *self.integ, *self.prf, *self.ke, *further)

    @property
    def post_quantum(self) -> bool:
        """Whether there is a KEM among its key exchanges."""
        return any(isinstance(row, KeyExchangeMethod) and row.kem for row in self.rows)

    def insisting(self) -> "Proposal | None":
        """The same with a KEM whatever is chosen of it; None where there is no KEM."""
        if all(row.kem for row in self.ke):
            return self if self.ke else None
        for index, (place, rows) in enumerate(self.additional):
            kems = tuple(row for row in rows if row and row.kem)
            if kems:
                further = (*self.additional[:index], (place, kems), *self.additional[index + 1 :])
                return self if kems == rows else replace(self, additional=further)
        kems = tuple(row for row in self.ke if row.kem)
        return replace(self, ke=kems) if kems else None

    def classical(self) -> "Proposal | None":
        """The same without any KEM; None where it cannot be agreed on so."""
        if not self.post_quantum:
            return self
        ke = tuple(row for row in self.ke if not row.kem)
        further = tuple(
            (place, tuple(row for row in rows if row is None or not row.kem)) for place, rows in self.additional
        )
        if not ke or not all(rows for _, rows in further):
            return None
        return replace(self, ke=ke, additional=tuple((place, rows) for place, rows in further if rows != (None,)))

    def without_ke(self) -> "Proposal":
        """What can be offered for the first CHILD_SA, which has no key exchange of its own (RFC 7296 1.2)."""
        return replace(self, ke=(), additional=())

    def to_wire(self, number: int, spi: bytes) -> wire.Proposal:
        """The proposal as offered."""
        transforms = [wire.Transform(TransformType.ENCR, row.number, row.key_bits or None) for row in self.encr]
        transforms += [wire.Transform(TransformType.PRF, row.number, None) for row in self.prf]
        transforms += [wire.Transform(TransformType.INTEG, row.number, None) for row in self.integ]
        transforms += [wire.Transform(TransformType.KE, row.number, None) for row in self.ke]
        for place, rows in self.additional:
            transforms += [
                wire.Transform(_FIRST_ADDITIONAL + place, row.number if row else KeMethod.NONE, None) for row in rows
            ]
        transforms += [wire.Transform(TransformType.SN, number, None) for number in self.esn]
        return wire.Proposal(number, self.protocol, spi, transforms)


def _additional_method(text: str, word: str) -> KeyExchangeMethod | None:
    if word == "none":
        return None
    row = suites.by_keyword(word)
    if not isinstance(row, KeyExchangeMethod):
        raise InvalidProposal(f"{text!r}: {word!r} is no key exchange method we know")
    return row


def additional_words(additional: Additional) -> list[str]:
    return [f"ke{place}_{row.keyword if row else 'none'}" for place, rows in additional for row in rows]


@dataclass(slots=True)
class Chosen:
    """The one algorithm of each kind that both ends agreed on; never changed.

    `additional` has what was agreed for each number that was offered; None where that key exchange is left out.
    """

    number: int
    protocol: int
    spi: bytes
    encr: Encryption
    integ: Integrity | None = None
    prf: PseudoRandom | None = None
    ke: KeyExchangeMethod | None = None
    esn: bool = False
    additional: Agreed = ()

    @property
    def following(self) -> tuple[KeyExchangeMethod, ...]:
        """The additional key exchanges to be done, in their order."""
        return tuple(row for _, row in self.additional if row)

    def to_wire(self, spi: bytes) -> wire.Proposal:
        """The answer: the offer's number, our SPI, one transform of each kind."""
        transforms = [wire.Transform(TransformType.ENCR, self.encr.number, self.encr.key_bits or None)]
        if self.prf:
            transforms.append(wire.Transform(TransformType.PRF, self.prf.number, None))
        if self.integ:
            transforms.append(wire.Transform(TransformType.INTEG, self.integ.number, None))
        if self.ke:
            transforms.append(wire.Transform(TransformType.KE, self.ke.number, None))
        for place, row in self.additional:
            number = row.number if row else KeMethod.NONE
            transforms.append(wire.Transform(_FIRST_ADDITIONAL + place, number, None))
        if self.protocol != Protocol.IKE:
            transforms.append(wire.Transform(TransformType.SN, int(self.esn), None))
        return wire.Proposal(self.number, self.protocol, spi, transforms)

    @property
    def keywords(self) -> str:
        return _keywords((self.encr, self.integ, self.prf, self.ke), self.additional, self.esn)


@lru_cache(256)
def _keywords(rows: tuple[Algorithm | None, ...], additional: Agreed, esn: bool) -> str:
    words = [row.keyword for row in rows if row]
    words += [f"ke{place}_{row.keyword}" for place, row in additional if row]
    return "-".join(words + (["esn"] if esn else []))


class Offered:
    """The numbers of one offered proposal by transform type, looked at once."""

    __slots__ = ("additional", "encr", "esn", "integ", "ke", "other", "prf")

    def __init__(self, proposal: wire.Proposal) -> None:
        self.encr: list[tuple[int, int]] = []
        self.integ: list[int] = []
        self.prf: list[int] = []
        self.ke: list[int] = []
        self.esn: list[int] = []
        self.additional: dict[int, list[int]] = {}
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
                case number if TransformType.ADDKE1 <= number <= TransformType.ADDKE7:
                    self.additional.setdefault(number - _FIRST_ADDITIONAL, []).append(transform.number)
                case _:
                    self.other = True  # RFC 7296 3.3.6: an unknown transform type fails its proposal


Row = TypeVar("Row", Encryption, Integrity, PseudoRandom, KeyExchangeMethod)


def _first(rows: Iterable[Row], numbers: Sequence[int]) -> Row | None:
    for row in rows:
        if row.number in numbers:
            return row
    return None


def agree_additional(ours: Additional, offered: dict[int, list[int]]) -> Agreed | None:
    """One method for each number that either end names, none twice (RFC 9370 2.2.1); None when there is no such choice.

    What an end does not name is to it as if it had named NONE alone.
    """
    if not ours and not offered:
        return ()
    mine = dict(ours)
    places = sorted({*mine, *offered})
    options = [
        [row for row in mine.get(place, (None,)) if (row.number if row else 0) in offered.get(place, [0])]
        for place in places
    ]
    chosen: list[KeyExchangeMethod | None] = []

    def fill(index: int) -> bool:
        if index == len(places):
            return True
        for row in options[index]:
            if row is None or row not in chosen:
                chosen.append(row)
                if fill(index + 1):
                    return True
                chosen.pop()
        return False

    if not fill(0):
        return None
    return tuple((place, row) for place, row in zip(places, chosen, strict=True) if place in offered)


def _match(ours: Proposal, offer: Offered, theirs: wire.Proposal, with_ke: bool, additional: bool) -> Chosen | None:
    encr = None
    for row in ours.encr:
        if (row.number, row.key_bits) in offer.encr:
            encr = row
            break
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
    if with_ke and offer.additional and not additional:
        return None  # RFC 9370 2.2.1: without IKE_INTERMEDIATE such a transform is of an unknown type
    following = agree_additional(ours.additional, offer.additional) if with_ke else ()
    if following is None:
        return None
    esn = 0
    if ours.esn:
        agreed = next((number for number in ours.esn if number in (offer.esn or [0])), None)
        if agreed is None:
            return None
        esn = agreed
    return Chosen(theirs.number, ours.protocol, theirs.spi, encr, integ, prf, ke, bool(esn), following)


def choose(
    ours: Sequence[Proposal], offered: Sequence[wire.Proposal], *, with_ke: bool = True, additional: bool = False
) -> Chosen | None:
    """The first of our proposals that the peer offers too, with our preferred algorithm of each kind (RFC 7296 2.7).

    `with_ke` is off in IKE_AUTH, where a key exchange offered for the first CHILD_SA has no meaning (RFC 7296 1.2).
    `additional` tells whether both ends have IKE_INTERMEDIATE, which additional key exchanges need (RFC 9370 2.2.1).
    """
    offers = [(Offered(theirs), theirs) for theirs in offered]
    for our in ours:
        for offer, theirs in offers:
            if theirs.protocol == our.protocol and (chosen := _match(our, offer, theirs, with_ke, additional)):
                return chosen
    return None


def permitted(ours: Sequence[Proposal], chosen: Chosen) -> bool:
    """Whether what was agreed on for an IKE SA is one of our proposals: the peer may turn out to be another one."""
    return any(
        chosen.encr in our.encr
        and chosen.prf in our.prf
        and (chosen.integ in our.integ if our.integ else chosen.integ is None)
        and chosen.ke in our.ke
        and agree_additional(our.additional, {place: [row.number if row else 0] for place, row in chosen.additional})
        is not None
        for our in ours
    )


def accepted(
    ours: Sequence[Proposal], answer: wire.Proposal, *, with_ke: bool = True, additional: bool = False
) -> Chosen | None:
    """What the responder chose, if it is one of each kind out of what we offered; None when it is not."""
    offer = Offered(answer)
    numbers = (offer.integ, offer.prf, offer.ke, offer.esn, *offer.additional.values())
    if len(offer.encr) > 1 or any(len(several) > 1 for several in numbers):
        return None
    return choose(ours, [answer], with_ke=with_ke, additional=additional)
