"""The choice between two ends' lists of proposals, and what was chosen (RFC 7296 2.7)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from gateway.crypto.suites import Algorithm, Encryption, Integrity, KeyExchangeMethod, PseudoRandom
from gateway.policy.proposals import FIRST_ADDITIONAL, Agreed, Proposal, agree_additional
from gateway.wire import payloads as wire
from gateway.wire.numbers import KeMethod, Protocol, TransformType


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
            transforms.append(wire.Transform(FIRST_ADDITIONAL + place, number, None))
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
                    self.additional.setdefault(number - FIRST_ADDITIONAL, []).append(transform.number)
                case _:
                    self.other = True  # RFC 7296 3.3.6: an unknown transform type fails its proposal


Row = TypeVar("Row", Encryption, Integrity, PseudoRandom, KeyExchangeMethod)


def _first(rows: Iterable[Row], numbers: Sequence[int]) -> Row | None:
    for row in rows:
        if row.number in numbers:
            return row
    return None


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
