"""The kernel's structs: their sizes and bytes as a C compiler and `ip xfrm` make them."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dataplane import xfrm, xfrm_structs
from gateway.dataplane.xfrm_structs import (
    KernelStruct,
    XfrmAlgo,
    XfrmAlgoAuth,
    XfrmEncapTmpl,
    XfrmId,
    XfrmLifetimeCfg,
    XfrmReplayStateEsn,
    XfrmSelector,
    XfrmUsersaId,
    XfrmUsersaInfo,
    XfrmUserTmpl,
)

# sizeof on x86-64 and aarch64, by uapi/linux/xfrm.h; xfrm_algo and its like without their keys
SIZES = {
    "xfrm_selector": 56,
    "xfrm_id": 24,
    "xfrm_lifetime_cfg": 64,
    "xfrm_stats": 12,
    "xfrm_usersa_info": 224,
    "xfrm_usersa_id": 24,
    "xfrm_userspi_info": 232,
    "xfrm_userpolicy_info": 168,
    "xfrm_userpolicy_id": 64,
    "xfrm_user_tmpl": 64,
    "xfrm_encap_tmpl": 24,
    "xfrm_algo": 68,
    "xfrm_algo_auth": 72,
    "xfrm_replay_state": 12,
    "xfrm_replay_state_esn": 24,
    "xfrm_aevent_id": 48,
    "xfrm_user_acquire": 280,
    "xfrm_user_expire": 232,
    "xfrm_user_mapping": 64,
}
HEADER = Path("/usr/include/linux/xfrm.h")


def struct_class(name: str) -> type[KernelStruct]:
    found = getattr(xfrm_structs, "".join(part.capitalize() for part in name.split("_")))
    assert issubclass(found, KernelStruct)
    return found


def classes() -> list[type[KernelStruct]]:
    found = [c for c in vars(xfrm_structs).values() if isinstance(c, type) and issubclass(c, KernelStruct)]
    return [c for c in found if c is not KernelStruct]


def test_every_struct_has_its_size() -> None:
    assert len(classes()) == len(SIZES)
    assert {name: struct_class(name).LAYOUT.size for name in SIZES} == SIZES


@pytest.mark.skipif(not (shutil.which("cc") and HEADER.exists()), reason="no C compiler or no linux/xfrm.h")
def test_a_c_compiler_agrees_on_sizes_offsets_and_numbers(tmp_path: Path) -> None:
    lines = ["#include <stdio.h>", "#include <stddef.h>", "#include <linux/xfrm.h>", "int main(void) {"]
    lines += [f'printf("{name} %zu\\n", sizeof(struct {name}));' for name in SIZES]
    offsets = [("xfrm_usersa_info", field) for field in XfrmUsersaInfo.OFFSETS]
    lines += [f'printf("{s}.{f} %zu\\n", offsetof(struct {s}, {f}));' for s, f in offsets]
    numbers = [
        name
        for name in vars(xfrm)
        if name.startswith(("XFRMA_", "XFRM_MSG_", "XFRMNLGRP_", "XFRM_STATE_", "XFRM_POLICY_"))
    ]
    text = HEADER.read_text()
    known = [name for name in numbers if name in text]  # an old header lacks the newest attributes
    assert len(known) > 25
    lines += [f'printf("{name} %d\\n", (int){name});' for name in known]
    source = tmp_path / "sizes.c"
    source.write_text("\n".join([*lines, "return 0; }"]))
    subprocess.run(["cc", "-o", tmp_path / "sizes", source], check=True, timeout=60)
    done = subprocess.run([tmp_path / "sizes"], check=True, capture_output=True, text=True, timeout=10)
    told = {name: int(value) for name, value in map(str.split, done.stdout.splitlines())}
    ours = SIZES | {f"xfrm_usersa_info.{field}": offset for field, offset in XfrmUsersaInfo.OFFSETS.items()}
    assert told == ours | {name: getattr(xfrm, name) for name in known}


def test_a_selector_as_ip_xfrm_sends_it() -> None:
    """src 10.1.0.0/16 dst 10.2.0.0/16 proto tcp dport 443, recorded from iproute2."""
    selector = XfrmSelector(
        daddr=bytes([10, 2, 0, 0]),
        saddr=bytes([10, 1, 0, 0]),
        dport=443,
        dport_mask=0xFFFF,
        family=2,
        prefixlen_d=16,
        prefixlen_s=16,
        proto=6,
    )
    recorded = (
        "0a0200000000000000000000000000000a01000000000000000000000000000001bbffff00000000"
        "02001010060000000000000000000000"
    )  # fmt: skip
    assert selector.pack().hex() == recorded
    assert XfrmSelector.unpack_from(selector.pack()) == XfrmSelector(
        **{name: getattr(selector, name) for name in selector.__slots__}
        | {"daddr": selector.daddr.ljust(16, b"\0"), "saddr": selector.saddr.ljust(16, b"\0")}
    )


def test_spis_and_ports_go_in_network_order() -> None:
    assert XfrmId(bytes(16), 0xC1234567).pack().hex() == "00" * 16 + "c1234567" + "32000000"
    assert XfrmUsersaId(bytes(16), 0xC1234567, 10).pack().hex() == "00" * 16 + "c1234567" + "0a003200"
    assert XfrmEncapTmpl(2, 4500, 4501).pack().hex() == "02001194" + "11950000" + "00" * 16


def test_a_template_asks_for_any_algorithm() -> None:
    packed = XfrmUserTmpl(XfrmId(bytes(16), 1).pack(), 2, bytes(16), 7).pack()
    assert packed[44:52].hex() == "07000000" + "01000000"  # reqid, XFRM_MODE_TUNNEL, share, optional
    assert packed[52:] == b"\xff" * 12


def test_keys_follow_their_lengths_in_bits_and_are_never_shown() -> None:
    aead = XfrmAlgoAuth("rfc4106(gcm(aes))", 160, 128, bytes(range(20)))
    assert aead.pack() == b"rfc4106(gcm(aes))".ljust(64, b"\0") + bytes([160, 0, 0, 0, 128, 0, 0, 0, *range(20)])
    assert XfrmAlgoAuth.unpack_from(aead.pack()) == aead
    crypt = XfrmAlgo("cbc(aes)", 128, b"sixteen octets!!")
    assert XfrmAlgo.unpack_from(crypt.pack()) == crypt
    assert "sixteen" not in repr(crypt)
    assert "alg_key=" not in repr(aead)


def test_a_new_bitmap_is_empty_and_of_its_length() -> None:
    assert XfrmReplayStateEsn(4, replay_window=128).pack().hex() == "04000000" + "00" * 16 + "80000000" + "00" * 16


@given(st.lists(st.integers(0, 2**64 - 1), min_size=8, max_size=8))
def test_what_is_packed_unpacks(numbers: list[int]) -> None:
    lifetime = XfrmLifetimeCfg(*numbers)
    assert XfrmLifetimeCfg.unpack_from(b"abc" + lifetime.pack(), 3) == lifetime


@given(st.data())
def test_any_bytes_of_the_right_size_unpack_and_pack_again(data: st.DataObject) -> None:
    chosen = data.draw(st.sampled_from([c for c in classes() if c not in (XfrmAlgo, XfrmAlgoAuth, XfrmReplayStateEsn)]))
    raw = data.draw(st.binary(min_size=chosen.LAYOUT.size, max_size=chosen.LAYOUT.size))
    again = chosen.unpack_from(raw).pack()
    assert chosen.LAYOUT.unpack(again) == chosen.LAYOUT.unpack(raw)
