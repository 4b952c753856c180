"""A capture of real tunnels, opened to the last packet with the key log: by tshark, and by `ikegate decode`."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.decode import decode
from gateway.wire.numbers import ExchangeType, PayloadType
from tests.interop.conftest import start_pair
from tests.interop.planes import CHARON_PLUGINS, roles, userspace_only
from tests.interop.test_fragmentation import MANY
from tests.interop.tunnels import Net, Pair, Tunnel
from tests.lab.appliance import until
from tests.lab.charon import Charon
from tests.lab.strongswan6 import Charon6
from tests.lab.tshark import dissected, tshark

needs_tools = pytest.mark.requires("tshark", "tcpdump")
Row = dict[str, list[str]]

IKE = ("isakmp.exchangetype", "isakmp.messageid", "isakmp.frag.number", "isakmp.typepayload", "isakmp.enc.decrypted")
WRONG = ("isakmp.ikev2.integrity_checksum", "isakmp.enc.pad_length.big", "_ws.malformed", "_ws.expert.group")
DUE = {
    ExchangeType.IKE_INTERMEDIATE: {PayloadType.KE},
    ExchangeType.IKE_AUTH: {PayloadType.AUTH, PayloadType.SA, PayloadType.TSi, PayloadType.TSr},
    ExchangeType.CREATE_CHILD_SA: {PayloadType.SA, PayloadType.NONCE},
    ExchangeType.IKE_FOLLOWUP_KE: {PayloadType.KE},
    ExchangeType.INFORMATIONAL: set(),
}
"""What the opened messages of an exchange hold at least."""


@pytest.fixture
def logging_pair(plane: str, tmp_path: Path) -> Iterator[Callable[[type[Charon], str], Pair]]:
    """Starts a gateway that logs its keys, and a charon of this kind."""
    with ExitStack() as stack:

        def start(charon: type[Charon], plugins: str) -> Pair:
            ours = {"IKEGATE_KEY_LOG": str(tmp_path / "keys")}
            plugins = f"{plugins} {CHARON_PLUGINS[plane]}"
            return start_pair(stack, tmp_path, plane, charon=charon, plugins=plugins, ours=ours)

        yield start


@contextmanager
def captured(pair: Pair, folder: Path) -> Iterator[None]:
    """The cable between the two ends, in the file `pcap`."""
    said = folder / "tcpdump"
    words = ("-Z", "root", "-i", "to-right", "-U", "--immediate-mode", "-w", str(folder / "pcap"), "not icmp6")
    process = pair.left.start("tcpdump", *words, output=said)
    until(lambda: "listening on" in said.read_text(), "tcpdump listens")
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def live(pair: Pair, tunnel: Tunnel, initiator: str) -> int:
    """A tunnel's whole life: up, rekeyed by both ends, down; how many echo requests went through it."""
    pair.load(tunnel)
    pair.up(tunnel, initiator=initiator)
    pings = 2 * pair.pings()
    for kind in ("child", "ike", "child"):
        for end in ("ours", "theirs"):
            pair.renew(tunnel, initiator=end, net=tunnel.nets[0] if kind == "child" else None)
            pings += 2 * pair.pings()
    pair.down(tunnel, initiator=initiator)
    return pings


def part(folder: Path, selection: str) -> Path:
    """The packets of the capture that are `selection`, as a capture.

    Wireshark tells fragments apart by addresses and message ID alone, so those that it cannot open spoil later ones.
    """
    path = folder / f"part-{selection[-1]}"
    done = tshark(folder / "pcap", folder / "keys", "-Y", selection, "-w", str(path))
    assert done.returncode == 0, done.stderr
    return path


def ike_messages(capture: Path, folder: Path, *words: str) -> list[Row]:
    return dissected(capture, folder / "keys", "-Y", "isakmp", *words, fields=IKE + WRONG)


def unopened(messages: list[Row]) -> list[Row]:
    """Those that are not decrypted, have a wrong checksum, or lack what their exchange demands."""
    return [row for row in messages if not is_open(row)]


def is_open(row: Row) -> bool:
    exchange = int(row["isakmp.exchangetype"][0])
    sealed = exchange != ExchangeType.IKE_SA_INIT
    if any(row[name] for name in WRONG) or (sealed and not row["isakmp.enc.decrypted"]):
        return False
    return bool(row["isakmp.frag.number"]) or DUE.get(exchange, set()) <= set(map(int, row["isakmp.typepayload"]))


