"""CHILD_SAs: offering, narrowing, keying, and what the data plane is told (RFC 7296 2.9, 2.17)."""

from collections.abc import Sequence

from gateway.crypto.keys import child_keys
from gateway.ike.core import Core
from gateway.ike.effects import KeysMade
from gateway.ike.plane import (
    AddPolicy,
    AddRoute,
    AddState,
    Direction,
    Encapsulation,
    EspState,
    Order,
    Policy,
    Refused,
    RemovePolicy,
    RemoveRoute,
    RemoveState,
    Route,
    StateKey,
)
from gateway.ike.sa import ChildSa, IkeSa
from gateway.policy.peers import Child
from gateway.policy.proposals import Chosen
from gateway.policy.selectors import Selector
from gateway.wire import payloads as wire
from gateway.wire.numbers import TsType


def selectors(payload: wire.TSi | wire.TSr) -> list[Selector]:
    """The peer's selectors that we can understand."""
    return [known for sent in payload.selectors if (known := Selector.from_wire(sent)) is not None]


def wire_selectors(wanted: Sequence[Selector]) -> list[wire.TrafficSelector]:
    return [selector.to_wire() for selector in wanted]


def selector_texts(payload: wire.TSi | wire.TSr) -> str:
    """The peer's selectors for people, including those of unknown types."""
    texts = []
    for sent in payload.selectors:
        known = Selector.from_wire(sent)
        texts.append(
            known.text if known else f"type {TsType(sent.ts_type).name if sent.ts_type in (7, 8) else sent.ts_type}"
        )
    return ", ".join(texts)


def make_states(
    core: Core,
    sa: IkeSa,
    config: Child,
    chosen: Chosen,
    spi_in: int,
    nonces: tuple[bytes, bytes],
    shared: bytes,
    *,
    initiator: bool,
) -> tuple[EspState, EspState]:
    """Derive the keys and lay out the inbound and outbound state; `initiator` of the exchange that makes them."""
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None and sa.peer is not None
    keys = child_keys(sa.chosen.prf, sa.keys.d, *nonces, chosen.encr, chosen.integ, shared)
    to_responder, to_initiator = (keys.encr_i, keys.integ_i), (keys.encr_r, keys.integ_r)
    inward, outward = (to_initiator, to_responder) if initiator else (to_responder, to_initiator)
    reqid = core.reqid(sa.peer.name, config.name)
    ports_in = ports_out = None
    if sa.encapsulate:
        ports_in, ports_out = Encapsulation(sa.path.port, core.nat_port), Encapsulation(core.nat_port, sa.path.port)
    inbound = EspState(
        spi_in,
        sa.path.remote,
        sa.path.local,
        inbound=True,
        reqid=reqid,
        encr=chosen.encr,
        encr_key=inward[0],
        integ=chosen.integ,
        integ_key=inward[1],
        esn=chosen.esn,
        replay_window=config.replay_window,
        encapsulation=ports_in,
    )
    outbound = EspState(
        int.from_bytes(chosen.spi),
        sa.path.local,
        sa.path.remote,
        inbound=False,
        reqid=reqid,
        encr=chosen.encr,
        encr_key=outward[0],
        integ=chosen.integ,
        integ_key=outward[1],
        esn=chosen.esn,
        replay_window=config.replay_window,
        encapsulation=ports_out,
    )
    return inbound, outbound


def make_policies(
    local: Sequence[Selector], remote: Sequence[Selector], here: str, there: str, reqid: int, spi_out: int | None
) -> list[Policy]:
    """Out, in and forward for every pair of selectors of one IP version and agreeing protocols."""
    found = []
    for ours in local:
        for theirs in remote:
            if ours.version != theirs.version or (
                ours.protocol and theirs.protocol and ours.protocol != theirs.protocol
            ):
                continue
            found.append(Policy(Direction.OUT, ours, theirs, here, there, reqid, spi_out))
            if spi_out is not None:
                found.append(Policy(Direction.IN, theirs, ours, there, here, reqid))
                found.append(Policy(Direction.FORWARD, theirs, ours, there, here, reqid))
    return found


