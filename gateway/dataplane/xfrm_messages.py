"""ESP states as XFRM messages, and back."""

import socket
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from gateway.dataplane.netlink import NLM_F_REPLACE, Request, attribute, attributes
from gateway.dataplane.xfrm import (
    IPPROTO_ESP,
    UDP_ENCAP_ESPINUDP,
    XFRM_INF,
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    XFRM_MSG_ALLOCSPI,
    XFRM_MSG_DELSA,
    XFRM_MSG_GETSA,
    XFRM_MSG_NEWAE,
    XFRM_MSG_NEWSA,
    XFRM_MSG_UPDSA,
    XFRM_OFFLOAD_INBOUND,
    XFRM_OFFLOAD_PACKET,
    XFRM_SA_XFLAG_DONT_ENCAP_DSCP,
    XFRM_STATE_AF_UNSPEC,
    XFRM_STATE_ESN,
    XFRM_STATE_NOPMTUDISC,
    XFRMA_ALG_AEAD,
    XFRMA_ALG_AUTH_TRUNC,
    XFRMA_ALG_CRYPT,
    XFRMA_ENCAP,
    XFRMA_IF_ID,
    XFRMA_LTIME_VAL,
    XFRMA_MTIMER_THRESH,
    XFRMA_OFFLOAD_DEV,
    XFRMA_PROTO,
    XFRMA_REPLAY_ESN_VAL,
    XFRMA_REPLAY_VAL,
    XFRMA_SA_EXTRA_FLAGS,
    XFRMA_SET_MARK,
    XFRMA_SET_MARK_MASK,
)
from gateway.dataplane.xfrm_selectors import kernel_selectors
from gateway.dataplane.xfrm_structs import (
    XfrmAeventId,
    XfrmAlgo,
    XfrmAlgoAuth,
    XfrmEncapTmpl,
    XfrmId,
    XfrmLifetimeCfg,
    XfrmReplayState,
    XfrmReplayStateEsn,
    XfrmSelector,
    XfrmUsersaId,
    XfrmUsersaInfo,
    XfrmUserspiInfo,
)
from gateway.ike.plane import NO_LIMITS, EspState, Refused
from gateway.policy.peers import Mode, Offload

LOWEST_SPI, HIGHEST_SPI = 0xC000_0000, 0xCFFF_FFFF  # where strongSwan draws its own from, too

# Without ESN a sequence number has 32 bits and must not come again (RFC 4303 3.3.3): ask for a rekey at three quarters.
SOFT_PACKETS, HARD_PACKETS = 0xC000_0000, 0xFFFF_FFFF
_LARGEST_WINDOW = 4096  # XFRMA_REPLAY_ESN_MAX
_SMALL_WINDOW = 32  # what struct xfrm_replay_state's one word holds
_MAPPING_SECONDS = 10  # the kernel tells of a moved peer at most this often, not for every packet
_SKIPPED_SEQUENCE = 4096  # more than what can leave between reading a state and its replacement

_u32 = Struct("=I")
_u64 = Struct("=Q")
_tag = Struct("=QQ")
OFFLOAD = Struct("=iB3x")  # struct xfrm_user_offload
_SOFT_USE = 48  # of soft_use_expires_seconds in struct xfrm_lifetime_cfg
_ANY_SELECTOR = XfrmSelector().pack()
_FAMILIES = {socket.AF_INET: 4, socket.AF_INET6: 16}

MODES = {Mode.TUNNEL: XFRM_MODE_TUNNEL, Mode.TRANSPORT: XFRM_MODE_TRANSPORT}


class Place(NamedTuple):
    """Where an ESP state lies: family, destination (as xfrm_address_t) and SPI."""

    family: int
    daddr: bytes
    spi: int


