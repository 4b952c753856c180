"""The kernel's XFRM structures: one class for each struct of uapi/linux/xfrm.h that we send or read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from struct import Struct
from typing import Any, ClassVar, Self

from gateway.dataplane.xfrm import IPPROTO_ESP, XFRM_INF, XFRM_MODE_TUNNEL

_NO_ADDRESS = bytes(16)  # xfrm_address_t: an IPv4 address lies in its first four octets


@dataclass(slots=True)
class KernelStruct:
    """A fixed layout with the kernel's field names; where a struct holds another, the field keeps it packed."""

    LAYOUT: ClassVar[Struct]
    VALUES: ClassVar[Callable[[object], tuple[Any, ...]]]

    def __init_subclass__(cls) -> None:
        cls.VALUES = attrgetter(*(name for name in cls.__annotations__ if name.islower()))

    def pack(self) -> bytes:
        return self.LAYOUT.pack(*type(self).VALUES(self))

    @classmethod
    def unpack_from(cls, data: bytes, offset: int = 0) -> Self:
        return cls(*cls.LAYOUT.unpack_from(data, offset))


@dataclass(slots=True)
class XfrmSelector(KernelStruct):
    """struct xfrm_selector; ports and their masks are plain numbers here."""

    LAYOUT: ClassVar[Struct] = Struct("=16s16s2s2s2s2sHBBB3xiI")
    daddr: bytes = _NO_ADDRESS
    saddr: bytes = _NO_ADDRESS
    dport: int = 0
    dport_mask: int = 0
    sport: int = 0
    sport_mask: int = 0
    family: int = 0
    prefixlen_d: int = 0
    prefixlen_s: int = 0
    proto: int = 0
    ifindex: int = 0
    user: int = 0

    def pack(self) -> bytes:
        return self.LAYOUT.pack(
            self.daddr,
            self.saddr,
            self.dport.to_bytes(2, "big"),
            self.dport_mask.to_bytes(2, "big"),
            self.sport.to_bytes(2, "big"),
            self.sport_mask.to_bytes(2, "big"),
            self.family,
            self.prefixlen_d,
            self.prefixlen_s,
            self.proto,
            self.ifindex,
            self.user,
        )

    @classmethod
    def unpack_from(cls, data: bytes, offset: int = 0) -> Self:
        daddr, saddr, dport, dport_mask, sport, sport_mask, *rest = cls.LAYOUT.unpack_from(data, offset)
        ports = (int.from_bytes(port) for port in (dport, dport_mask, sport, sport_mask))
        return cls(daddr, saddr, *ports, *rest)


@dataclass(slots=True)
class XfrmId(KernelStruct):
    """struct xfrm_id."""

    LAYOUT: ClassVar[Struct] = Struct("=16s4sB3x")
    daddr: bytes = _NO_ADDRESS
    spi: int = 0
    proto: int = IPPROTO_ESP

    def pack(self) -> bytes:
        return self.LAYOUT.pack(self.daddr, self.spi.to_bytes(4, "big"), self.proto)

    @classmethod
    def unpack_from(cls, data: bytes, offset: int = 0) -> Self:
        daddr, spi, proto = cls.LAYOUT.unpack_from(data, offset)
        return cls(daddr, int.from_bytes(spi), proto)


@dataclass(slots=True)
class XfrmLifetimeCfg(KernelStruct):
    """struct xfrm_lifetime_cfg."""

    LAYOUT: ClassVar[Struct] = Struct("=8Q")
    soft_byte_limit: int = XFRM_INF
    hard_byte_limit: int = XFRM_INF
    soft_packet_limit: int = XFRM_INF
    hard_packet_limit: int = XFRM_INF
    soft_add_expires_seconds: int = 0
    hard_add_expires_seconds: int = 0
    soft_use_expires_seconds: int = 0
    hard_use_expires_seconds: int = 0


@dataclass(slots=True)
class XfrmStats(KernelStruct):
    """struct xfrm_stats."""

    LAYOUT: ClassVar[Struct] = Struct("=III")
    replay_window: int = 0
    replay: int = 0
    integrity_failed: int = 0


