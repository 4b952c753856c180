"""ESP states as the kernel shows them."""

from struct import Struct

from gateway.crypto.suites import ENCRYPTIONS, INTEGRITIES, Encryption, Integrity
from gateway.dataplane.netlink import attributes
from gateway.dataplane.xfrm import (
    XFRM_INF,
    XFRM_MODE_TUNNEL,
    XFRM_OFFLOAD_PACKET,
    XFRM_SA_XFLAG_DONT_ENCAP_DSCP,
    XFRM_STATE_ESN,
    XFRM_STATE_NOPMTUDISC,
    XFRMA_ALG_AEAD,
    XFRMA_ALG_AUTH_TRUNC,
    XFRMA_ALG_CRYPT,
    XFRMA_ENCAP,
    XFRMA_IF_ID,
    XFRMA_OFFLOAD_DEV,
    XFRMA_REPLAY_ESN_VAL,
    XFRMA_SA_EXTRA_FLAGS,
    XFRMA_SET_MARK,
    XFRMA_SET_MARK_MASK,
)
from gateway.dataplane.xfrm_messages import HARD_PACKETS, OFFLOAD, SOFT_PACKETS, address_text
from gateway.dataplane.xfrm_structs import (
    XfrmAlgo,
    XfrmAlgoAuth,
    XfrmEncapTmpl,
    XfrmId,
    XfrmLifetimeCfg,
    XfrmReplayStateEsn,
    XfrmUsersaInfo,
)
from gateway.ike.plane import Encapsulation, EspState, Limits
from gateway.policy.peers import Mark, Mode, Offload

_u32 = Struct("=I")
_AEADS = {
    (row.kernel, row.key_material_octets * 8, row.icv_octets * 8): row for row in reversed(ENCRYPTIONS) if row.aead
}
_CIPHERS = {(row.kernel, row.key_material_octets * 8): row for row in reversed(ENCRYPTIONS) if not row.aead}
_MACS = {(row.kernel, row.kernel_truncation_bits): row for row in reversed(INTEGRITIES)}


def _encryption(body: bytes) -> tuple[Encryption | None, Integrity | None]:
    encr: Encryption | None = None
    integ: Integrity | None = None
    for kind, value in attributes(body, XfrmUsersaInfo.LAYOUT.size, len(body)):
        if kind == XFRMA_ALG_AEAD:
            aead = XfrmAlgoAuth.unpack_from(value)
            encr = _AEADS.get((aead.alg_name, aead.alg_key_len, aead.alg_trunc_len))
        elif kind == XFRMA_ALG_CRYPT:
            crypt = XfrmAlgo.unpack_from(value)
            encr = _CIPHERS.get((crypt.alg_name, crypt.alg_key_len))
        elif kind == XFRMA_ALG_AUTH_TRUNC:
            auth = XfrmAlgoAuth.unpack_from(value)
            integ = _MACS.get((auth.alg_name, auth.alg_trunc_len))
    return encr, integ


def read_state(body: bytes, *, inbound: bool) -> EspState | None:
    """A state as it was read, without its keys; None when it is not one of our kind (no cipher of our table)."""
    info = XfrmUsersaInfo.unpack_from(body)
    ident = XfrmId.unpack_from(info.id)
    encr, integ = _encryption(body)
    if encr is None:
        return None
    found = dict(attributes(body, XfrmUsersaInfo.LAYOUT.size, len(body)))

    def number(kind: int) -> int:
        return int(_u32.unpack(found[kind])[0]) if kind in found else 0

    window, encapsulation = info.replay_window, None
    if XFRMA_REPLAY_ESN_VAL in found:
        window = XfrmReplayStateEsn.unpack_from(found[XFRMA_REPLAY_ESN_VAL]).replay_window
    if XFRMA_ENCAP in found:
        template = XfrmEncapTmpl.unpack_from(found[XFRMA_ENCAP])
        encapsulation = Encapsulation(template.encap_sport, template.encap_dport)
    return EspState(
        spi=ident.spi,
        source=address_text(info.family, info.saddr),
        destination=address_text(info.family, ident.daddr),
        inbound=inbound,
        reqid=info.reqid,
        encr=encr,
        encr_key=b"",
        integ=integ,
        esn=bool(info.flags & XFRM_STATE_ESN),
        replay_window=window,
        encapsulation=encapsulation,
        mode=Mode.TUNNEL if info.mode == XFRM_MODE_TUNNEL else Mode.TRANSPORT,
        limits=_limits(XfrmLifetimeCfg.unpack_from(info.lft)),
        interface_id=number(XFRMA_IF_ID),
        mark=Mark(number(XFRMA_SET_MARK), number(XFRMA_SET_MARK_MASK)) if XFRMA_SET_MARK in found else None,
        copy_dscp=not number(XFRMA_SA_EXTRA_FLAGS) & XFRM_SA_XFLAG_DONT_ENCAP_DSCP,
        copy_df=not info.flags & XFRM_STATE_NOPMTUDISC,
        offload=_offload(found.get(XFRMA_OFFLOAD_DEV, b"")),
    )


def _limits(lifetime: XfrmLifetimeCfg) -> Limits:
    """What was ordered; byte limits that only bear a mark, and those that guard the sequence number, are none."""
    octets = (0, 0)
    if lifetime.soft_use_expires_seconds:
        octets = _told(lifetime.soft_byte_limit), _told(lifetime.hard_byte_limit)
    soft, hard = _told(lifetime.soft_packet_limit), _told(lifetime.hard_packet_limit)
    return Limits(octets[0], 0 if soft == SOFT_PACKETS else soft, octets[1], 0 if hard == HARD_PACKETS else hard)


def _told(limit: int) -> int:
    return 0 if limit == XFRM_INF else limit


def _offload(told: bytes) -> Offload:
    if len(told) < OFFLOAD.size:
        return Offload.NONE
    return Offload.PACKET if OFFLOAD.unpack_from(told)[1] & XFRM_OFFLOAD_PACKET else Offload.CRYPTO
