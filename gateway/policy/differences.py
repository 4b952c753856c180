"""Why two lists of proposals do not meet, in words for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.crypto import suites
from gateway.crypto.suites import Encryption, Integrity, KeyExchangeMethod, PseudoRandom
from gateway.policy.choice import Offered
from gateway.policy.proposals import Proposal, additional_words, agree_additional
from gateway.wire import payloads as wire
from gateway.wire.numbers import Encr, Integ, KeMethod, Prf, name_of


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
    offer = Offered(theirs)
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
    if with_ke and agree_additional(ours.additional, offer.additional) is None:
        theirs_text = _short(", ".join(_offered_additional(offer)))
        ours_text = ", ".join(additional_words(ours.additional))
        found.append(f"additional key exchanges: they offer {theirs_text or 'none'}; we accept {ours_text or 'none'}")
    if offer.other:
        found.append("the offer has a kind of transform that we do not know")
    return tuple(found)


def _offer_words(offer: Offered) -> dict[str, list[str]]:
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


def _offered_additional(offer: Offered) -> list[str]:
    words = []
    for place, numbers in sorted(offer.additional.items()):
        for number in numbers:
            row = suites.key_exchange(number)
            words.append(f"ke{place}_{row.keyword if row else name_of(KeMethod, number).lower() if number else 'none'}")
    return words


def offer_text(proposal: wire.Proposal) -> str:
    """An offered proposal in keywords, with the registry's names for what we have no keyword for."""
    offer = Offered(proposal)
    words = _offer_words(offer)
    words["ke"] += _offered_additional(offer)
    if words["esn"] == ["noesn"]:
        words["esn"] = []
    return _short("-".join(word for kind in _KINDS for word in words[kind]))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
