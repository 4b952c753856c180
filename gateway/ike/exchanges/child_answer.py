"""CHILD_SAs as responder: in IKE_AUTH, and further and rekeyed ones by CREATE_CHILD_SA (RFC 7296 1.3, 2.9, 2.17)."""

from gateway.crypto import groups
from gateway.ike import attempt_log
from gateway.ike.attempts import Step
from gateway.ike.children import (
    allocate_spi,
    give_back_spi,
    install,
    make_states,
    wire_selectors,
)
from gateway.ike.core import Core
from gateway.ike.exchanges import collisions
from gateway.ike.exchanges.child import Nonces, installed
from gateway.ike.exchanges.followup import expect_more
from gateway.ike.following import Shared
from gateway.ike.interfaces import need_interface
from gateway.ike.modes import answers
from gateway.ike.narrowing import Found, choose_child
from gateway.ike.nonces import NONCE_OCTETS, check_nonce
from gateway.ike.plane import Refused, StateKey
from gateway.ike.sa import ChildSa, IkeSa
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType
from gateway.wire.outcome import Reject


def answer_create_child(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload] | None:
    """A further or a rekeyed CHILD_SA, as responder; None waits for the end of a rekey of ours."""
    if collisions.crosses_ours(sa, request) and collisions.waits(core, sa):
        return None
    attempt = core.begin_attempt(sa, initiator=False)
    before, sa.attempt = sa.attempt, attempt
    try:
        nonce = check_nonce(request.one(wire.Nonce).data)
        collisions.refuse_while_leaving(sa)
        collisions.refuse_child_while_rekeying(sa)
        return _answer_with_keys(core, sa, request, nonce, collisions.replaced_by_request(sa, request))
    except Reject as reject:
        attempt_log.fail(attempt, core.now, "refused", reject.why, Step.NETWORKS, reject.notify)
        raise
    finally:
        sa.attempt = before


def _answer_with_keys(
    core: Core, sa: IkeSa, request: Message, nonce: bytes, replacing: ChildSa | None
) -> list[wire.Payload]:
    ke = request.maybe(wire.KE)
    ours = core.random(NONCE_OCTETS)
    found = choose_child(core, sa, request, with_ke=True, prefer=replacing)
    extra: list[wire.Payload] = [wire.Nonce(ours)]
    shared = b""
    if found.chosen.ke is not None:
        if ke is None or ke.method != found.chosen.ke.number:
            wanted = found.chosen.ke.number.to_bytes(2)
            raise Reject(NotifyType.INVALID_KE_PAYLOAD, f"we prefer key exchange {found.chosen.ke.keyword}", wanted)
        try:
            public, shared = groups.accept(ke.method, ke.data, core.random)
        except groups.InvalidPublic as error:
            raise core.refuse(
                sa, "syntax", Step.ALGORITHMS, NotifyType.INVALID_SYNTAX, f"invalid key exchange: {error}"
            ) from None
        extra.append(wire.KE(ke.method, public))
    if found.chosen.following:
        return _expect_more(core, sa, request, found, (nonce, ours), shared, replacing, extra)
    first, *rest = _make(core, sa, request, found, (nonce, ours), shared, replacing)
    return [first, *extra, *rest]


def _expect_more(
    core: Core,
    sa: IkeSa,
    request: Message,
    found: Found,
    nonces: Nonces,
    shared: bytes,
    replacing: ChildSa | None,
    extra: list[wire.Payload],
) -> list[wire.Payload]:
    """Answer now, and make the CHILD_SA when the last key exchange is done."""
    collisions.refuse_several_while_busy(sa)
    held, attempt = _hold(core, sa, found), sa.attempt
    assert attempt is not None

    def make(following: bytes) -> list[wire.Payload]:
        before, sa.attempt = sa.attempt, attempt
        try:
            old = replacing if replacing is not None and not replacing.gone else None
            _install(core, sa, found, held, nonces, Shared(shared, following), old)
        finally:
            sa.attempt = before
        return []

    first, *rest = _reply(request, found, held.spi)
    more = expect_more(core, sa, found.chosen.following, make, lambda: give_back_spi(core, held), attempt)
    return [first, *extra, *rest, more]


def answer(core: Core, sa: IkeSa, request: Message, nonces: Nonces) -> list[wire.Payload]:
    """The first CHILD_SA, as responder of IKE_AUTH. Raises Reject."""
    return _make(core, sa, request, choose_child(core, sa, request, with_ke=False), nonces, b"", None)


def _make(
    core: Core,
    sa: IkeSa,
    request: Message,
    found: Found,
    nonces: Nonces,
    shared: bytes,
    replacing: ChildSa | None,
) -> list[wire.Payload]:
    """Install the responder's half and answer with it: the inbound state stands before the response leaves."""
    held = _hold(core, sa, found)
    _install(core, sa, found, held, nonces, Shared(shared), replacing)
    return _reply(request, found, held.spi)


def _hold(core: Core, sa: IkeSa, found: Found) -> StateKey:
    core.reach(sa, Step.NETWORKS, found.agreed.text)
    try:
        need_interface(core, sa.peer_name or "", found.agreed.config)
        return allocate_spi(core, sa)
    except Refused as refused:
        raise core.refuse(sa, "data-plane", Step.INSTALL, NotifyType.NO_ADDITIONAL_SAS, refused.why) from None


def _install(
    core: Core, sa: IkeSa, found: Found, held: StateKey, nonces: Nonces, shared: Shared, replacing: ChildSa | None
) -> None:
    agreed, chosen = found.agreed, found.chosen
    try:
        states = make_states(core, sa, agreed, chosen, held.spi, nonces, shared, initiator=False)
        child = install(core, sa, agreed, chosen, states, replacing, nonces=nonces, take=False)
    except Refused as refused:
        give_back_spi(core, held)
        raise core.refuse(sa, "data-plane", Step.INSTALL, NotifyType.NO_ADDITIONAL_SAS, refused.why) from None
    if child.inbound.key != held:  # we moved between its key exchanges
        give_back_spi(core, held)
    child.answered = sa.id, sa.responses.expected
    if replacing is not None:
        replacing.successor = child
    installed(core, sa)


def _reply(request: Message, found: Found, spi: int) -> list[wire.Payload]:
    agreed = found.agreed
    # the request's TSi is the peer's side; it names the initiator's end in the answer too
    tsi, tsr = wire.TSi(wire_selectors(agreed.remote)), wire.TSr(wire_selectors(agreed.local))
    accepted_sa = wire.SA([found.chosen.to_wire(spi.to_bytes(4))])
    return [accepted_sa, tsi, tsr, *answers(agreed, request, more=found.more)]