def install(
    core: Core,
    sa: IkeSa,
    config: Child,
    chosen: Chosen,
    states: tuple[EspState, EspState],
    local: Sequence[Selector],
    remote: Sequence[Selector],
    replacing: ChildSa | None = None,
) -> ChildSa:
    """Put the CHILD_SA into the data plane and the books, all or none. Raises Refused."""
    inbound, outbound = states
    policies = make_policies(local, remote, sa.path.local, sa.path.remote, inbound.reqid, outbound.spi)
    routes = [Route(selector, tuple(local), sa.path.remote) for selector in _destinations(remote)]
    orders: list[Order] = [AddState(inbound), AddState(outbound)]
    orders += [AddPolicy(policy) for policy in policies]
    orders += [AddRoute(route) for route in routes]
    core.plane.apply(orders)
    child = ChildSa(
        core.number("child-sa"),
        config.name,
        config,
        chosen,
        inbound,
        outbound,
        tuple(local),
        tuple(remote),
        tuple(policies),
        tuple(routes),
        core.now,
    )
    if replacing:
        child.rekeys = replacing.rekeys + 1
    for policy in policies:
        core.policy_owners[policy.key] = (policy, child)
    sa.children[child.spi_in] = child
    if config.rekey_time:
        core.timers.set(("rekey-child", sa, child.spi_in), core.now + config.rekey_time * (0.9 + 0.1 * core.chance()))
    if core.log_keys:
        core.out.append(KeysMade(sa.spi_i, sa.spi_r, "", "", states=states))
    name = sa.peer_name or ""
    nets = f"{', '.join(s.text for s in local)} = {', '.join(s.text for s in remote)}"
    core.event(
        "child-sa.installed",
        f"CHILD_SA {name}/{config.name} installed: {nets} ({chosen.keywords})",
        name,
        child=config.name,
        child_sa=child.id,
        ike_sa=sa.id,
    )
    return child


def _destinations(remote: Sequence[Selector]) -> list[Selector]:
    """The address ranges to route, whatever the protocol and ports."""
    return list(dict.fromkeys(Selector(selector.version, selector.start, selector.end) for selector in remote))


def remove(core: Core, sa: IkeSa, child: ChildSa, why: str, *, quiet: bool = False) -> None:
    """Take the CHILD_SA out of the data plane and the books; policies that a newer one took over stay."""
    if sa.children.pop(child.spi_in, None) is None:
        return
    core.timers.cancel(("rekey-child", sa, child.spi_in))
    orders: list[Order] = []
    for policy in child.policies:
        owner = core.policy_owners.get(policy.key)
        if owner and owner[1] is child:
            del core.policy_owners[policy.key]
            orders.append(RemovePolicy(policy))
    orders += [RemoveRoute(route) for route in child.routes]
    orders += [RemoveState(child.inbound.key, inbound=True), RemoveState(child.outbound.key, inbound=False)]
    try:
        core.plane.apply(orders)
    except Refused as refused:
        core.event("data-plane.refused", f"could not remove CHILD_SA {child.name}: {refused.why}", sa.peer_name)
    if not quiet:
        core.event(
            "child-sa.closed",
            f"CHILD_SA {sa.peer_name}/{child.name} closed: {why}",
            sa.peer_name,
            child=child.name,
            child_sa=child.id,
            ike_sa=sa.id,
        )


def give_back_spi(core: Core, sa: IkeSa, spi: int) -> None:
    """An allocated SPI whose negotiation came to nothing."""
    core.plane.apply([RemoveState(StateKey(sa.path.local, spi), inbound=True)])


def allocate_spi(core: Core, sa: IkeSa) -> int:
    """An inbound SPI from the data plane. Raises Refused."""
    return core.plane.allocate_spi(sa.path.remote, sa.path.local)
