"""Rekeys a CPU-second of the end that is asked for them, beside strongSwan's charon in one run.

`python -m benchmarks.rekeys [--quick]` as root. Our initiator has some IKE SAs with each responder, and rekeys each
one's CHILD_SA (without a key exchange of its own) or the IKE SA itself (X25519), deletes of what was replaced included.
The targets are those of `benchmarks.targets`. Nothing is asserted.
"""

import argparse
import subprocess
import sys

from benchmarks.end import CLIENTS
from benchmarks.targets import WHOLE, Round, Target, charons, middle, ours, side_by_side
from tests.lab.charon import CharonError
from tests.lab.namespaces import CommandFailedError
from tests.lab.userspace import first_missing, missing

_STANDING = 200
_KINDS = {"child-sa.rekeyed": "CHILD_SA", "ike-sa.rekeyed": "IKE SA"}


def _measure(targets: list[Target], rounds: int, end: str) -> dict[str, list[Round]]:
    """By target; the first round warms up."""
    found: dict[str, list[Round]] = {target.name: [] for target in targets}
    for number in range(rounds + 1):
        for target in targets if number % 2 == 0 else targets[::-1]:
            done = target.rekey(0, _STANDING, end)
            if number:
                found[target.name].append(done)
    return found


def _print(found: dict[str, list[Round]], what: str) -> None:
    rates = {name: [one.count / one.responder for one in rounds] for name, rounds in found.items()}
    print(f"\nrekeys of the {what} a CPU-second of the end that is asked, median (lowest-highest) of the rounds")
    for name, each in rates.items():
        asking = [one.count / one.initiator for one in found[name]]
        print(f"  {name:30} {middle(each, '6.0f')}   asking (always ikegate) {middle(asking, '.0f')}")
    mine, *others = rates.items()
    for name, each in others:
        print(f"  ratio to {name}: {middle([a / b for a, b in zip(mine[1], each, strict=True)])}")


def compare(rounds: int) -> int:
    """Measure in alternating rounds and print; the exit status."""
    needs = first_missing("root", "netns")
    if needs:
        print(f"cannot measure rekeys: {needs}", file=sys.stderr)
        return 2
    absent = first_missing("root", "tun", "netns") or missing("charon")
    with side_by_side(
        lambda folder: ours(_STANDING, folder), lambda folder: charons(_STANDING, folder, WHOLE, CLIENTS), absent
    ) as targets:
        for target in targets:
            target.call(_STANDING)
        for end, what in _KINDS.items():
            _print(_measure(targets, rounds, end), what)
    return 1 if absent else 0


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rekeys", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four rounds of each, not ten")
    options = parser.parse_args(words)
    try:
        return compare(4 if options.quick else 10)
    except (CommandFailedError, CharonError, subprocess.TimeoutExpired) as failure:
        print(f"cannot measure: {failure}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