class Tag(NamedTuple):
    """Marks in a lifetime that say whose a state or policy is: byte limits that no traffic ever reaches, or an age.

    The kernel keeps the numbers and gives them back, and nothing else has a field for an owner.
    """

    soft_byte_limit: int
    hard_byte_limit: int
    soft_use_expires_seconds: int = 0

    def marks(self, lifetime: bytes) -> bool:
        """Whether a struct xfrm_lifetime_cfg bears it."""
        return (
            _tag.unpack_from(lifetime) == self[:2]
            or 0 < self.soft_use_expires_seconds == _u64.unpack_from(lifetime, _SOFT_USE)[0]
        )


@lru_cache(maxsize=64)
def lifetime_of(tag: Tag, soft_packets: int = XFRM_INF, hard_packets: int = XFRM_INF) -> bytes:
    return XfrmLifetimeCfg(*tag[:2], soft_packets, hard_packets).pack()


@lru_cache(maxsize=65536)
def xfrm_address(text: str) -> tuple[int, bytes]:
    """An address's family and xfrm_address_t."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    return family, socket.inet_pton(family, text).ljust(16, b"\0")


def address_text(family: int, packed: bytes) -> str:
    """The other way round."""
    return socket.inet_ntop(family, packed[: _FAMILIES[socket.AddressFamily(family)]])


def place_of(destination: str, spi: int) -> Place:
    return Place(*xfrm_address(destination), spi)


def outer(source: str, destination: str) -> tuple[int, bytes, bytes]:
    """The family and both xfrm_address_t of a tunnel. Raises Refused when they are of different families."""
    family, saddr = xfrm_address(source)
    other, daddr = xfrm_address(destination)
    if family != other:
        raise Refused(f"a tunnel from {source} to {destination}: its ends must be of one IP version")
    return family, saddr, daddr


def _algorithms(state: EspState) -> bytes:
    encr, key = state.encr, state.encr_key
    if encr.aead:
        return attribute(XFRMA_ALG_AEAD, XfrmAlgoAuth(encr.kernel, len(key) * 8, encr.icv_octets * 8, key).pack())
    if state.integ is None:
        raise Refused(f"{encr.name} needs an integrity algorithm beside it")
    mac = XfrmAlgoAuth(
        state.integ.kernel, len(state.integ_key) * 8, state.integ.kernel_truncation_bits, state.integ_key
    )
    crypt = XfrmAlgo(encr.kernel, len(key) * 8, key)
    return attribute(XFRMA_ALG_CRYPT, crypt.pack()) + attribute(XFRMA_ALG_AUTH_TRUNC, mac.pack())


def state_request(state: EspState, tag: Tag, *, allocated: bool = False, before: bytes = b"") -> Request:
    """Add a state: UPDSA when its SPI is `allocated`, else NEWSA.

    `before` is the same SA as it lay elsewhere (other addresses or ports); its replay window and counters go on.
    """
    family, saddr, daddr = outer(state.source, state.destination)
    window = state.replay_window
    if state.esn and not window:  # there the kernel does not go without; the largest window refuses the least
        window = _LARGEST_WINDOW
    if not state.inbound:  # nothing is checked there, but with ESN the kernel keeps the sequence in the same struct
        window = _SMALL_WINDOW if state.esn else 0
    parts = [_algorithms(state)]
    large = state.esn or window > _SMALL_WINDOW
    if before:
        parts.append(_continued(before, inbound=state.inbound))
    elif large:
        esn = XfrmReplayStateEsn((window + 31) // 32, replay_window=window)
        parts.append(attribute(XFRMA_REPLAY_ESN_VAL, esn.pack()))
    if state.encapsulation:
        ports = (state.encapsulation.source_port, state.encapsulation.destination_port)
        parts.append(attribute(XFRMA_ENCAP, XfrmEncapTmpl(UDP_ENCAP_ESPINUDP, *ports, _original(state)).pack()))
        if state.inbound:
            parts.append(attribute(XFRMA_MTIMER_THRESH, _u32.pack(_MAPPING_SECONDS)))
    parts.append(_qualities(state))
    info = XfrmUsersaInfo(
        sel=_selector(state, family),
        id=XfrmId(daddr, state.spi).pack(),
        saddr=saddr,
        lft=_limits(state, tag),
        reqid=state.reqid,
        family=family,
        mode=MODES[state.mode],
        replay_window=0 if large else window,
        flags=_flags(state),
    )
    return XFRM_MSG_UPDSA if allocated else XFRM_MSG_NEWSA, 0, info.pack() + b"".join(parts)


def _limits(state: EspState, tag: Tag) -> bytes:
    soft, hard = (XFRM_INF, XFRM_INF) if state.esn or state.inbound else (SOFT_PACKETS, HARD_PACKETS)
    limits = state.limits
    if limits == NO_LIMITS:
        return lifetime_of(tag, soft, hard)
    packets = min(limits.soft_packets or XFRM_INF, soft), min(limits.hard_packets or XFRM_INF, hard)
    if not limits.soft_octets and not limits.hard_octets:
        return lifetime_of(tag, *packets)
    octets = limits.soft_octets or XFRM_INF, limits.hard_octets or XFRM_INF
    return XfrmLifetimeCfg(*octets, *packets, soft_use_expires_seconds=tag.soft_use_expires_seconds).pack()


def _selector(state: EspState, family: int) -> bytes:
    """What the state's packets must match; in transport mode the inner packets have the outer addresses."""
    if state.mode is Mode.TUNNEL:
        return _ANY_SELECTOR
    found = kernel_selectors(*state.selectors) if state.selectors else ()
    return found[0].packed if len(found) == 1 else XfrmSelector(family=family).pack()


