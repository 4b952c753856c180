"""Asks while a peer waits whether its certificates were revoked, where nothing that is here tells (RFC 5280 6.3).

Only who has proven to hold the key of a certificate that a trusted authority issued makes us ask: it is that authority
who says where.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.crypto.chains import Chain
from gateway.crypto.published import distribution_points, responders
from gateway.ike.authentication import trust
from gateway.ike.core import Core
from gateway.ike.flow import NoAnswer, ask_outside
from gateway.policy.authentication import RemoteAuth

PATIENCE = 8.0
"""Seconds: a peer asks again after four, and many times."""


@dataclass(frozen=True, slots=True)
class AskRevocation:
    """What do issuers say of these certificates, each with its issuer's, up to the trusted `anchor`; all in DER?"""

    pairs: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    anchor: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """What came: OCSP responses are here, lists in the configuration by now; `why` something else did not."""

    ocsp: tuple[bytes, ...] = field(default=(), repr=False)
    why: str = ""


async def settle(core: Core, wanted: RemoteAuth, chain: Chain, brought: Sequence[bytes]) -> tuple[bytes, ...]:
    """The OCSP responses by which no doubt is left about this chain, or none that counts. Raises Untrusted.

    `brought` are those that came with it.
    """
    doubts = trust.find_doubts(core, wanted, chain, brought)
    if not doubts:
        return tuple(brought)
    certificates = chain.certificates
    pairs = tuple(
        (certificates[doubt.number].der, certificates[doubt.number + 1].der)
        for doubt in doubts
        if any(where(certificates[doubt.number].parsed) for where in (responders, distribution_points))
    )
    told = Told()
    if pairs:
        try:
            told = await ask_outside(AskRevocation(pairs, chain.anchor.der), PATIENCE)
        except NoAnswer as silent:
            told = Told(why=silent.why)
    known = (*brought, *told.ocsp)
    if left := trust.find_doubts(core, wanted, chain, known):
        trust.refuse_doubts(wanted, chain, left, told.why)
    return known
