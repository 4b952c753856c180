"""Policies as XFRM messages, and back."""

from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from gateway.dataplane.netlink import Request, attribute, attributes
from gateway.dataplane.xfrm import (
    XFRM_MSG_DELPOLICY,
    XFRM_MSG_GETPOLICY,
    XFRM_MSG_NEWPOLICY,
    XFRM_MSG_UPDPOLICY,
    XFRM_POLICY_ALLOW,
    XFRM_POLICY_BLOCK,
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
    XFRMA_IF_ID,
    XFRMA_MARK,
    XFRMA_TMPL,
)
from gateway.dataplane.xfrm_messages import MODES, Tag, lifetime_of, outer
from gateway.dataplane.xfrm_selectors import LOWEST_PRIORITY, KernelSelector
from gateway.dataplane.xfrm_structs import XfrmId, XfrmUserpolicyId, XfrmUserpolicyInfo, XfrmUserTmpl
from gateway.ike.plane import Action, Direction, Policy, Refused
from gateway.policy.peers import Mark, Mode

DIRECTIONS = {
    Direction.IN: XFRM_POLICY_IN,
    Direction.OUT: XFRM_POLICY_OUT,
    Direction.FORWARD: XFRM_POLICY_FWD,
}
HIGHEST_SHUNT = 20_000
"""The largest `priority` that a policy may have: the kernel's number has 32 bits, and narrowness needs its share."""

_BYPASS_PRIORITY = 1  # before every shunt and every child
_FIRST_SHUNT = 2
_FIRST_CHILD = _FIRST_SHUNT + (HIGHEST_SHUNT + 1) * LOWEST_PRIORITY
_mark = Struct("=II")
_u32 = Struct("=I")


class Spot(NamedTuple):
    """What names a policy in the kernel, whoever put it there."""

    direction: int
    selector: bytes
    interface_id: int = 0
    mark: Mark | None = None


def policies_dump() -> Request:
    return XFRM_MSG_GETPOLICY, 0, b""


def priority_of(policy: Policy, selector: KernelSelector) -> int:
    """The kernel's priority: shunts by their own first, all else by what is narrower. Raises Refused."""
    if policy.priority is None:
        return _FIRST_CHILD + selector.priority
    if not 0 <= policy.priority <= HIGHEST_SHUNT:
        raise Refused(f"a policy's priority is 0 to {HIGHEST_SHUNT} in the kernel, not {policy.priority}")
    return _FIRST_SHUNT + policy.priority * LOWEST_PRIORITY + selector.priority


@lru_cache(maxsize=256)  # IN and FORWARD have the same
def _template(source: str, destination: str, reqid: int, spi: int, mode: Mode) -> bytes:
    family, saddr, daddr = outer(source, destination)
    ident = XfrmId(daddr, spi).pack()
    return attribute(XFRMA_TMPL, XfrmUserTmpl(ident, family, saddr, reqid, MODES[mode]).pack())


def _qualities(interface_id: int, mark: Mark | None) -> bytes:
    """The attributes that are part of a policy's name."""
    parts = attribute(XFRMA_IF_ID, _u32.pack(interface_id)) if interface_id else b""
    return parts + attribute(XFRMA_MARK, _mark.pack(*mark)) if mark else parts


def policy_request(policy: Policy, selector: KernelSelector, tag: Tag, *, replace: bool) -> Request:
    """Add one kernel policy, or put it in the place of ours with the same selector. Raises Refused."""
    info = XfrmUserpolicyInfo(
        sel=selector.packed,
        lft=lifetime_of(tag),
        priority=priority_of(policy, selector),
        dir=DIRECTIONS[policy.direction],
        action=XFRM_POLICY_BLOCK if policy.action is Action.DROP else XFRM_POLICY_ALLOW,
    )
    body = info.pack()
    if policy.action is Action.PROTECT:
        body += _template(policy.tunnel_source, policy.tunnel_destination, policy.reqid, policy.spi or 0, policy.mode)
    if policy.interface_id or policy.mark:
        body += _qualities(policy.interface_id, policy.mark)
    return XFRM_MSG_UPDPOLICY if replace else XFRM_MSG_NEWPOLICY, 0, body


def bypass_request(direction: int, selector: KernelSelector, tag: Tag, *, replace: bool = False) -> Request:
    """Add a policy that lets packets pass as they are, whatever others say; or put it in the place of ours."""
    info = XfrmUserpolicyInfo(selector.packed, lifetime_of(tag), priority=_BYPASS_PRIORITY, dir=direction)
    return XFRM_MSG_UPDPOLICY if replace else XFRM_MSG_NEWPOLICY, 0, info.pack()


def policy_removal(spot: Spot) -> Request:
    body = XfrmUserpolicyId(spot.selector, 0, spot.direction).pack()
    if spot.interface_id or spot.mark:
        body += _qualities(spot.interface_id, spot.mark)
    return XFRM_MSG_DELPOLICY, 0, body


class ReadPolicy(NamedTuple):
    """A kernel policy as it was read: its name, its lifetime, what it does, and its first template, if any."""

    spot: Spot
    lifetime: bytes
    action: int
    template: bytes
    priority: int

    @property
    def shut(self) -> Request:
        """Put in its place what drops the packets that it protects; one that protects none stays as it is."""
        info = XfrmUserpolicyInfo(
            sel=self.spot.selector,
            lft=self.lifetime,
            priority=self.priority,
            dir=self.spot.direction,
            action=XFRM_POLICY_BLOCK if self.template else self.action,
        )
        return XFRM_MSG_UPDPOLICY, 0, info.pack() + _qualities(self.spot.interface_id, self.spot.mark)

    def carries_out(self, policy: Policy) -> bool:
        """Whether it does with the packets what `policy` wants."""
        if self.action != (XFRM_POLICY_BLOCK if policy.action is Action.DROP else XFRM_POLICY_ALLOW):
            return False
        if policy.action is not Action.PROTECT:
            return not self.template
        _, saddr, daddr = outer(policy.tunnel_source, policy.tunnel_destination)
        if len(self.template) < XfrmUserTmpl.LAYOUT.size:
            return False
        template = XfrmUserTmpl.unpack_from(self.template)
        wanted = (XfrmId(daddr, policy.spi or 0).pack(), saddr, policy.reqid, MODES[policy.mode])
        return (template.id, template.saddr, template.reqid, template.mode) == wanted


def read_policy(body: bytes) -> ReadPolicy:
    info = XfrmUserpolicyInfo.unpack_from(body)
    found = dict(attributes(body, XfrmUserpolicyInfo.LAYOUT.size, len(body)))
    spot = spot_of(info, found)
    return ReadPolicy(spot, info.lft, info.action, found.get(XFRMA_TMPL, b""), info.priority)


def spot_of(info: XfrmUserpolicyInfo, found: dict[int, bytes]) -> Spot:
    """The name of a policy that the kernel shows, by its struct and its attributes."""
    return spot_named(info.dir, info.sel, found)


def spot_named(direction: int, selector: bytes, found: dict[int, bytes]) -> Spot:
    """The name of a policy by its direction, its packed selector, and the attributes of the message about it."""
    interface_id, mark = found.get(XFRMA_IF_ID, b""), found.get(XFRMA_MARK, b"")
    return Spot(
        direction,
        selector,
        _u32.unpack(interface_id)[0] if len(interface_id) == _u32.size else 0,
        Mark(*_mark.unpack(mark)) if len(mark) == _mark.size and any(mark) else None,
    )