@dataclass(slots=True)
class XfrmUsersaInfo(KernelStruct):
    """struct xfrm_usersa_info; `sel`, `id`, `lft`, `curlft` and `stats` are the packed structs of those names."""

    LAYOUT: ClassVar[Struct] = Struct("=56s24s16s64s32s12sIIHBBB7x")
    OFFSETS: ClassVar[dict[str, int]] = {"id": 56, "lft": 96, "curlft": 160, "stats": 192, "family": 212}
    sel: bytes
    id: bytes
    saddr: bytes
    lft: bytes
    curlft: bytes = bytes(32)
    stats: bytes = bytes(12)
    seq: int = 0
    reqid: int = 0
    family: int = 0
    mode: int = XFRM_MODE_TUNNEL
    replay_window: int = 0
    flags: int = 0


@dataclass(slots=True)
class XfrmUsersaId(KernelStruct):
    """struct xfrm_usersa_id."""

    LAYOUT: ClassVar[Struct] = Struct("=16s4sHBx")
    daddr: bytes
    spi: int
    family: int
    proto: int = IPPROTO_ESP

    def pack(self) -> bytes:
        return self.LAYOUT.pack(self.daddr, self.spi.to_bytes(4, "big"), self.family, self.proto)

    @classmethod
    def unpack_from(cls, data: bytes, offset: int = 0) -> Self:
        daddr, spi, family, proto = cls.LAYOUT.unpack_from(data, offset)
        return cls(daddr, int.from_bytes(spi), family, proto)


@dataclass(slots=True)
class XfrmUserspiInfo(KernelStruct):
    """struct xfrm_userspi_info; `info` is a packed struct xfrm_usersa_info."""

    LAYOUT: ClassVar[Struct] = Struct("=224sII")
    info: bytes
    min: int
    max: int


@dataclass(slots=True)
class XfrmUserpolicyInfo(KernelStruct):
    """struct xfrm_userpolicy_info; `sel`, `lft` and `curlft` are the packed structs of those names."""

    LAYOUT: ClassVar[Struct] = Struct("=56s64s32sIIBBBB4x")
    sel: bytes
    lft: bytes
    curlft: bytes = bytes(32)
    priority: int = 0
    index: int = 0
    dir: int = 0
    action: int = 0  # XFRM_POLICY_ALLOW
    flags: int = 0
    share: int = 0  # XFRM_SHARE_ANY


@dataclass(slots=True)
class XfrmUserpolicyId(KernelStruct):
    """struct xfrm_userpolicy_id; `sel` is a packed struct xfrm_selector."""

    LAYOUT: ClassVar[Struct] = Struct("=56sIB3x")
    sel: bytes
    index: int
    dir: int


@dataclass(slots=True)
class XfrmUserTmpl(KernelStruct):
    """struct xfrm_user_tmpl; `id` is a packed struct xfrm_id."""

    LAYOUT: ClassVar[Struct] = Struct("=24sH2x16sIBBBxIII")
    id: bytes
    family: int
    saddr: bytes
    reqid: int
    mode: int = XFRM_MODE_TUNNEL
    share: int = 0
    optional: int = 0
    aalgos: int = 0xFFFF_FFFF
    ealgos: int = 0xFFFF_FFFF
    calgos: int = 0xFFFF_FFFF


@dataclass(slots=True)
class XfrmEncapTmpl(KernelStruct):
    """struct xfrm_encap_tmpl."""

    LAYOUT: ClassVar[Struct] = Struct("=H2s2s2x16s")
    encap_type: int
    encap_sport: int
    encap_dport: int
    encap_oa: bytes = _NO_ADDRESS

    def pack(self) -> bytes:
        ports = (self.encap_sport.to_bytes(2, "big"), self.encap_dport.to_bytes(2, "big"))
        return self.LAYOUT.pack(self.encap_type, *ports, self.encap_oa)

    @classmethod
    def unpack_from(cls, data: bytes, offset: int = 0) -> Self:
        kind, sport, dport, oa = cls.LAYOUT.unpack_from(data, offset)
        return cls(kind, int.from_bytes(sport), int.from_bytes(dport), oa)


@dataclass(slots=True)
class XfrmAlgo(KernelStruct):
    """struct xfrm_algo: `alg_name`, `alg_key_len` in bits, `alg_key`."""

    LAYOUT: ClassVar[Struct] = Struct("=64sI")
    alg_name: str
    alg_key_len: int
    alg_key: bytes = field(repr=False)

    def pack(self) -> bytes:
        return self.LAYOUT.pack(self.alg_name.encode(), self.alg_key_len) + self.alg_key

    @classmethod
    def unpack_from(cls, data: bytes, offset: int = 0) -> Self:
        name, bits = cls.LAYOUT.unpack_from(data, offset)
        return cls(_text(name), bits, data[offset + 68 :])


