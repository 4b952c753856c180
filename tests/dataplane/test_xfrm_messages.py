"""States and policies as messages: what is built reads back, and what moves keeps its sequence numbers."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.crypto.suites import ENCRYPTIONS, INTEGRITIES
from gateway.dataplane.netlink import attribute
from gateway.dataplane.xfrm import (
    XFRM_MSG_NEWSA,
    XFRM_MSG_UPDSA,
    XFRMA_ENCAP,
    XFRMA_LTIME_VAL,
    XFRMA_MTIMER_THRESH,
    XFRMA_REPLAY_ESN_VAL,
    XFRMA_REPLAY_VAL,
)
from gateway.dataplane.xfrm_messages import (
    Tag,
    find,
    redacted,
    restore_request,
    same_keys,
    state_request,
    xfrm_address,
)
from gateway.dataplane.xfrm_reading import read_state
from gateway.dataplane.xfrm_structs import XfrmLifetimeCfg, XfrmReplayState, XfrmReplayStateEsn, XfrmUsersaInfo
from gateway.ike.plane import Encapsulation, EspState, Limits, Refused
from gateway.policy.peers import Mark, Mode, Offload

TAG = Tag(2**64 - 5, 2**64 - 7, 2**62 - 3)
SIZE = XfrmUsersaInfo.LAYOUT.size
GCM = next(row for row in ENCRYPTIONS if row.keyword == "aes256gcm16")
CBC = next(row for row in ENCRYPTIONS if row.keyword == "aes128")
STATE = EspState(0xC1234567, "192.0.2.2", "192.0.2.1", True, 9, GCM, bytes(range(36)))


@pytest.mark.parametrize("encr", ENCRYPTIONS, ids=lambda row: row.keyword)
@pytest.mark.parametrize("addresses", [("192.0.2.2", "192.0.2.1"), ("2001:db8::2", "2001:db8::1")])
def test_what_is_built_reads_back_without_its_keys(encr: object, addresses: tuple[str, str]) -> None:
    row = next(r for r in ENCRYPTIONS if r is encr)
    for integ in (None,) if row.aead else INTEGRITIES:
        state = EspState(
            spi=0xC0000001,
            source=addresses[0],
            destination=addresses[1],
            inbound=True,
            reqid=77,
            encr=row,
            encr_key=bytes(row.key_material_octets),
            integ=integ,
            integ_key=bytes(integ.key_octets) if integ else b"",
            esn=True,
            replay_window=1024,
            encapsulation=Encapsulation(40000, 4500),
        )
        kind, _, body = state_request(state, TAG)
        assert kind == XFRM_MSG_NEWSA
        assert len(body) % 4 == 0
        assert read_state(body, inbound=True) == replace(state, encr_key=b"", integ_key=b"")
        assert TAG.marks(XfrmUsersaInfo.unpack_from(body).lft)


@pytest.mark.parametrize(
    "quality",
    [
        {"mode": Mode.TRANSPORT},
        {"limits": Limits(1, 2, 3, 4)},
        {"limits": Limits(soft_octets=1000)},
        {"limits": Limits(hard_packets=1000)},
        {"interface_id": 7},
        {"mark": Mark(5, 0xFF)},
        {"copy_dscp": True},
        {"copy_df": False},
        {"offload": Offload.CRYPTO},
        {"offload": Offload.PACKET},
        {"replay_window": 4096},
        {"replay_window": 0},
    ],
    ids=lambda quality: "".join(map(str, quality.values())),
)
def test_each_quality_reads_back_and_leaves_the_mark_of_its_owner(quality: dict[str, Any]) -> None:
    for plain in (STATE, replace(STATE, inbound=False)):
        state = replace(plain, **quality)
        body = state_request(state, TAG)[2]
        unread = {"mark": None} if not state.inbound else {}
        unread |= {"replay_window": 0} if not state.inbound else {}  # type: ignore[dict-item]
        assert read_state(body, inbound=state.inbound) == replace(state, encr_key=b"", **unread)
        assert TAG.marks(XfrmUsersaInfo.unpack_from(body).lft)


def test_a_limit_of_packets_does_not_loosen_the_guard_of_the_sequence_number() -> None:
    state = replace(STATE, inbound=False, limits=Limits(soft_packets=1 << 40, hard_packets=1 << 41))
    lifetime = XfrmLifetimeCfg.unpack_from(XfrmUsersaInfo.unpack_from(state_request(state, TAG)[2]).lft)
    assert (lifetime.soft_packet_limit, lifetime.hard_packet_limit) == (0xC000_0000, 0xFFFF_FFFF)


def test_an_allocated_spi_is_updated() -> None:
    assert state_request(STATE, TAG, allocated=True)[0] == XFRM_MSG_UPDSA


def test_a_cipher_alone_and_mixed_versions_are_refused() -> None:
    with pytest.raises(Refused, match="needs an integrity algorithm"):
        state_request(replace(STATE, encr=CBC), TAG)
    with pytest.raises(Refused, match="one IP version"):
        state_request(replace(STATE, source="2001:db8::2"), TAG)


@pytest.mark.parametrize(
    ("esn", "window", "inbound", "in_struct", "bitmap"),
    [
        (False, 0, True, 0, None),
        (False, 32, True, 32, None),
        (False, 33, True, 0, 2),
        (False, 128, True, 0, 4),
        (True, 32, True, 0, 1),
        (True, 128, True, 0, 4),
        (False, 128, False, 0, None),
        (True, 128, False, 0, 1),
    ],
)
def test_the_window_lies_where_the_kernel_wants_it(
    esn: bool, window: int, inbound: bool, in_struct: int, bitmap: int | None
) -> None:
    _, _, body = state_request(replace(STATE, esn=esn, replay_window=window, inbound=inbound), TAG)
    assert XfrmUsersaInfo.unpack_from(body).replay_window == in_struct
    found = find(body, SIZE, XFRMA_REPLAY_ESN_VAL)
    assert (len(found) == 24 + 4 * bitmap) if bitmap else found == b""
    if bitmap:
        assert XfrmReplayStateEsn.unpack_from(found).bmp_len == bitmap


def test_a_moved_mapping_is_watched_on_inbound_encapsulated_states_alone() -> None:
    for state, watched in (
        (STATE, False),
        (replace(STATE, encapsulation=Encapsulation(4500, 4500)), True),
        (replace(STATE, encapsulation=Encapsulation(4500, 4500), inbound=False), False),
    ):
        body = state_request(state, TAG)[2]
        assert bool(find(body, SIZE, XFRMA_MTIMER_THRESH)) is watched
        assert bool(find(body, SIZE, XFRMA_ENCAP)) is (state.encapsulation is not None)


def lying(state: EspState, replay: bytes, carried: int) -> bytes:
    """A state as the kernel tells it after some traffic."""
    kind, _, body = state_request(state, TAG)
    assert kind == XFRM_MSG_NEWSA
    info = XfrmUsersaInfo.unpack_from(body)
    info.curlft = carried.to_bytes(8, "little") + bytes(24)
    algorithms = b"".join(attribute(k, v) for k in (1, 2, 18, 20) if (v := find(body, SIZE, k)))
    return info.pack() + algorithms + replay


def test_a_moved_outbound_state_skips_ahead_and_carries_over_into_the_high_half() -> None:
    state = replace(STATE, inbound=False, esn=True)
    esn = XfrmReplayStateEsn(1, oseq=0xFFFF_FFFF, oseq_hi=2, replay_window=32)
    before = lying(state, attribute(XFRMA_REPLAY_ESN_VAL, esn.pack()), 1000)
    body = state_request(replace(state, destination="192.0.2.77"), TAG, before=before)[2]
    after = XfrmReplayStateEsn.unpack_from(find(body, SIZE, XFRMA_REPLAY_ESN_VAL))
    assert after.oseq_hi << 32 | after.oseq == (2 << 32 | 0xFFFF_FFFF) + 4096
    assert find(body, SIZE, XFRMA_LTIME_VAL)[:8] == (1000).to_bytes(8, "little")


def test_a_moved_outbound_state_of_32_bits_never_wraps() -> None:
    state = replace(STATE, inbound=False)
    before = lying(state, attribute(XFRMA_REPLAY_VAL, XfrmReplayState(0xFFFF_FFF0).pack()), 0)
    body = state_request(state, TAG, before=before)[2]
    assert XfrmReplayState.unpack_from(find(body, SIZE, XFRMA_REPLAY_VAL)).oseq == 0xFFFF_FFFF


def test_a_moved_inbound_state_keeps_its_window_as_it_is() -> None:
    esn = XfrmReplayStateEsn(4, seq=500, seq_hi=1, replay_window=128, bmp=bytes(range(16)))
    before = lying(STATE, attribute(XFRMA_REPLAY_ESN_VAL, esn.pack()), 0)
    body = state_request(replace(STATE, source="192.0.2.77"), TAG, before=before)[2]
    assert XfrmReplayStateEsn.unpack_from(find(body, SIZE, XFRMA_REPLAY_ESN_VAL)) == esn


def test_the_same_keys_are_known_even_where_the_kernel_hides_them() -> None:
    before = lying(STATE, b"", 0)
    assert same_keys(before, state_request(STATE, TAG))
    assert not redacted(before)
    assert not same_keys(before, state_request(replace(STATE, encr_key=bytes(range(1, 37))), TAG))
    hidden = lying(replace(STATE, encr_key=bytes(36)), b"", 0)
    assert redacted(hidden)
    assert same_keys(hidden, state_request(STATE, TAG))
    other = next(row for row in ENCRYPTIONS if row.keyword == "aes128gcm16")
    assert not same_keys(hidden, state_request(replace(STATE, encr=other, encr_key=bytes(range(20))), TAG))


def test_a_restored_state_has_its_keys_and_counters() -> None:
    before = lying(STATE, b"", 4242)
    kind, _, body = restore_request(before)
    assert kind == XFRM_MSG_NEWSA
    assert same_keys(body, state_request(STATE, TAG))
    assert find(body, SIZE, XFRMA_LTIME_VAL)[:8] == (4242).to_bytes(8, "little")


def test_addresses_of_both_versions() -> None:
    assert xfrm_address("192.0.2.1") == (2, bytes([192, 0, 2, 1]) + bytes(12))
    family, packed = xfrm_address("2001:db8::1")
    assert (family, len(packed), packed[-1]) == (10, 16, 1)
