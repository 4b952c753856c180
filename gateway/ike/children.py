"""CHILD_SAs: offering, narrowing, keying, and what the data plane is told (RFC 7296 2.9, 2.17)."""

from collections.abc import Sequence

from gateway.crypto.keys import child_keys
from gateway.ike import claims
from gateway.ike.core import Core
from gateway.ike.effects import KeysMade
from gateway.ike.following import Shared
from gateway.ike.limits import limits_of
from gateway.ike.modes import Agreed, fits
from gateway.ike.plane import (
    Action,
    AddPolicy,
    AddRoute,
    AddState,
    Direction,
    Encapsulation,
    EspState,
    Order,
    Policy,
    Refused,
    RemoveRoute,
    RemoveState,
    Route,
    StateKey,
)
from gateway.ike.sa import ChildSa, IkeSa
from gateway.policy.choice import Chosen
from gateway.policy.peers import Child, Mode, Start
from gateway.policy.selectors import Selector
from gateway.wire import payloads as wire
from gateway.wire.numbers import TsType

_SHOWN_SELECTORS = 16
EARLY = 0.9
"""From this part of its lifetime on an SA is rekeyed, at a moment that chance chooses."""
LINGER = 6.0
"""Seconds that the states of a replaced CHILD_SA stay: longer than a packet lives, and than it takes to count it."""
_DEFER = 2.0
"""Seconds until a responder sends on a CHILD_SA that is beside another for the same packets (RFC 7296 2.8)."""
TWINS = 30.0
"""Seconds after which two CHILD_SAs for the same packets are one too many: by then their makers have had their turn."""


def wire_selectors(wanted: Sequence[Selector]) -> list[wire.TrafficSelector]:
    return [selector.to_wire() for selector in wanted]


EVERYTHING = Selector.parse("0.0.0.0/0"), Selector.parse("::/0")
ANY = frozenset(EVERYTHING)


def selector_texts(payload: wire.TSi | wire.TSr) -> str:
    """The peer's selectors for people, including those of unknown types; of very many only the first."""
    texts = []
    for sent in payload.selectors[:_SHOWN_SELECTORS]:
        known = Selector.from_wire(sent)
        texts.append(
            known.text if known else f"type {TsType(sent.ts_type).name if sent.ts_type in (7, 8) else sent.ts_type}"
        )
    if (more := len(payload.selectors) - len(texts)) > 0:
        texts.append(f"and {more} more")
    return ", ".join(texts)


def make_states(
    core: Core,
    sa: IkeSa,
    agreed: Agreed,
    chosen: Chosen,
    spi_in: int,
    nonces: tuple[bytes, bytes],
    shared: Shared,
    *,
    initiator: bool,
) -> tuple[EspState, EspState]:
    """Derive the keys and lay out the inbound and outbound state; `initiator` of the exchange that makes them."""
    assert sa.chosen is not None and sa.chosen.prf is not None and sa.keys is not None and sa.peer is not None
    keys = child_keys(sa.chosen.prf, sa.keys.d, *nonces, chosen.encr, chosen.integ, *shared)
    to_responder, to_initiator = (keys.encr_i, keys.integ_i), (keys.encr_r, keys.integ_r)
    inward, outward = (to_initiator, to_responder) if initiator else (to_responder, to_initiator)
    config = agreed.config
    reqid = core.reqid(sa.peer.name, config.name, sa.lessee)
    here, there = (sa.path.local, core.nat_port), (sa.path.remote, sa.path.port)
    one_pair = agreed.mode is Mode.TRANSPORT and len(agreed.local) == len(agreed.remote) == 1

    def state(spi: int, source: tuple[str, int], destination: tuple[str, int], key: tuple[bytes, bytes]) -> EspState:
        inbound = source is there
        ours, theirs = agreed.local[0], agreed.remote[0]
        return EspState(
            spi,
            source[0],
            destination[0],
            inbound=inbound,
            reqid=reqid,
            encr=chosen.encr,
            encr_key=key[0],
            integ=chosen.integ,
            integ_key=key[1],
            esn=chosen.esn,
            replay_window=config.replay_window,
            encapsulation=Encapsulation(source[1], destination[1]) if sa.encapsulate else None,
            mode=agreed.mode,
            limits=limits_of(core, config),
            interface_id=config.interface_id,
            mark=config.mark,
            original=agreed.original if inbound else None,
            selectors=((theirs, ours) if inbound else (ours, theirs)) if one_pair else None,
            copy_dscp=config.copy_dscp,
            copy_df=config.copy_df,
            offload=config.offload,
            mss=config.mss,
        )

    return state(spi_in, there, here, inward), state(int.from_bytes(chosen.spi), here, there, outward)


