"""Who the two ends say they are, before any of it is proven."""

from gateway.ike import attempt_log
from gateway.ike.attempts import Step
from gateway.ike.core import Core
from gateway.ike.sa import IkeSa
from gateway.policy.identities import MAX_IDENTITY_OCTETS, Identity
from gateway.policy.peers import Peer
from gateway.wire import payloads as wire
from gateway.wire.numbers import IdType, NotifyType


def claimed(core: Core, sa: IkeSa, sent: wire.Identification) -> Identity:
    """Who the peer says it is; attempts and logs keep it, so that it has a length to keep to. Raises Close."""
    if len(sent.data) > MAX_IDENTITY_OCTETS:
        why = f"an identity of {len(sent.data)} octets; up to {MAX_IDENTITY_OCTETS} are allowed"
        raise core.give_up(sa, "syntax", Step.IDENTITY, NotifyType.INVALID_SYNTAX, why)
    return Identity(sent.id_type, sent.data)


def note_identities(sa: IkeSa, remote: Identity | None) -> None:
    """Write into the attempt who talks to whom, as far as that is known."""
    if sa.attempt:
        sa.attempt.local_id = str(sa.local_id) if sa.local_id else ""
        sa.attempt.remote_id = str(remote) if remote else ""


def ours(sa: IkeSa, peer: Peer, wanted: Identity | None = None) -> Identity:
    """Who we are to this peer, which may have asked for one of our addresses by name."""
    if peer.local_id is not None:
        return peer.local_id
    by_address = wanted is not None and wanted.id_type in (IdType.ID_IPV4_ADDR, IdType.ID_IPV6_ADDR)
    if wanted is not None and by_address and wanted.text == sa.path.local:
        return wanted
    return Identity.parse(sa.path.local)


def note_proof(core: Core, sa: IkeSa, text: str) -> None:
    """Each round of proof is told of where the attempt tells who is who."""
    if sa.attempt and any(taken.step is Step.IDENTITY for taken in sa.attempt.steps):
        attempt_log.add(sa.attempt, Step.IDENTITY, text)
    else:
        core.reach(sa, Step.IDENTITY, text)
