"""Post-quantum pre-shared keys in IKE_INTERMEDIATE with libreswan 5 (RFC 9867), both roles, over the kernel's ESP."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.interop.planes import roles
from tests.interop.test_libreswan import Ends, load, meeting
from tests.interop.test_ppk_libreswan import SUITE, WORDS
from tests.interop.test_resumption import come_back
from tests.interop.tunnels import SECRET, Net, Tunnel
from tests.lab.appliance import Appliance, until
from tests.lab.libreswan5 import Libreswan5

pytestmark = [pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "libreswan5", "ping")]

OTHER = "words of a key that the other end does not know at all"
BEFORE = "PPK: NIST P-256 with a PPK in IKE_INTERMEDIATE"


class DraftAppliance(Appliance):
    """Our gateway with the numbers of the draft that libreswan 5.2 speaks."""

    module = "tests.lab.draft_appliance"


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    with meeting(tmp_path_factory.mktemp("ppk"), Libreswan5, DraftAppliance) as found:
        yield found


def prepare(ends: Ends, tunnel: Tunnel, theirs: dict[str, str], ppk: str, **more: str) -> None:
    left, right = tunnel.ids()
    words = {"ppk-ids": ",".join(theirs), **more}
    load(
        ends,
        tunnel,
        SUITE[1],
        SUITE[3],
        ours={"ppks": tunnel.our_ppks()},
        ppk=ppk,
        intermediate="yes",
        pfs="no",
        **words,
    )
    lines = [f'@{right} @{left} : PSK "{SECRET}"']
    lines += [f'@{right} @{left} : PPKS "{identity}" "{words}"' for identity, words in theirs.items()]
    (ends.pluto.folder / "ipsec.secrets").write_text("\n".join(lines) + "\n")
    ends.pluto.whack("--rereadsecrets")


def up(ends: Ends, tunnel: Tunnel, initiator: str) -> str:
    """The tunnel carries, and goes again; how our status tells the key exchange."""
    ends.up(tunnel, initiator)
    assert ends.pings()
    told: str = ends.gateway.ike_sas(tunnel.name)[-1]["key_exchange"]
    return told


def down(ends: Ends, tunnel: Tunnel) -> None:
    # by its own hand: what we end, libreswan calls again at once where it was the one that called
    ends.pluto.whack("--name", tunnel.name, "--delete", check=False)
    until(lambda: not ends.gateway.ike_sas(tunnel.name), "gone at our end")


def tunnel_of(name: str, ppks: dict[str, str], **ours: object) -> Tunnel:
    tunnel = Tunnel(name=name, ike=SUITE[0], nets=(Net(esp=SUITE[2]),), ppks=ppks)
    return replace(tunnel, ours=ours)


@roles
def test_both_insist_on_one_of_several(ends: Ends, initiator: str) -> None:
    ours = {"2027.lab": OTHER, "2026.lab": WORDS}
    tunnel = tunnel_of(f"int-{initiator}", ours, ppk_required=True, ppk_exchange="intermediate")
    prepare(ends, tunnel, {"2025.lab": OTHER, "2026.lab": WORDS}, "insist")
    before = len(ends.pluto.log())
    assert up(ends, tunnel, initiator) == BEFORE
    assert "PPK used in IKE_INTERMEDIATE" in ends.pluto.log()[before:]
    # the keys that follow are made of it, too: else these would not come up
    for child in ("net", None):
        assert (done := ends.gateway.ask("rekey", peer=tunnel.name, **({"child": child} if child else {})))["ok"], done
        assert ends.pings()
    assert ends.gateway.ike_sas(tunnel.name)[-1]["key_exchange"] == BEFORE
    down(ends, tunnel)


@roles
@pytest.mark.parametrize("name", ["2027.lab", "2026.lab"], ids=["unknown", "of-the-same-name"])
def test_another_key_is_seen_by_its_name_or_confirmation_and_done_without(
    ends: Ends, initiator: str, name: str
) -> None:
    tunnel = tunnel_of(f"int-{name[:4]}-{initiator}", {name: OTHER})
    prepare(ends, tunnel, {"2026.lab": WORDS}, "yes")
    assert up(ends, tunnel, initiator).startswith("classical: ")
    down(ends, tunnel)


@roles
def test_where_ours_is_for_ike_auth_alone_it_is_used_there(ends: Ends, initiator: str) -> None:
    tunnel = tunnel_of(f"int-auth-{initiator}", {"2026.lab": WORDS}, ppk_required=True, ppk_exchange="auth")
    prepare(ends, tunnel, {"2026.lab": WORDS}, "insist")
    assert up(ends, tunnel, initiator) == "PPK: NIST P-256 with a PPK"
    down(ends, tunnel)


@pytest.mark.parametrize("exchange", ["intermediate", "auth"])
def test_we_come_back_by_a_ticket_with_the_key_still_in_it(ends: Ends, exchange: str) -> None:
    quick = {"tries": 2, "base": 0.4, "factor": 1.0}
    ours = {"ppk_required": True, "ppk_exchange": exchange, "dpd_delay": 1, "retransmit": quick}
    tunnel = tunnel_of(f"int-back-{exchange}", {"2026.lab": WORDS}, **ours)
    prepare(ends, tunnel, {"2026.lab": WORDS}, "insist", **{"session-resumption": "yes"})
    before = up(ends, tunnel, "ours")
    come_back(ends, tunnel)
    assert ends.gateway.ike_sas(tunnel.name)[-1]["key_exchange"] == f"{before}, of the IKE SA that it resumes"
    assert ends.pings()
    down(ends, tunnel)