def check_esp(capture: Path, folder: Path, pings: int) -> None:
    """Every ESP packet has a right checksum and an ICMP message inside; nothing at all is malformed."""
    fields = ("esp.icv_good", "esp.icv_bad", "icmp.type", "_ws.malformed")
    packets = dissected(capture, folder / "keys", "-Y", "esp", fields=fields)
    assert {(*row["esp.icv_good"], *row["esp.icv_bad"], *row["_ws.malformed"]) for row in packets} == {("1", "0")}
    assert sorted(kind for row in packets for kind in row["icmp.type"]) == ["0"] * pings + ["8"] * pings


def check_decode(folder: Path, messages: int, pings: int) -> None:
    """`ikegate decode` opens everything in one go, whatever the key exchange."""
    done = CliRunner().invoke(decode, [str(folder / "pcap"), "--keys", str(folder / "keys"), "--json"])
    assert done.exit_code == 0, done.output
    seen = [json.loads(line) for line in done.output.splitlines()]
    assert {one["kind"] for one in seen} <= {"ike", "esp", "keepalive"}
    ike = [one for one in seen if one["kind"] == "ike"]
    assert len(ike) == messages
    sealed = [one for one in ike if one["message"]["exchange"] != "IKE_SA_INIT"]
    assert all("inside" in one["message"] or one["note"].startswith("fragment ") for one in sealed)
    inner = [one["esp"]["inner"] for one in seen if one["kind"] == "esp"]
    assert sum("ICMP echo re" in text for text in inner) == len(inner) == 2 * pings


CLASSICAL = {
    "gcm": ("aes256gcm16-prfsha384-x25519", "aes128gcm16-x25519"),
    "cbc": ("aes256-sha256-ecp256", "aes128-sha512-modp2048"),
    "ccm": ("aes128ccm16-prfsha256-x25519", "aes256gcm16"),
}


@userspace_only
@needs_tools
@roles
@pytest.mark.parametrize("suites", CLASSICAL)
def test_tshark_opens_a_classical_tunnel_whole(
    logging_pair: Callable[[type[Charon], str], Pair], suites: str, initiator: str, tmp_path: Path
) -> None:
    pair = logging_pair(Charon, "")
    ike, esp = CLASSICAL[suites]
    tunnel = Tunnel(name="whole", ike=ike, nets=(Net(right=MANY, esp=esp),))  # its messages are fragmented
    with captured(pair, tmp_path):
        pings = live(pair, tunnel, initiator)
    messages = ike_messages(tmp_path / "pcap", tmp_path)
    assert messages and not unopened(messages)
    assert {int(row["isakmp.exchangetype"][0]) for row in messages} == {34, 35, 36, 37}
    assert any(row["isakmp.frag.number"] for row in messages)
    check_esp(tmp_path / "pcap", tmp_path, pings)
    check_decode(tmp_path, len(messages), pings)


HYBRID = {
    "one": (1, "aes256gcm16-prfsha384-x25519-ke1_mlkem768"),
    "two": (2, "aes256-sha256-x25519-ke1_mlkem768-ke2_ecp256"),
}


@userspace_only
@needs_tools
@pytest.mark.requires("strongswan6")
@roles
@pytest.mark.parametrize("exchanges", HYBRID)
def test_tshark_opens_a_hybrid_tunnel_with_a_profile_for_each_intermediate_exchange(
    logging_pair: Callable[[type[Charon], str], Pair], exchanges: str, initiator: str, tmp_path: Path
) -> None:
    pair = logging_pair(Charon6, "ml")
    count, ike = HYBRID[exchanges]
    tunnel = Tunnel(name="hybrid", ike=ike, nets=(Net(esp="aes256gcm16-x25519-ke1_mlkem768"),))
    with captured(pair, tmp_path):
        pings = live(pair, tunnel, initiator)
    kept = part(tmp_path, "!(isakmp.exchangetype == 43)")
    messages = ike_messages(kept, tmp_path)
    assert messages and not unopened(messages)
    check_esp(kept, tmp_path, pings)
    seen = len(messages)
    for number in range(1, count + 1):
        before = part(tmp_path, f"isakmp.exchangetype == 43 && isakmp.messageid == {number}")
        assert unopened(ike_messages(before, tmp_path))  # the keys that the SA keeps do not open it
        messages = ike_messages(before, tmp_path, "-C", f"intermediate-{number}")
        assert len(messages) >= 2 and not unopened(messages)
        seen += len(messages)
    check_decode(tmp_path, seen, pings)
