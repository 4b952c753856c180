"""INFORMATIONAL: deletes and liveness (RFC 7296 1.4, 2.4)."""

from gateway.ike import auth_lifetime, reasons, redirects
from gateway.ike.authentication import refused
from gateway.ike.children import remove, same_traffic, step_aside
from gateway.ike.core import Core
from gateway.ike.driver import start
from gateway.ike.exchanges.crash_detection import hear_protected
from gateway.ike.exchanges.errors import error_in
from gateway.ike.exchanges.mobike import compare_mapping, hashes_for_liveness
from gateway.ike.exchanges.resume import grant
from gateway.ike.flow import ask_peer
from gateway.ike.lifecycle import close
from gateway.ike.sa import ChildSa, IkeSa, Lifecycle, Task
from gateway.ike.succession import adopt
from gateway.ike.virtual_addresses import give_back, let_go
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import ExchangeType, NotifyType, Protocol, name_of


async def delete_child(core: Core, sa: IkeSa, child: ChildSa, why: str, *, replaced: bool = False) -> None:
    """Close one CHILD_SA on both ends, and what took its place; `replaced` leaves that, and says nothing of the end.

    --> HDR, SK {D(ESP, our inbound SPI)}
    <-- HDR, SK {D(ESP, its inbound SPI)}
    """
    one: ChildSa | None = child
    while one is not None:
        if sa.children.get(one.spi_in) is one and not one.deleting:
            one.deleting = True
            step_aside(core, one)
            spi = one.inbound.spi.to_bytes(4)
            await ask_peer(ExchangeType.INFORMATIONAL, [wire.Delete(Protocol.ESP, [spi])])
            _end(core, sa, one, why, quiet=replaced)
        one = None if replaced else one.successor


def _end(core: Core, sa: IkeSa, child: ChildSa, why: str, *, quiet: bool) -> None:
    """Both ends know that the CHILD_SA ends; whoever wants it up hears of it unless another carries its traffic."""
    if child.gone:
        return
    remove(core, sa, child, why, quiet=quiet)
    stands = child.superseded or any(same_traffic(other, child) for other in sa.children.values())
    if sa.peer and not stands:
        core.children_lost.append((sa.peer.name, child.name))


def delete_spi(core: Core, sa: IkeSa, spi: int) -> None:
    """Tell the peer, when our turn comes, that a CHILD_SA it believes in never came to life here."""

    async def tell(_: IkeSa) -> None:
        await ask_peer(ExchangeType.INFORMATIONAL, [wire.Delete(Protocol.ESP, [spi.to_bytes(4)])])

    sa.tasks.append(Task("deleting a CHILD_SA", tell))


async def _delete_sa(core: Core, sa: IkeSa, why: str, tries: int = 0) -> None:
    """--> HDR, SK {D(IKE)}   <-- HDR, SK {}"""
    try:
        await ask_peer(ExchangeType.INFORMATIONAL, [wire.Delete(Protocol.IKE, [])], tries=tries)
    except Exception:  # no answer, or none that makes sense: over either way
        close(core, sa, why, "stopped")
        raise
    close(core, sa, why, "stopped")


def delete_sa(core: Core, sa: IkeSa, why: str) -> None:
    """End an IKE SA: its children carry nothing from now on, the peer is told, whatever else waited is dropped.

    One that the peer rekeys the peer deletes, once it has our answer. Our own delete could come before that answer: the
    peer would forget its rekey (RFC 7296 2.25.2), and never answer the delete of the SA that takes this one's place.
    """
    if sa.state in (Lifecycle.CLOSED, Lifecycle.DELETING):
        return
    if sa.replaced_by is not None and sa.replaced_by.requests.silent == sa.our_spi:
        return
    if sa.protection is None or sa.state == Lifecycle.CONNECTING:
        close(core, sa, why, "stopped")
        return
    sa.state = Lifecycle.DELETING
    if sa.renewal is not None and (rival := sa.renewal.rival):
        delete_sa(core, rival, why)
    for timer in ("liveness", "rekey"):
        core.timers.cancel((timer, sa))
    for child in list(sa.children.values()):
        remove(core, sa, child, why)
    let_go(core, sa)
    give_back(core, sa)
    sa.tasks.clear()
    start(core, sa, Task("deleting the IKE SA", lambda sa: _delete_sa(core, sa, why)))


