"""Blocked sources reach the kernel in their order, and it is said where they do not."""

import pytest

from gateway.service.blocking import Blocking
from tests.lab.namespaces import Network


@pytest.mark.requires("root", "netns")
def test_the_last_list_wanted_is_the_one_that_lies_there(network: Network, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    here = network.namespace("here")
    with here.entered():
        blocking = Blocking((500, 4500))
    for number in range(4):
        blocking.want((f"203.0.113.{number}",))
    blocking.want(("203.0.113.9", "2001:db8::/64"))
    blocking._worker.submit(int).result()
    shown = here.run("nft", "list", "ruleset").stdout
    if caplog.records:
        pytest.skip(f"no nftables of the family inet here: {caplog.text}")
    assert "203.0.113.9" in shown
    assert "2001:db8::/64" in shown
    assert "203.0.113.3" not in shown
    blocking.close()
    assert here.run("nft", "list", "ruleset").stdout == ""


def test_it_is_said_once_where_the_kernel_cannot(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("gateway.dataplane.nft._BESIDE", "/nowhere")
    blocking = Blocking((500, 4500))
    for networks in ((), ("203.0.113.1",), ("203.0.113.2",)):
        blocking.want(networks)
    blocking.close()
    assert [record.getMessage() for record in caplog.records] == [
        "blocked sources are dropped by this process alone, not by the kernel: the command nft is not installed here"
    ]