def make_policies(
    config: Child,
    local: Sequence[Selector],
    remote: Sequence[Selector],
    here: str,
    there: str,
    reqid: int,
    spi_out: int | None,
) -> list[Policy]:
    """Out, in and forward for every pair of selectors of one IP version and agreeing protocols.

    What transport mode protects is never forwarded.
    """
    found = []
    inward = (Direction.IN,) if config.mode is Mode.TRANSPORT else (Direction.IN, Direction.FORWARD)
    protect, mode, number, mark = Action.PROTECT, config.mode, config.interface_id, config.mark
    for ours in local:
        for theirs in remote:
            if not fits(ours, theirs):
                continue
            outer = here, there, reqid
            found.append(Policy(Direction.OUT, ours, theirs, *outer, spi_out, protect, mode, None, number, mark))
            if spi_out is not None:
                outer = there, here, reqid
                found += [Policy(way, theirs, ours, *outer, None, protect, mode, None, number, mark) for way in inward]
    return found


def install(
    core: Core,
    sa: IkeSa,
    agreed: Agreed,
    chosen: Chosen,
    states: tuple[EspState, EspState],
    replacing: ChildSa | None = None,
    *,
    nonces: tuple[bytes, bytes],
    take: bool,
) -> ChildSa:
    """Put the CHILD_SA into the data plane and the books, all or none. Raises Refused.

    With `take` it sends from now on; without, one that has the same policies goes on sending (RFC 7296 2.8: until the
    peer is known to receive on this one).
    """
    inbound, outbound = states
    config, local, remote = agreed.config, agreed.local, agreed.remote
    policies = make_policies(config, local, remote, sa.path.local, sa.path.remote, inbound.reqid, outbound.spi)
    routes = make_routes(config, local, remote, sa.path.remote)
    orders: list[Order] = [AddState(inbound), AddState(outbound)]
    orders += claims.wanted(core, policies, take=take)
    orders += [AddRoute(route) for route in routes]
    core.plane.apply(orders)
    child = ChildSa(
        core.number("child-sa"),
        config.name,
        config,
        chosen,
        inbound,
        outbound,
        local,
        remote,
        tuple(policies),
        routes,
        core.now,
    )
    child.used = child.looked = child.aged = core.now
    if replacing:
        child.rekeys, child.used = replacing.rekeys + 1, replacing.used
    watch_idleness(core, sa.peer_name or "", child)
    child.lowest = min(nonces)
    if not claims.enter(core, child, take=take) and replacing is None:
        core.timers.set(("claim", child), core.now + _DEFER)
    _note_twins(core, sa, child, replacing)
    sa.children[child.spi_in] = child
    arm(core, sa, child)
    if core.log_keys:
        core.out.append(KeysMade(sa.spi_i, sa.spi_r, "", "", states=states))
    _tell_installed(core, sa, child, agreed.text)
    return child


def _note_twins(core: Core, sa: IkeSa, child: ChildSa, replacing: ChildSa | None) -> None:
    """Another for the same traffic, beside the one that it replaces, is one too many."""
    if twins := _twins(sa, child):
        watch_twins(core, sa, child.name, core.now + TWINS)
    if any(other is not replacing and not other.superseded for other in twins):
        child.doubled = (replacing.doubled if replacing else 0.0) or core.now


def _tell_installed(core: Core, sa: IkeSa, child: ChildSa, networks: str) -> None:
    name = sa.peer_name or ""
    core.event(
        "child-sa.installed",
        f"CHILD_SA {name}/{child.name} installed: {networks} ({child.chosen.keywords})",
        name,
        child=child.name,
        child_sa=child.id,
        ike_sa=sa.id,
        initiator=sa.initiator,
    )


def arm(core: Core, sa: IkeSa, child: ChildSa) -> None:
    """Rekey the CHILD_SA in time."""
    key, lifetime = ("rekey-child", sa, child.spi_in), child.config.rekey_time
    if lifetime:
        core.timers.set(key, child.aged + lifetime * (EARLY + (1 - EARLY) * core.chance()))
    else:
        core.timers.cancel(key)


def make_routes(
    config: Child, local: tuple[Selector, ...], remote: Sequence[Selector], there: str
) -> tuple[Route, ...]:
    """Towards the address ranges, whatever the protocol and ports; what transport mode protects has its way already.

    Into an XFRM interface goes what is routed there: where a child takes all there is, that is for others to say.
    """
    if config.mode is Mode.TRANSPORT:
        return ()
    ranges = dict.fromkeys(Selector(selector.version, selector.start, selector.end) for selector in remote)
    return tuple(
        Route(one, local, there, config.interface_name) for one in ranges if not (config.interface_id and one in ANY)
    )


def watch_idleness(core: Core, name: str, child: ChildSa) -> None:
    """Look again in a quarter of the idle timeout; what is wanted always is never idle."""
    if child.config.idle_timeout and child.config.start != Start.ALWAYS:
        core.timers.set(("idle", name, child), core.now + child.config.idle_timeout / 4)


