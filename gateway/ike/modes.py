"""Tunnel and transport mode: what is asked for, what was agreed, and what a NAT does to it (RFC 7296 1.3.1, 2.23.1)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.ike.path import Nat, Path
from gateway.policy.peers import Child, Mode
from gateway.policy.selectors import ANY_PORT, Selector, narrow
from gateway.wire import payloads as wire
from gateway.wire.message import Message
from gateway.wire.numbers import NotifyType


class Agreed(NamedTuple):
    """What both ends want a CHILD_SA of `config` to carry, with the addresses as this host sees them, and how.

    `original` is (source, destination) of inbound packets as the peer sees them, where a NAT is between.
    """

    config: Child
    local: tuple[Selector, ...]
    remote: tuple[Selector, ...]
    mode: Mode = Mode.TUNNEL
    original: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        return networks_text(self.local, self.remote)


def networks_text(local: Iterable[Selector], remote: Iterable[Selector]) -> str:
    """Both sides of a CHILD_SA for people, ours first."""
    return f"{', '.join(map(str, local))} = {', '.join(map(str, remote))}"


def known(payload: wire.TSi | wire.TSr) -> list[Selector]:
    """The peer's selectors that we can understand; those of unknown types are ignored (RFC 7296 2.9)."""
    return [found for sent in payload.selectors if (found := Selector.from_wire(sent)) is not None]


def ends(config: Child, local: str, remote: str) -> tuple[list[Selector], list[Selector]]:
    """Both sides of what we ask for: in transport mode the two outer addresses alone (RFC 7296 2.23.1).

    An empty list says that the configured networks do not hold that address.
    """
    if config.mode is Mode.TUNNEL:
        return list(config.local), list(config.remote)
    return narrow(config.local, [Selector.of_address(local)]), narrow(config.remote, [Selector.of_address(remote)])


def wishes(config: Child) -> list[wire.Payload]:
    """The notifies that go with a request for this child."""
    return _notifies(config.mode, non_first_fragments=_any_port((*config.local, *config.remote)))


def answers(agreed: Agreed, request: Message, *, more: bool) -> list[wire.Payload]:
    """The notifies that go with a CHILD_SA accepted; `more` tells that others could be had beside it.

    IPCOMP_SUPPORTED is not answered: the CHILD_SA is made without compression (RFC 7296 2.22).
    """
    fragments = _any_port((*agreed.local, *agreed.remote)) and request.notify(NotifyType.NON_FIRST_FRAGMENTS_ALSO)
    found = _notifies(agreed.mode, non_first_fragments=fragments is not None and fragments is not False)
    if more:
        found.append(wire.Notify(0, b"", NotifyType.ADDITIONAL_TS_POSSIBLE, b""))
    return found


def _notifies(mode: Mode, *, non_first_fragments: bool) -> list[wire.Payload]:
    """RFC 4303 2.7: only a tunnelled packet tells its own length, so that padding behind it can be told from it.

    RFC 4301 7: a fragment without ports is carried where no port is asked for.
    """
    types = []
    if mode is Mode.TRANSPORT:
        types += [NotifyType.USE_TRANSPORT_MODE, NotifyType.ESP_TFC_PADDING_NOT_SUPPORTED]
    if non_first_fragments:
        types.append(NotifyType.NON_FIRST_FRAGMENTS_ALSO)
    return [wire.Notify(0, b"", kind, b"") for kind in types]


def _any_port(selectors: Iterable[Selector]) -> bool:
    return all((selector.start_port, selector.end_port) == ANY_PORT for selector in selectors)


def answered(config: Child, path: Path, nat: Nat, response: Message) -> Agreed:
    """What the responder agreed to, within what we asked for; a side is empty when it agreed to something else."""
    local, remote = known(response.one(wire.TSi)), known(response.one(wire.TSr))
    mode = Mode.TRANSPORT if response.notify(NotifyType.USE_TRANSPORT_MODE) else Mode.TUNNEL
    original = None
    if mode is Mode.TRANSPORT:
        original = _original(nat, local, remote)
        local, remote = _as_seen_here(path, nat, local, remote)
    here, there = ends(config, path.local, path.remote)
    return Agreed(config, *paired(narrow(here, local), narrow(there, remote)), mode, original)


class Wish(NamedTuple):
    """What the peer asks for, our side first, in the order of its preference."""

    local: list[Selector]
    remote: list[Selector]
    mode: Mode = Mode.TUNNEL
    original: tuple[str, str] | None = None


def asked(path: Path, nat: Nat, request: Message) -> list[Wish]:
    """What a request may mean, to be tried in this order.

    Transport mode with the addresses as we see them, if it is for the two ends; then, always, tunnel mode with the
    selectors as they were sent (RFC 7296 2.23.1).
    """
    remote, local = known(request.one(wire.TSi)), known(request.one(wire.TSr))
    tunnel = Wish(local, remote)
    if not request.notify(NotifyType.USE_TRANSPORT_MODE):
        return [tunnel]
    here, there = _as_seen_here(path, nat, local, remote)
    if _one_address(here) != path.local or _one_address(there) != path.remote:
        return [tunnel]
    return [Wish(here, there, Mode.TRANSPORT, _original(nat, local, remote)), tunnel]


def _as_seen_here(
    path: Path, nat: Nat, local: list[Selector], remote: list[Selector]
) -> tuple[list[Selector], list[Selector]]:
    """Put the addresses of the IKE SA in place of those that mean something on the far side of a NAT alone."""
    if nat.here and _one_address(local) is not None:
        local = _at(path.local, local)
    if nat.there and _one_address(remote) is not None:
        remote = _at(path.remote, remote)
    return local, remote


def _original(nat: Nat, local: list[Selector], remote: list[Selector]) -> tuple[str, str] | None:
    source, destination = _one_address(remote), _one_address(local)
    return (source, destination) if nat.found and source is not None and destination is not None else None


def _at(address: str, selectors: Sequence[Selector]) -> list[Selector]:
    there = Selector.of_address(address)
    return [
        there._replace(protocol=one.protocol, start_port=one.start_port, end_port=one.end_port) for one in selectors
    ]


def _one_address(selectors: Sequence[Selector]) -> str | None:
    """RFC 7296 2.23.1: in transport mode all selectors of a side have exactly one address, the same."""
    found = {(one.version, one.start, one.end) for one in selectors}
    if len(found) != 1 or selectors[0].start != selectors[0].end:
        return None
    return selectors[0].networks()[0].partition("/")[0]


def paired(local: Sequence[Selector], remote: Sequence[Selector]) -> tuple[tuple[Selector, ...], tuple[Selector, ...]]:
    """Both sides without the selectors that no packet can match, for want of one of the same IP version and protocol.

    The product of the two sides is what the data plane has to hold: beyond MOST_PAIRS the last ones are left out, as a
    responder may (RFC 7296 2.9).
    """
    if len(local) == len(remote) == 1:
        return (tuple(local), tuple(remote)) if fits(local[0], remote[0]) else ((), ())
    while len(local) * len(remote) > MOST_PAIRS:
        local, remote = (local[:-1], remote) if len(local) >= len(remote) else (local, remote[:-1])
    return (
        tuple(one for one in local if any(fits(one, other) for other in remote)),
        tuple(one for one in remote if any(fits(one, other) for other in local)),
    )


MOST_PAIRS = 4096
"""The two ends' lists can be long; each pair is three policies."""


def fits(local: Selector, remote: Selector) -> bool:
    """Whether one packet can be from the one to the other."""
    if local.version != remote.version:
        return False
    return not local.protocol or not remote.protocol or local.protocol == remote.protocol