def _flags(state: EspState) -> int:
    flags = XFRM_STATE_ESN if state.esn else 0
    if state.mode is Mode.TUNNEL:
        flags |= XFRM_STATE_AF_UNSPEC
    return flags if state.copy_df else flags | XFRM_STATE_NOPMTUDISC


def _original(state: EspState) -> bytes:
    """The sender's own address behind a NAT. The kernel keeps it, and passes the peer's checksums as right."""
    return xfrm_address(state.original[0])[1] if state.original else bytes(16)


def _qualities(state: EspState) -> bytes:
    """The attributes for what few states have.

    A state is found by its SPI, so it needs no mark itself (XFRMA_MARK); an inbound one gives it to its packets, which
    then meet the policies with that mark.
    """
    parts = b""
    if not state.copy_dscp:
        parts += attribute(XFRMA_SA_EXTRA_FLAGS, _u32.pack(XFRM_SA_XFLAG_DONT_ENCAP_DSCP))
    if state.interface_id:
        parts += attribute(XFRMA_IF_ID, _u32.pack(state.interface_id))
    if state.mark and state.inbound:
        parts += attribute(XFRMA_SET_MARK, _u32.pack(state.mark.value & state.mark.mask))
        parts += attribute(XFRMA_SET_MARK_MASK, _u32.pack(state.mark.mask))
    if state.offload is not Offload.NONE:  # without a device's number the kernel takes the one on the way to the peer
        flags = XFRM_OFFLOAD_INBOUND if state.inbound else 0
        flags |= XFRM_OFFLOAD_PACKET if state.offload is Offload.PACKET else 0
        parts += attribute(XFRMA_OFFLOAD_DEV, OFFLOAD.pack(0, flags))
    return parts


def find(body: bytes, offset: int, kind: int) -> bytes:
    """The payload of the first attribute of that type after `offset` in a message's body, or b""."""
    return next((value for found, value in attributes(body, offset, len(body)) if found == kind), b"")


def _continued(before: bytes, *, inbound: bool) -> bytes:
    """Replay state and counters of a state as it was read, as attributes for its successor."""
    kept = attribute(XFRMA_LTIME_VAL, XfrmUsersaInfo.unpack_from(before).curlft)
    return kept + _replay(before, 0 if inbound else _SKIPPED_SEQUENCE)


def skipping(place: Place, before: bytes, by: int) -> Request:
    """Let an outbound state's sequence numbers go on (XFRM_MSG_NEWAE), and by no less than may leave meanwhile."""
    ident = XfrmUsersaId(place.daddr, place.spi, place.family).pack()
    event = XfrmAeventId(ident, XfrmUsersaInfo.unpack_from(before).saddr).pack()
    return XFRM_MSG_NEWAE, NLM_F_REPLACE, event + _replay(before, max(by, _SKIPPED_SEQUENCE))


