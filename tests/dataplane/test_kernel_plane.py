"""The kernel's data plane as far as any Linux goes, ESP or not: batches, undoing, rights, and how a plane is chosen."""

import asyncio
import errno
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.dataplane.choose import open_driver
from gateway.dataplane.kernel import KernelPlane
from gateway.dataplane.kernel_batch import refusal
from gateway.dataplane.kernel_owner import Owner
from gateway.dataplane.memory import MemoryPlane
from gateway.dataplane.netlink import NETLINK_XFRM, Netlink, NetlinkError, attribute, attributes
from gateway.dataplane.xfrm_policies import policies_dump, read_policy
from gateway.dataplane.xfrm_structs import XfrmLifetimeCfg
from gateway.ike.plane import Action, AddPolicy, AddRoute, Direction, Policy, Refused, RemovePolicy, RemoveRoute, Route
from gateway.ike.plane_events import Disturbed, PlaneEvent
from gateway.ike.plane_protocol import Mended
from gateway.policy.peers import Mark
from gateway.policy.selectors import Selector
from tests.lab.namespaces import Namespace, Network, two_sites

REPOSITORY = Path(__file__).parents[2]
needs_netns = pytest.mark.requires("root", "netns")


@pytest.fixture
def here(network: Network) -> Namespace:
    return network.namespace("here")


@pytest.fixture
def plane(here: Namespace) -> Iterator[KernelPlane]:
    with here.entered():
        plane = KernelPlane()
    yield plane
    plane.close()


def out(destination: str, reqid: int = 1) -> Policy:
    source = Selector.parse("10.1.0.0/24")
    return Policy(Direction.OUT, source, Selector.parse(destination), "192.0.2.1", "192.0.2.2", reqid)


@needs_netns
def test_a_batch_of_more_messages_than_one_send_takes(here: Namespace, plane: KernelPlane) -> None:
    policies = [out(f"10.2.{i}.0/24") for i in range(256)]
    plane.apply([AddPolicy(policy) for policy in policies])
    assert set(plane.policies()) == set(policies)
    assert here.ip("xfrm", "policy", "count").split()[4] == "256"
    plane.apply([RemovePolicy(policy) for policy in policies])
    assert here.ip("xfrm", "policy") == ""


@needs_netns
def test_a_large_batch_that_fails_at_its_end_leaves_nothing(here: Namespace, plane: KernelPlane) -> None:
    here.ip("xfrm", "policy", "add", *"src 10.1.0.0/24 dst 10.9.0.0/24 dir out action block".split())
    before = here.ip("xfrm", "policy")
    orders = [AddPolicy(out(f"10.2.{i}.0/24")) for i in range(150)]
    with pytest.raises(Refused, match=r"adding policy out 10\.1\.0\.0/24 to 10\.9\.0\.0/24: .*EEXIST"):
        plane.apply([*orders, AddPolicy(out("10.9.0.0/24"))])
    assert here.ip("xfrm", "policy") == before
    assert plane.policies() == []


def shown(here: Namespace) -> list[str]:
    """Every policy as `ip xfrm policy` shows it, each on one line."""
    parts = re.split(r"\n(?=src )", here.ip("xfrm", "policy"))
    return [" ".join(part.split()) for part in parts if part.strip()]


@needs_netns
def test_an_action_replaces_another_for_the_same_traffic_in_one_step(here: Namespace, plane: KernelPlane) -> None:
    protecting = out("10.2.0.0/24")
    others = [protecting._replace(action=action) for action in (Action.DROP, Action.PASS)]
    for policy, words in zip([*others, protecting], ("action block", "ptype main", "tmpl src 192.0.2.1"), strict=True):
        plane.apply([AddPolicy(policy)])
        (line,) = shown(here)
        assert words in line
        assert ("tmpl" in line, "action block" in line) == ("tmpl" in words, "block" in words)
        assert plane.policies() == [policy]
    plane.apply([AddPolicy(others[0])])
    with pytest.raises(Refused, match="no way"):
        plane.apply([AddPolicy(protecting), AddRoute(Route(protecting.destination, (), "203.0.113.1"))])
    assert plane.policies() == [others[0]]
    plane.apply([RemovePolicy(protecting)])
    assert shown(here) == []


