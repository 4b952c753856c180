"""IKE handshakes a CPU-second of users with a password, EAP-MSCHAPv2, beside strongSwan's charon in one run.

`python -m benchmarks.people [--quick]` as root. The responder proves itself by a pre-shared key; as in
`benchmarks.handshakes`, our initiator calls each responder in alternating rounds. Nothing is asserted.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.end import CLIENTS, ESP, IKE, NETS, PASSWORDS, SECRET
from benchmarks.targets import SETTINGS, WHOLE, OurEnd, Target, alternate, middle, ours, print_ratios, side_by_side
from tests.interop.tunnels import text_of
from tests.lab.charon import Charon
from tests.lab.namespaces import Network, two_sites
from tests.lab.userspace import first_missing, missing

_EACH = 50  # handshakes of a round


def _swanctl(clients: int) -> str:
    child = {"local_ts": NETS, "remote_ts": CLIENTS, "esp_proposals": ESP}
    connection = {
        "version": "2",
        "proposals": IKE,
        "local_addrs": "192.0.2.2",
        "remote_addrs": "%any",
        "local": {"auth": "psk", "id": "gw.example"},
        "remote": {"auth": "eap-mschapv2", "eap_id": "%any", "id": "*.example"},
        "children": {"net": child},
    }
    users = {f"eap-c{number}": {"id": f"c{number}", "secret": SECRET} for number in range(clients)}
    return text_of({"connections": {"lab": connection}, "secrets": {"ike-lab": {"secret": SECRET}, **users}})


@contextlib.contextmanager
def charons(clients: int, folder: Path) -> Iterator[Target]:
    """ikegate calls charon."""
    with Network() as network, contextlib.ExitStack() as stack:
        left, right = two_sites(network)
        charon = stack.enter_context(Charon(right, folder / "charon", settings=SETTINGS))
        charon.load(_swanctl(clients))
        end = OurEnd(left, "initiator", clients, folder / "caller", IKE, keys=PASSWORDS)
        initiator = stack.enter_context(contextlib.closing(end))
        assert charon.process is not None
        yield Target(WHOLE, charon.process.pid, initiator, lambda: None)


def compare(rounds: int) -> int:
    """Measure in alternating rounds and print; the exit status."""
    if needs := first_missing("root", "netns"):
        print(f"cannot measure handshakes: {needs}", file=sys.stderr)
        return 2
    absent = first_missing("root", "tun", "netns") or missing("charon")
    clients = _EACH * (rounds + 1)
    with side_by_side(
        lambda folder: ours(clients, folder, keys=PASSWORDS), lambda folder: charons(clients, folder), absent
    ) as targets:
        alternate(targets, rounds, _EACH)
        print("responder: EAP-MSCHAPv2 handshakes a CPU-second, median (lowest-highest) of the rounds")
        for target in targets:
            print(f"  {target.name:30} {middle(target.rates(), '6.0f')}")
        print_ratios(targets)
    return 1 if absent else 0


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.people", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four rounds, not ten")
    return compare(4 if parser.parse_args(words).quick else 10)


if __name__ == "__main__":
    sys.exit(main())
