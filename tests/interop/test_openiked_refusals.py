"""Certificates that do not hold, with OpenIKED: what we refuse is named, whoever calls; and what it refuses.

It sends no certificate but its own, none at all where its own does not name its identity, and looks at no extended key
usage. As initiator it says AUTHENTICATION_FAILED when it does not believe us (RFC 7296 2.21.2).
"""

import datetime as dt
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.interop.credentials import ROOT, Proven
from tests.interop.credentials import ends as certificates
from tests.interop.test_libreswan_refusals import AUTHENTICATION_FAILED, LIMITED, NOW, OURS, bad, crls, made, named
from tests.interop.test_openiked import _CONFIGURATION
from tests.interop.tunnels import HOSTS, INNER, OUTER, Net
from tests.lab.appliance import Appliance, Plain, until
from tests.lab.namespaces import Namespace, Network, two_sites
from tests.lab.openiked import OpenIked
from tests.pki import Issued

pytestmark = [pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "openiked", "ping")]


@dataclass
class Ends:
    """Our gateway on the left; on the right an OpenIKED for each tunnel."""

    right: Namespace
    gateway: Appliance

    def failed(self, name: str, *, ours: bool) -> Plain | None:
        """The attempt that failed, of those that one end began; a timeout is none."""
        for attempt in self.gateway.ask("attempts", peer=name, limit=20):
            if attempt["outcome"] == "failed" and attempt["initiator"] is ours and "timeout" not in attempt["cause"]:
                return dict(attempt)
        return None

    def call(self, name: str) -> Plain | None:
        """Call it again: it may forget what it heard while it still reads its configuration."""
        assert not self.gateway.connect(name)["ok"]
        return self.failed(name, ours=True)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    with ExitStack() as stack:
        left, right = two_sites(stack.enter_context(Network()))
        right.route(INNER[4][0], "via", OUTER[4][0], "src", HOSTS[4][1])
        folder = tmp_path_factory.mktemp("openiked")
        yield Ends(right, stack.enter_context(Appliance(left, folder / "gateway", "kernel")))


@contextmanager
def running(ends: Ends, folder: Path, name: str, lab: dict[str, Any], **one: Issued) -> Iterator[OpenIked]:
    """Both ends know the tunnel, and OpenIKED calls; `one` is a certificate in the place of the good one."""
    proven = Proven(name=name, **{**certificates(name), **one}, ours={"scheme": "ecdsa-sha256"})
    tunnel = replace(proven.tunnel(), ike="aes128-sha256-x25519", nets=(Net(esp="aes128-sha1"),))
    ends.gateway.apply(
        {
            "proposals": tunnel.proposals(),
            "authorities": [{"name": "lab", "certificate": ROOT.pem, **crls(), **lab}],
            "certificates": [proven.certificate()],
            "peers": [tunnel.peer()],
        },
        prune=True,
    )
    (here, there), (left, right) = OUTER[4], INNER[4]
    text = _CONFIGURATION.format(name=name, start="active", right=right, left=left, here=there, there=here)
    iked = OpenIked(ends.right, folder / "iked", text)
    iked.own(proven.right.pem, proven.right.key_pem, ROOT.pem)
    with iked:
        yield iked
    ends.gateway.apply({}, prune=True)


EXPIRED = NOW - dt.timedelta(days=1)
REFUSED = {
    **OURS,
    "expired": ("certificate-validity", "validity period", "expired at"),
    "name": ("certificate-form", "form", "it sent no certificate"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_we_refuse_and_name_the_check(ends: Ends, tmp_path: Path, what: str) -> None:
    cause, check, words = REFUSED[what]
    name = f"iked-{what}"
    right = bad(name, "right", ends=EXPIRED) if what == "expired" else made(what, name, "right")
    lab = {"intermediates": LIMITED.pem} if what == "limits" else {}
    with running(ends, tmp_path, name, lab, right=right) as iked:
        attempts = [until(lambda: ends.failed(name, ours=False), "it calls in vain", 30)]
        attempts.append(until(lambda: ends.call(name), "we call in vain", 30))
        for attempt in attempts:
            if what == "name":  # there is no chain
                assert (attempt["cause"], attempt["notify"]) == (cause, AUTHENTICATION_FAILED)
                assert f"the check of its {check}: {words}" in attempt["reason"], iked.log()
            else:
                named(attempt, cause, check, words)
        assert not ends.gateway.children()


THEIRS = ("stranger", "name", "gap", "expired")


@pytest.mark.parametrize("what", THEIRS)
def test_openiked_refuses_us(ends: Ends, tmp_path: Path, what: str) -> None:
    name = f"by-iked-{what}"
    left = bad(name, "left", ends=EXPIRED) if what == "expired" else made(what, name, "left")
    with running(ends, tmp_path, name, {}, left=left) as iked:
        told = f"IKE SA with {name} closed: the peer refused our proof (AUTHENTICATION_FAILED): it does not trust our"
        until(lambda: told in ends.gateway.log(), "it says that it does not believe us", 30)
        assert not ends.gateway.ike_sas(name)
        attempt = until(lambda: ends.call(name), "we call in vain", 30)
        assert attempt["cause"] == "peer-refused-us", iked.log()
        assert "(AUTHENTICATION_FAILED): it does not trust our certificate" in attempt["reason"]
        assert "The peer's own log has the reason" in attempt["advice"]
