"""Proposals: algorithms to be used together, in strongSwan's keywords."""

import re
from dataclasses import dataclass, replace

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
FIRST_ADDITIONAL = TransformType.ADDKE1 - 1
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
                wire.Transform(FIRST_ADDITIONAL + place, row.number if row else KeMethod.NONE, None) for row in rows
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