@dataclass(slots=True)
class XfrmAlgoAuth(KernelStruct):
    """struct xfrm_algo_auth and struct xfrm_algo_aead, alike in layout: `alg_trunc_len` or `alg_icv_len` in bits."""

    LAYOUT: ClassVar[Struct] = Struct("=64sII")
    alg_name: str
    alg_key_len: int
    alg_trunc_len: int
    alg_key: bytes = field(repr=False)

    def pack(self) -> bytes:
        return self.LAYOUT.pack(self.alg_name.encode(), self.alg_key_len, self.alg_trunc_len) + self.alg_key

    @classmethod
    def unpack_from(cls, data: bytes, offset: int = 0) -> Self:
        name, bits, truncated = cls.LAYOUT.unpack_from(data, offset)
        return cls(_text(name), bits, truncated, data[offset + 72 :])


@dataclass(slots=True)
class XfrmReplayStateEsn(KernelStruct):
    """struct xfrm_replay_state_esn; `bmp` is empty for a new state, else `bmp_len` words of 32 bits."""

    LAYOUT: ClassVar[Struct] = Struct("=6I")
    bmp_len: int
    oseq: int = 0
    seq: int = 0
    oseq_hi: int = 0
    seq_hi: int = 0
    replay_window: int = 0
    bmp: bytes = b""

    def pack(self) -> bytes:
        counters = (self.oseq, self.seq, self.oseq_hi, self.seq_hi)
        head = self.LAYOUT.pack(self.bmp_len, *counters, self.replay_window)
        return head + (self.bmp or bytes(4 * self.bmp_len))

    @classmethod
    def unpack_from(cls, data: bytes, offset: int = 0) -> Self:
        bmp_len, oseq, seq, oseq_hi, seq_hi, window = cls.LAYOUT.unpack_from(data, offset)
        return cls(bmp_len, oseq, seq, oseq_hi, seq_hi, window, data[offset + 24 :])


@dataclass(slots=True)
class XfrmReplayState(KernelStruct):
    """struct xfrm_replay_state: windows of up to 32 without extended sequence numbers."""

    LAYOUT: ClassVar[Struct] = Struct("=III")
    oseq: int = 0
    seq: int = 0
    bitmap: int = 0


@dataclass(slots=True)
class XfrmAeventId(KernelStruct):
    """struct xfrm_aevent_id; `sa_id` is a packed struct xfrm_usersa_id."""

    LAYOUT: ClassVar[Struct] = Struct("=24s16sII")
    sa_id: bytes
    saddr: bytes = bytes(16)
    flags: int = 0
    reqid: int = 0


@dataclass(slots=True)
class XfrmUserAcquire(KernelStruct):
    """struct xfrm_user_acquire; nested structs stay packed."""

    LAYOUT: ClassVar[Struct] = Struct("=24s16s56s168sIIII")
    id: bytes
    saddr: bytes
    sel: bytes
    policy: bytes
    aalgos: int
    ealgos: int
    calgos: int
    seq: int


@dataclass(slots=True)
class XfrmUserExpire(KernelStruct):
    """struct xfrm_user_expire; `state` is a packed struct xfrm_usersa_info."""

    LAYOUT: ClassVar[Struct] = Struct("=224sB7x")
    state: bytes
    hard: int


@dataclass(slots=True)
class XfrmUserMapping(KernelStruct):
    """struct xfrm_user_mapping; `id` is a packed struct xfrm_usersa_id."""

    LAYOUT: ClassVar[Struct] = Struct("=24sI16s16s2s2s")
    id: bytes
    reqid: int
    old_saddr: bytes
    new_saddr: bytes
    old_sport: int
    new_sport: int

    def pack(self) -> bytes:
        ports = (self.old_sport.to_bytes(2, "big"), self.new_sport.to_bytes(2, "big"))
        return self.LAYOUT.pack(self.id, self.reqid, self.old_saddr, self.new_saddr, *ports)

    @classmethod
    def unpack_from(cls, data: bytes, offset: int = 0) -> Self:
        ident, reqid, old, new, old_sport, new_sport = cls.LAYOUT.unpack_from(data, offset)
        return cls(ident, reqid, old, new, int.from_bytes(old_sport), int.from_bytes(new_sport))


def _text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode("ascii", "replace")