def end_replaced(core: Core, sa: IkeSa) -> None:
    """An IKE SA that another one replaced has lived on long enough, and its peer did not delete it.

    libreswan forgets it when two rekeys of an IKE SA crossed; what it keeps it would rekey hours later. Who does not
    know the SA any more does not answer, and is asked but twice.
    """
    if sa.state != Lifecycle.REKEYED or sa.requests.busy:
        close(core, sa, "rekeyed", "replaced")
        return
    sa.state = Lifecycle.DELETING
    sa.tasks.clear()
    start(core, sa, Task("deleting a replaced IKE SA", lambda sa: _delete_sa(core, sa, "rekeyed", tries=2)))


async def liveness(core: Core, sa: IkeSa, spi: int = 0) -> None:
    """Is the peer still there? With `spi`: and does it know that its ESP finds nobody here (RFC 7296 2.21.4)?

    --> HDR, SK {[N(INVALID_SPI),] [N(NAT_DETECTION_*)]}   <-- HDR, SK {[N(NAT_DETECTION_*)]}
    """
    told: list[wire.Payload] = [wire.Notify(0, b"", NotifyType.INVALID_SPI, spi.to_bytes(4))] if spi else []
    response = await ask_peer(ExchangeType.INFORMATIONAL, told + hashes_for_liveness(core, sa))
    compare_mapping(core, sa, response)


def farewell(core: Core, sa: IkeSa, notify: int) -> None:
    """RFC 7296 2.21.2: an initiator that does not believe the responder says so once, and waits for no answer.

    The delete is for who passes over the error (libreswan), and would go on sending into an SA that is none.
    """
    assert sa.protection is not None
    message = Message(sa.spi_i, sa.spi_r, ExchangeType.INFORMATIONAL, sa.initiator, False, sa.requests.next_id, [])
    payloads = [wire.Notify(0, b"", notify, b""), wire.Delete(Protocol.IKE, [])]
    core.send(sa.protection.seal(message, payloads), sa.path, sa.dscp)


def answer_informational(core: Core, sa: IkeSa, request: Message) -> list[wire.Payload]:
    """Deletes, errors, or nothing at all: always answered."""
    if request.notify(NotifyType.AUTHENTICATION_FAILED):  # the initiator does not believe us (RFC 7296 2.21.2)
        sa.reason, sa.state = refused.told_late(core, sa), Lifecycle.DELETING
        return []
    hear_protected(core, sa, request)
    if sa.state == Lifecycle.ESTABLISHED and request.notify(NotifyType.AUTH_LIFETIME):
        auth_lifetime.heed(core, sa, request)
    if sa.state == Lifecycle.ESTABLISHED and (elsewhere := redirects.target(core, sa, request)):
        core.extensions.sent_on.append((sa, elsewhere, tuple(child.name for child in sa.children.values())))
    response: list[wire.Payload] = grant(core, sa, request)
    ours: list[bytes] = []
    for delete in request.all(wire.Delete):
        if delete.protocol == Protocol.IKE:
            adopt(core, sa)  # RFC 7296 2.8.2: the peer finished its rekey and knows nothing of ours
            sa.reason = _reason(request) or reasons.DELETED
            sa.state = Lifecycle.DELETING  # closed when the answer is on its way
            return []
        for octets in delete.spis if delete.protocol == Protocol.ESP else ():
            # what the peer sent before it heard of the new IKE SA is about the children that moved there
            holder = sa.replaced_by or sa
            child = holder.child_by_spi_out(int.from_bytes(octets)) if len(octets) == 4 else None
            if child is None:
                continue
            if not child.deleting:  # RFC 7296 1.4.1, 2.25.1: of two deletes that cross, neither names the other half
                ours.append(child.inbound.spi.to_bytes(4))
            quiet = child.superseded or any(
                other is not child and same_traffic(other, child) for other in holder.children.values()
            )
            _end(core, holder, child, reasons.DELETED, quiet=quiet)
    if ours:
        response.append(wire.Delete(Protocol.ESP, ours))
    return response


def _reason(request: Message) -> str:
    error = error_in(request)
    return f"the peer ended it with {name_of(NotifyType, error.type)}" if error else ""
