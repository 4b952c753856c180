"""Sources that the kernel drops: real datagrams against a real nftables table."""

import socket
from collections.abc import Iterator

import pytest

from gateway.dataplane.kernel_blocklist import Blocklist
from gateway.dataplane.nft import Nft
from tests.lab.namespaces import Namespace, Network, two_sites


@pytest.fixture
def sites(network: Network) -> tuple[Namespace, Namespace]:
    left, right = two_sites(network)
    assert any(left.ping("2001:db8::2", wait=0.5) for _ in range(20)), "the kernel takes its time with a new link"
    return left, right


@pytest.fixture
def blocklist(sites: tuple[Namespace, Namespace]) -> Iterator[Blocklist]:
    with sites[0].entered():
        made = Blocklist((500, 4500))
    why = made.block(["203.0.113.1"])
    if why:
        made.close()
        pytest.skip(f"no nftables of the family inet here: {why}")
    yield made
    made.close()


def table(site: Namespace) -> str:
    return " ".join(site.run("nft", "list", "ruleset").stdout.split())


def arrives(sites: tuple[Namespace, Namespace], port: int, family: int = socket.AF_INET) -> bool:
    there, source = ("192.0.2.1", "192.0.2.2") if family == socket.AF_INET else ("2001:db8::1", "2001:db8::2")
    with sites[0].entered():
        ours = socket.socket(family, socket.SOCK_DGRAM)
    with sites[1].entered():
        theirs = socket.socket(family, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.bind((there, port))
        ours.settimeout(0.3)
        theirs.bind((source, 0))
        theirs.sendto(b"hello", (there, port))
        try:
            return ours.recv(10) == b"hello"
        except TimeoutError:
            return False


needs = pytest.mark.requires("root", "netns", "ping")


@needs
def test_what_blocked_sources_send_to_our_ports_is_dropped(
    sites: tuple[Namespace, Namespace], blocklist: Blocklist
) -> None:
    assert arrives(sites, 500)
    assert blocklist.block(["192.0.2.2", "203.0.113.0/24", "203.0.113.0/25", "2001:db8::/64"]) == ""
    for family in (socket.AF_INET, socket.AF_INET6):
        assert not arrives(sites, 500, family)
        assert not arrives(sites, 4500, family)
        assert arrives(sites, 501, family)
    assert blocklist.block(["192.0.2.0/31"]) == ""
    assert arrives(sites, 500)
    assert arrives(sites, 500, socket.AF_INET6)
    assert blocklist.block([]) == ""
    assert table(sites[0]) == ""


@needs
def test_the_same_list_again_touches_nothing(sites: tuple[Namespace, Namespace], blocklist: Blocklist) -> None:
    blocklist.block(["192.0.2.2", "203.0.113.9"])
    assert not arrives(sites, 500)
    counted = table(sites[0])
    assert "packets 0 " not in counted
    assert blocklist.block(["203.0.113.9", "192.0.2.2/32"]) == ""
    assert table(sites[0]) == counted


@needs
def test_what_is_anothers_stays_and_what_is_ours_goes(sites: tuple[Namespace, Namespace], blocklist: Blocklist) -> None:
    sites[0].run("nft", "add", "table", "inet", "anothers")
    with sites[0].entered():
        elsewhere = Blocklist((1500, 4500))
    assert elsewhere.block(["192.0.2.2"]) == ""
    blocklist.close()
    assert "ikegate_blocked_500 " not in table(sites[0])
    assert "ikegate_blocked_1500 " in table(sites[0])
    elsewhere.close()
    assert table(sites[0]) == "table inet anothers { }"


@needs
def test_the_table_of_a_killed_process_is_replaced(sites: tuple[Namespace, Namespace], blocklist: Blocklist) -> None:
    blocklist.block(["192.0.2.2"])
    with sites[0].entered():
        second = Blocklist((500, 4500))
    assert second.block([]) == ""
    assert arrives(sites, 500)
    second.close()


def test_what_is_no_network_is_an_error_and_never_reaches_nft() -> None:
    blocklist = Blocklist()
    for text in ("10.0.0.0/8 }", "name", "10.0.0.1/8"):
        with pytest.raises(ValueError, match=r"does not appear to be|has host bits"):
            blocklist.block([text])
    blocklist.close()


def test_without_the_command_the_caller_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("gateway.dataplane.nft._BESIDE", "/nowhere")
    blocklist = Blocklist()
    assert blocklist.block(["192.0.2.1"]) == "the command nft is not installed here"
    blocklist.close()


@needs
def test_nfts_own_words_are_told(sites: tuple[Namespace, Namespace]) -> None:
    with sites[0].entered():
        nft = Nft()
    assert nft.replace("mine", "chain x { type nonsense }").startswith("nft says Error: ")
    assert nft.remove("mine") == ""
    nft.close()
