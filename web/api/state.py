"""How it is now: /status, /ike-sas, /child-sas, and what really lies in the data plane."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from gateway.ike.plane import EspState, Policy
from gateway.service.manage import NotFound
from gateway.service.outages import Outage
from gateway.service.rollout import Rollout
from gateway.service.status import ChildSaStatus, IkeSaStatus, PeerStatus, Status
from web.api.common import LIST, READ, Cursor, Limit, Number, ObjectName, Page, ReadState, page_of
from web.dependencies import current_gateway

router = APIRouter(tags=["state"])


@router.get("/status", responses=LIST)
async def get_status(request: Request, _: ReadState) -> Status:
    """All of it at one moment; times are Unix seconds."""
    return current_gateway(request).status()


@router.get("/status/{name}", responses=READ)
async def get_peer_status(request: Request, _: ReadState, name: ObjectName) -> PeerStatus:
    """One peer: its state in a word, why, and what to do."""
    found = current_gateway(request).observer.peer_named(name)
    if found is None:
        raise NotFound("peer", name)
    return found


@router.get("/ike-sas", responses=LIST)
async def list_ike_sas(
    request: Request, _: ReadState, limit: Limit = 100, cursor: Cursor = None, peer: str | None = None
) -> Page[IkeSaStatus]:
    observer = current_gateway(request).observer
    numbers, following = page_of(observer.ike_sa_numbers(peer), limit, cursor, _in_order, lambda number: True)
    return Page(items=observer.numbered_ike_sas(set(numbers)), next_cursor=following)


@router.get("/ike-sas/{number}", responses=READ)
async def get_ike_sa(request: Request, _: ReadState, number: Number) -> IkeSaStatus:
    found = current_gateway(request).observer.numbered_ike_sas({number})
    if not found:
        raise NotFound("IKE SA", str(number))
    return found[0]


@router.get("/child-sas", responses=LIST)
async def list_child_sas(
    request: Request, _: ReadState, limit: Limit = 100, cursor: Cursor = None, peer: str | None = None
) -> Page[ChildSaStatus]:
    observer = current_gateway(request).observer
    numbers, following = page_of(observer.child_sa_numbers(peer), limit, cursor, _in_order, lambda number: True)
    found = sorted(observer.numbered_child_sas(set(numbers)), key=lambda child: child.id)
    return Page(items=found, next_cursor=following)


@router.get("/child-sas/{number}", responses=READ)
async def get_child_sa(request: Request, _: ReadState, number: Number) -> ChildSaStatus:
    found = current_gateway(request).observer.numbered_child_sas({number})
    if not found:
        raise NotFound("CHILD_SA", str(number))
    return found[0]


@router.get("/post-quantum", responses=LIST)
async def list_post_quantum(
    request: Request, _: ReadState, limit: Limit = 100, cursor: Cursor = None, breaks: bool | None = None
) -> Page[Rollout]:
    """What the keys of each peer rest on against quantum computers, and what is demanded of them."""
    items, following = page_of(
        current_gateway(request).rollout(),
        limit,
        cursor,
        lambda row: row.peer,
        lambda row: breaks is None or row.breaks is breaks,
    )
    return Page(items=items, next_cursor=following)


@router.get("/peers/{name}/outages", responses=READ)
async def list_outages(
    request: Request, _: ReadState, name: ObjectName, limit: Limit = 100, cursor: Cursor = None
) -> Page[Outage]:
    """When each child of a peer was down, the newest first; the last 200 of each child are kept."""
    found = current_gateway(request).outages(name)
    items, following = page_of(found, limit, cursor, lambda outage: f"{10**12 - outage.id:020}", lambda _: True)
    return Page(items=items, next_cursor=following)


def _in_order(number: int) -> str:
    return f"{number:020}"


class KernelState(BaseModel):
    """One ESP state as it lies in the data plane; its keys are not part of it."""

    spi: str
    source: str
    destination: str
    inbound: bool
    reqid: int
    encryption: str
    integrity: str | None
    esn: bool
    replay_window: int
    encapsulation: str | None


class KernelPolicy(BaseModel):
    """One policy as it lies in the data plane."""

    direction: str
    source: str
    destination: str
    tunnel_source: str
    tunnel_destination: str
    reqid: int
    spi: str | None


@router.get("/kernel/states", responses=LIST)
async def list_kernel_states(request: Request, _: ReadState) -> Page[KernelState]:
    return Page(items=[kernel_state(state) for state in current_gateway(request).kernel_states()])


@router.get("/kernel/policies", responses=LIST)
async def list_kernel_policies(request: Request, _: ReadState) -> Page[KernelPolicy]:
    return Page(items=[kernel_policy(policy) for policy in current_gateway(request).kernel_policies()])


def kernel_state(state: EspState) -> KernelState:
    """Field by field: nothing of a state is shown that is not named here."""
    ports = state.encapsulation
    return KernelState(
        spi=f"0x{state.spi:08x}",
        source=state.source,
        destination=state.destination,
        inbound=state.inbound,
        reqid=state.reqid,
        encryption=state.encr.keyword,
        integrity=state.integ.keyword if state.integ else None,
        esn=state.esn,
        replay_window=state.replay_window,
        encapsulation=f"udp {ports.source_port}-{ports.destination_port}" if ports else None,
    )


def kernel_policy(policy: Policy) -> KernelPolicy:
    return KernelPolicy(
        direction=policy.direction,
        source=policy.source.text,
        destination=policy.destination.text,
        tunnel_source=policy.tunnel_source,
        tunnel_destination=policy.tunnel_destination,
        reqid=policy.reqid,
        spi=f"0x{policy.spi:08x}" if policy.spi is not None else None,
    )
