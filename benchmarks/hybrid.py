"""Hybrid handshakes a CPU-second, X25519 and then ML-KEM-768 in IKE_INTERMEDIATE, beside strongSwan 6's charon.

`python -m benchmarks.hybrid [--quick]` as root. As `benchmarks.handshakes`, whose rounds these are: the same keys and
identities, with the product's default key exchange. Nothing is asserted.
"""

import argparse
import subprocess
import sys

from benchmarks.end import CLIENTS, HYBRID
from benchmarks.targets import Kind, Target, alternate, charons, middle, ours, print_ratios, side_by_side
from tests.lab.charon import CharonError
from tests.lab.namespaces import CommandFailedError
from tests.lab.strongswan6 import Charon6, unpacked
from tests.lab.userspace import first_missing

_CHARON = "charon 6 with kernel-libipsec"
_KIND = Kind(Charon6, HYBRID, "ml kernel-libipsec kernel-netlink")
_EACH = 50  # handshakes of a round


def _print(targets: list[Target]) -> None:
    print("\nresponder: hybrid handshakes a CPU-second, median (lowest-highest) of the rounds")
    for target in targets:
        each = [1000 * one.responder / one.count for one in target.rounds if one.before]
        print(f"  {target.name:30} {middle(target.rates(), '6.0f')}   {middle(each)} ms each")
    print_ratios(targets)
    print("initiator (always ikegate): hybrid handshakes a CPU-second, by the responder")
    for target in targets:
        print(f"  {target.name:30} {middle([r.count / r.initiator for r in target.rounds if r.before], '6.0f')}")


def compare(rounds: int) -> int:
    """Measure in alternating rounds and print; the exit status."""
    needs = first_missing("root", "netns")
    if needs:
        print(f"cannot measure hybrid handshakes: {needs}", file=sys.stderr)
        return 2
    absent = first_missing("root", "tun", "netns") or unpacked()
    clients = _EACH * (rounds + 1)
    with side_by_side(
        lambda folder: ours(clients, folder, HYBRID),
        lambda folder: charons(clients, folder, _CHARON, CLIENTS, _KIND),
        absent,
    ) as targets:
        alternate(targets, rounds, _EACH)
        _print(targets)
    return 1 if absent else 0


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hybrid", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="five rounds, not fifteen")
    options = parser.parse_args(words)
    try:
        return compare(5 if options.quick else 15)
    except (CommandFailedError, CharonError, subprocess.TimeoutExpired) as failure:
        print(f"cannot measure: {failure}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