@needs_netns
def test_shunts_win_over_children_by_their_priority_then_by_narrowness(here: Namespace, plane: KernelPlane) -> None:
    nets = ["10.2.0.1/32", "10.3.0.0/16", "10.4.0.0/24", "10.5.0.0/16", "10.6.0.0/16"]
    ranks = [None, 100, 100, 20_000, 0]
    plane.apply(
        [
            AddPolicy(out(net)._replace(action=Action.PROTECT if rank is None else Action.DROP, priority=rank))
            for net, rank in zip(nets, ranks, strict=True)
        ]
    )
    found = {line.split()[3]: int(line.split("priority ")[1].split()[0]) for line in shown(here)}
    assert sorted(found, key=found.__getitem__) == [nets[4], nets[2], nets[1], nets[3], nets[0]]
    assert len(set(found.values())) == 5
    with pytest.raises(Refused, match="priority is 0 to 20000 in the kernel, not 20001"):
        plane.apply([AddPolicy(out("10.7.0.0/16")._replace(action=Action.PASS, priority=20_001))])


@needs_netns
def test_marks_and_interfaces_make_policies_of_their_own(here: Namespace, plane: KernelPlane) -> None:
    plain = out("10.2.0.0/24")
    kinds = [plain, plain._replace(mark=Mark(7, 0xFF), reqid=2), plain._replace(mark=Mark(8, 0xFF), reqid=3)]
    kinds += [plain._replace(interface_id=9, reqid=4), plain._replace(interface_id=9, mark=Mark(7, 0xFF), reqid=5)]
    plane.apply([AddPolicy(policy) for policy in kinds])
    assert len(shown(here)) == len(kinds)
    assert set(plane.policies()) == set(kinds)
    assert sum("mark 0x7/0xff" in line for line in shown(here)) == 2
    assert sum("if_id 0x9" in line for line in shown(here)) == 2
    for gone in kinds:
        plane.apply([RemovePolicy(gone)])
        assert gone not in plane.policies()
    assert shown(here) == []


@needs_netns
def test_inbound_and_forwarded_traffic_is_dropped_too(here: Namespace, plane: KernelPlane) -> None:
    drop = out("10.2.0.0/24")._replace(action=Action.DROP, priority=5)
    plane.apply([AddPolicy(drop._replace(direction=direction)) for direction in Direction])
    assert sorted(line.split("dir ")[1].split()[0] for line in shown(here)) == ["fwd", "in", "out"]
    assert all("action block" in line for line in shown(here))


@needs_netns
def test_a_refused_route_takes_its_batch_with_it(here: Namespace, plane: KernelPlane) -> None:
    route = Route(Selector.parse("10.2.0.0/24"), (Selector.parse("10.1.0.0/24"),), "203.0.113.1")
    with pytest.raises(Refused, match=r"there is no way to 203\.0\.113\.1"):
        plane.apply([AddPolicy(out("10.2.0.0/24")), AddRoute(route)])
    assert here.ip("xfrm", "policy") == ""
    assert "7296" not in here.ip("rule")


@needs_netns
def test_close_is_safe_twice_and_leaves_what_is_anothers(here: Namespace, plane: KernelPlane) -> None:
    here.ip("xfrm", "policy", "add", *"src 10.1.0.0/24 dst 10.9.0.0/24 dir out action block".split())
    before = here.ip("xfrm", "policy")
    plane.apply([AddPolicy(out("10.2.0.0/24"))])
    plane.close()
    plane.close()
    assert here.ip("xfrm", "policy") == before