def remove(core: Core, sa: IkeSa, child: ChildSa, why: str, *, quiet: bool = False) -> None:
    """Take the CHILD_SA out of the data plane and the books; policies that another one wants stay.

    Where others carry all that it carried, its states linger for what is still under way to them.
    """
    if child.gone:
        return
    sa.children.pop(child.spi_in, None)
    child.gone = True
    core.timers.cancel(("rekey-child", sa, child.spi_in))
    core.timers.cancel(("idle", sa.peer_name or "", child))
    core.timers.cancel(("claim", child))
    orders, handed, covered = claims.release(core, child)
    for heir, additions in handed.items():
        _hand_over(core, heir, additions)
    orders += [RemoveRoute(route) for route in child.routes]
    if covered:
        core.ownership.lingering[child.inbound.key] = sa.peer_name or "", child
        core.timers.set(("linger", child), core.now + LINGER)
    else:
        orders += _removals(child)
        # nothing carries this traffic any more: what lingers of it goes as well
        lingering = [older for _, older in core.ownership.lingering.values()]
        for older in [older for older in lingering if older.inbound.reqid == child.inbound.reqid]:
            core.timers.cancel(("linger", older))
            end_linger(core, older)
    _take_away(core, child, orders)
    if not quiet:
        core.event(
            "child-sa.closed",
            f"CHILD_SA {sa.peer_name}/{child.name} closed: {why}",
            sa.peer_name,
            child=child.name,
            child_sa=child.id,
            ike_sa=sa.id,
            why=why,
        )


def _removals(child: ChildSa) -> list[Order]:
    return [RemoveState(child.inbound.key, inbound=True), RemoveState(child.outbound.key, inbound=False)]


def _take_away(core: Core, child: ChildSa, orders: list[Order]) -> None:
    try:
        core.plane.apply(orders)
    except Refused as refused:
        core.event("data-plane.refused", f"could not remove CHILD_SA {child.name}: {refused.why}")
        # a policy without its state lets nothing through: that is what it may do until something else replaces it
        core.plane.apply([order for order in orders if isinstance(order, RemoveRoute | RemoveState)])


def _hand_over(core: Core, heir: ChildSa, additions: list[Order]) -> None:
    """Let the heir's policies take the place of those that lie there; where that is refused, again a little later."""
    try:
        core.plane.apply(additions)
    except Refused as refused:
        core.event("data-plane.refused", f"could not move traffic to CHILD_SA {heir.name}: {refused.why}")
        core.timers.set(("claim", heir), core.now + _DEFER)


def claim(core: Core, child: ChildSa) -> None:
    """The child sends from now on, unless it is on its way out itself: then it only keeps what it has."""
    if child.gone:
        return
    leaving = child.deleting or child.superseded
    policies = claims.owned(core, child) if leaving else child.policies
    if not leaving:
        claims.enter(core, child, take=True)
    _hand_over(core, child, [AddPolicy(policy) for policy in policies])


def step_aside(core: Core, child: ChildSa) -> None:
    """Whoever is to come after the child sends from now on: the peer is about to hear that this one ends."""
    heir = claims.heir(core, child)
    if heir is not None:
        claim(core, heir)


def end_linger(core: Core, child: ChildSa) -> None:
    """What was under way to a replaced CHILD_SA has arrived by now."""
    core.ownership.lingering.pop(child.inbound.key, None)
    _take_away(core, child, _removals(child))


def same_traffic(one: ChildSa, other: ChildSa) -> bool:
    """Whether two CHILD_SAs are for the same packets of the same configured child."""
    return one.name == other.name and set(one.local) == set(other.local) and set(one.remote) == set(other.remote)


def _twins(sa: IkeSa, child: ChildSa) -> list[ChildSa]:
    """Others of this IKE SA for the same packets."""
    return [other for other in sa.children.values() if other is not child and same_traffic(other, child)]


def watch_twins(core: Core, sa: IkeSa, name: str, due: float) -> None:
    """See to it then, or earlier where others are due, that of CHILD_SAs for the same packets one stays."""
    before = core.timers.when(("twins", sa, name))
    core.timers.set(("twins", sa, name), due if before is None else min(before, due))


def give_back_spi(core: Core, held: StateKey) -> None:
    """An allocated SPI whose negotiation came to nothing, or led to a state at another address of ours."""
    core.plane.apply([RemoveState(held, inbound=True)])


def allocate_spi(core: Core, sa: IkeSa) -> StateKey:
    """An inbound SPI from the data plane, held at the address that we have now. Raises Refused."""
    return StateKey(sa.path.local, core.plane.allocate_spi(sa.path.remote, sa.path.local))