def _replay(before: bytes, skipped: int) -> bytes:
    """A state's replay window as it was read, and its outbound sequence number after so many more."""
    kept = b""
    for kind, value in attributes(before, XfrmUsersaInfo.LAYOUT.size, len(before)):
        if kind == XFRMA_REPLAY_ESN_VAL:
            esn = XfrmReplayStateEsn.unpack_from(value)
            sent = min((esn.oseq_hi << 32 | esn.oseq) + skipped, (1 << 64) - 1)
            esn.oseq_hi, esn.oseq = sent >> 32, sent & 0xFFFF_FFFF
            kept += attribute(kind, esn.pack())
        elif kind == XFRMA_REPLAY_VAL:
            replay = XfrmReplayState.unpack_from(value)
            replay.oseq = min(replay.oseq + skipped, HARD_PACKETS)
            kept += attribute(kind, replay.pack())
    return kept


_KEYED: dict[int, type[XfrmAlgo] | type[XfrmAlgoAuth]] = {
    XFRMA_ALG_AEAD: XfrmAlgoAuth,
    XFRMA_ALG_CRYPT: XfrmAlgo,
    XFRMA_ALG_AUTH_TRUNC: XfrmAlgoAuth,
}


def redacted(before: bytes) -> bool:
    """Whether the kernel keeps the keys to itself (lockdown in confidentiality mode reads them back as zeros)."""
    found = (_KEYED[kind].unpack_from(value).alg_key for kind, value in _algorithms_in(before))
    return any(not any(key) for key in found)


def same_keys(before: bytes, request: Request) -> bool:
    """Whether a state that was read and one about to be added have the same algorithms and, if told, keys."""
    lying, wanted = dict(_algorithms_in(before)), dict(_algorithms_in(request[2]))
    if not redacted(before):
        return lying == wanted
    heads = {kind: _KEYED[kind].LAYOUT.size for kind in _KEYED}
    return {k: v[: heads[k]] for k, v in lying.items()} == {k: v[: heads[k]] for k, v in wanted.items()}


def _algorithms_in(body: bytes) -> list[tuple[int, bytes]]:
    return [found for found in attributes(body, XfrmUsersaInfo.LAYOUT.size, len(body)) if found[0] in _KEYED]


def restore_request(before: bytes) -> Request:
    """Add again, as it was, a state that was read and then removed."""
    lifetime = attribute(XFRMA_LTIME_VAL, XfrmUsersaInfo.unpack_from(before).curlft)
    return XFRM_MSG_NEWSA, 0, before + bytes(-len(before) & 3) + lifetime


def state_removal(place: Place) -> Request:
    return XFRM_MSG_DELSA, 0, XfrmUsersaId(place.daddr, place.spi, place.family).pack()


def state_query(place: Place) -> Request:
    return XFRM_MSG_GETSA, 0, XfrmUsersaId(place.daddr, place.spi, place.family).pack()


def states_dump() -> Request:
    """Of all ESP states. The dump's request has no fixed part (xfrm_dump_sa reads attributes at once)."""
    return XFRM_MSG_GETSA, 0, attribute(XFRMA_PROTO, bytes([IPPROTO_ESP]))


def allocation(source: str, destination: str, lowest: int = LOWEST_SPI, highest: int = HIGHEST_SPI) -> Request:
    """Choose and hold an SPI (XFRM_MSG_ALLOCSPI); the answer is a struct xfrm_usersa_info."""
    family, saddr, daddr = outer(source, destination)
    info = XfrmUsersaInfo(_ANY_SELECTOR, XfrmId(daddr).pack(), saddr, XfrmLifetimeCfg().pack(), family=family)
    return XFRM_MSG_ALLOCSPI, 0, XfrmUserspiInfo(info.pack(), lowest, highest).pack()