@needs_netns
def test_every_policy_bears_our_tag_and_a_living_owner_is_not_swept(here: Namespace, plane: KernelPlane) -> None:
    plane.apply([AddPolicy(out("10.2.0.0/24"))])
    with here.entered():
        netlink, other = Netlink(NETLINK_XFRM), Owner()
    (lying,) = map(read_policy, netlink.dump(policies_dump()))
    assert not other.orphaned(lying.lifetime)
    plane._owner.close()
    assert other.orphaned(lying.lifetime)
    assert not other.orphaned(XfrmLifetimeCfg().pack())
    limited = XfrmLifetimeCfg(1000, 2000, soft_use_expires_seconds=plane._owner.tag.soft_use_expires_seconds).pack()
    assert other.orphaned(limited)
    assert plane._owner.tag.marks(limited)
    assert not other.tag.marks(limited)
    with here.entered():
        assert other.alone()
    netlink.close()
    other.close()


def test_one_process_is_not_alone_beside_another() -> None:
    first, second = Owner(), Owner()
    assert first.instance != second.instance
    assert not first.alone()
    first.close()
    second.close()


def test_the_kernels_words_and_what_was_being_done_make_one_sentence() -> None:
    told = NetlinkError(errno.EINVAL, "Requested AEAD algorithm not found")
    assert refusal("adding inbound state c0000001", told).why == (
        "adding inbound state c0000001: the kernel says Requested AEAD algorithm not found (EINVAL)"
    )
    silent = NetlinkError(errno.EPERM)
    assert refusal("adding a policy", silent).why == (
        "adding a policy: the kernel says Operation not permitted (EPERM); "
        "the process needs the capability CAP_NET_ADMIN"
    )


def test_attributes_that_overrun_end_the_list() -> None:
    good = attribute(5, b"abc") + attribute(6, b"")
    assert list(attributes(good, 0, len(good))) == [(5, b"abc"), (6, b"")]
    assert list(attributes(good + b"\xff\xff\7\0", 0, len(good) + 4)) == [(5, b"abc"), (6, b"")]
    assert list(attributes(b"\0\0\0\0", 0, 4)) == []


def test_a_choice_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(Refused, match="choose one of auto, kernel, userspace, memory"):
        open_driver("xfrm")


def test_memory_is_given_to_who_asks_for_it() -> None:
    assert isinstance(open_driver("memory"), MemoryPlane)


@needs_netns
@pytest.mark.requires("tun")
def test_auto_takes_the_kernel_or_userspace_and_says_why(here: Namespace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with here.entered():
        plane = open_driver("auto")
    plane.close()
    lines = [record.getMessage() for record in caplog.records if record.name == "gateway.dataplane.choose"]
    assert len(lines) == 1
    reason = {"kernel": "ESP works in this kernel", "userspace": "the kernel cannot carry ESP (adding an ESP state:"}
    assert lines[0].startswith(f"data plane: {plane.describe()}; {reason[plane.name]}") or "IPv4 only" in lines[0]
    assert here.ip("xfrm", "policy") + here.ip("xfrm", "state") == ""
    assert "ike" not in here.ip("link")


WITHOUT_RIGHTS = """
    from gateway.dataplane.choose import open_driver
    from gateway.ike.plane import Refused
    for wanted in ("auto", "kernel", "userspace"):
        try:
            open_driver(wanted)
        except Refused as refused:
            print(refused.why)
        else:
            print("opened")
"""


@needs_netns
def test_without_rights_each_choice_says_what_is_missing(here: Namespace) -> None:
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    done = subprocess.run(
        [*here.command(*words), sys.executable, "-c", textwrap.dedent(WITHOUT_RIGHTS)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPOSITORY,
        check=False,
    )
    auto, kernel, userspace = done.stdout.splitlines()
    missing = "Operation not permitted (EPERM); the process needs the capability CAP_NET_ADMIN"
    assert auto.startswith("no data plane works here. Kernel: ")
    assert kernel.startswith("the kernel cannot carry ESP: allocating an SPI: the kernel says")
    assert missing in auto
    assert missing in kernel
    assert "Userspace: " in auto
    assert userspace.startswith("the userspace data plane needs a TUN device: ")


@needs_netns
def test_policies_that_somebody_flushed_are_put_back(here: Namespace, plane: KernelPlane) -> None:
    hidden, over = out("10.2.0.0-10.2.0.127", 1), out("10.2.0.0-10.2.0.191", 2)
    sixth = Policy(Direction.OUT, Selector.parse("fd01::/64"), Selector.parse("fd02::/64"), "::1", "::2", 3)
    ordered = [hidden, over, sixth]
    plane.apply([AddPolicy(policy) for policy in ordered])
    before = sorted(shown(here))
    assert plane.mend() == Mended()
    here.ip("xfrm", "policy", "flush")
    assert not {over, sixth} & set(plane.policies())
    assert plane.mend().policies == len(before)
    assert sorted(shown(here)) == before
    here.ip("xfrm", "policy", "delete", *"src 10.1.0.0/24 dst 10.2.0.128/26 dir out".split())
    assert plane.mend().policies == 1
    plane.apply([RemovePolicy(policy) for policy in ordered])
    assert here.ip("xfrm", "policy") == ""


@needs_netns
def test_routes_are_put_back_and_follow_the_network(network: Network) -> None:
    left, _ = two_sites(network)
    left.route("default", "via", "192.0.2.2")
    with left.entered():
        plane = KernelPlane()
    wanted = Route(Selector.parse("10.2.0.0/24"), (Selector.parse("10.1.0.0/24"),), "203.0.113.5")
    sixth = Route(Selector.parse("fd02::/64"), (Selector.parse("fd01::/64"),), "2001:db8::2")

    def laid() -> list[str]:
        return sorted(
            " ".join(line.split())
            for family in ("-4", "-6")
            for line in left.run("ip", family, "route", "show", "table", "7296", check=False).stdout.splitlines()
        )

    plane.apply([AddRoute(wanted), AddRoute(sixth)])
    before = laid()
    assert plane.mend().routes == 0
    left.ip("route", "flush", "table", "7296")
    left.ip("rule", "delete", "priority", "220")
    assert plane.mend().routes == 1
    assert laid() == before
    assert "lookup 7296" in left.ip("rule")
    left.ip("link", "set", "to-right", "down")
    assert plane.mend().routes == 0, "no way to the peer: nothing better is known"
    left.ip("link", "set", "to-right", "up")
    left.route("default", "via", "192.0.2.9")
    assert plane.mend().routes >= 1
    assert any("10.2.0.0/24 via 192.0.2.9" in line for line in laid()), "the way to the peer is another now"
    plane.apply([RemoveRoute(wanted), RemoveRoute(sixth)])
    assert laid() == []
    assert "7296" not in left.ip("rule")
    plane.close()


@needs_netns
async def test_what_another_removes_is_told_and_what_we_remove_is_not(here: Namespace, plane: KernelPlane) -> None:
    heard: list[PlaneEvent] = []
    plane.listen(heard.append)
    plane.apply([AddPolicy(out("10.2.0.0/24")), AddPolicy(out("10.3.0.0/24"))])
    plane.apply([RemovePolicy(out("10.3.0.0/24"))])
    here.ip("xfrm", "policy", "add", *"src 10.1.0.0/24 dst 10.9.0.0/24 dir out action block".split())
    here.ip("xfrm", "policy", "delete", *"src 10.1.0.0/24 dst 10.9.0.0/24 dir out".split())
    await asyncio.sleep(0.05)
    assert heard == []
    for words in ("policy delete src 10.1.0.0/24 dst 10.2.0.0/24 dir out", "policy flush"):
        here.ip("xfrm", *words.split())
        await asyncio.sleep(0.05)
        assert heard == [Disturbed()], words
        heard.clear()
        assert plane.mend().policies == 1
