"""The same floods twice over, while honest peers connect: the second time must leave no more memory than the first.

`python -m benchmarks.soak [--seconds N] [--rate N]`, N seconds for each flood. The books that are kept on purpose (the
journal's 10,000 records, the last 2,000 attempts) are filled before, and with the same again after each round: what a
flood leaves in them is smaller than an honest call, so that they are as large as these were many. The half-open IKE SAs
of a round time out before it is measured, and the books about sources are full after the first round. The status is
not 0 when memory grew, or when an honest peer did not get in. Resident memory is what a machine feels, and fragments of
the heap are in it; the blocks that the interpreter holds tell a leak apart from these.
"""

import argparse
import asyncio
import sys
import time
from typing import NamedTuple

from benchmarks.floods import KINDS, RATE, Caller, Target, flood, target
from gateway.policy.snapshot import EngineSettings
from gateway.service.journal import KEPT as RECORDS

SECONDS = 75.0
ROUNDS = 2
GROWTH = 2**20
"""Octets that the heap's fragments may differ by; a leak of 10 octets for each datagram of a round is more."""
BLOCKS = 2000
"""Blocks that the interpreter may hold more: in ten minutes a datagram in a thousand that leaves one is found, and an
honest peer that leaves one."""
_FILLING = 900.0
"""Seconds; a minute on a machine that does nothing else."""
_ATTEMPTS = EngineSettings().attempts_kept


async def fill(gateway: Target, calls: int = 0) -> int:
    """Call so often, and until what is kept of calls is as much as is ever kept; how often. Raises TimeoutError."""
    caller, called = Caller(gateway.nat), 0
    try:
        async with asyncio.timeout(_FILLING):
            full = False
            while called < calls or not full:
                for _ in range(100):
                    await caller.call()
                called += 100
                found = gateway.ask()
                full = found["records"] >= RECORDS and found["attempts"] >= _ATTEMPTS
    finally:
        await caller.close()
    return called


class Held(NamedTuple):
    """What the gateway's process holds: octets that are resident, and blocks of the interpreter's."""

    octets: int
    blocks: int

    def __str__(self) -> str:
        return f"{self.octets / 2**20:.1f} MiB, {self.blocks:,} blocks"


def settle(gateway: Target) -> Held:
    """What the gateway holds when no IKE SA is left, which is waited for. Raises TimeoutError."""
    deadline = time.monotonic() + 2 * EngineSettings().half_open_timeout
    while left := (found := gateway.ask())["sas"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{left} IKE SAs are still there")
        time.sleep(0.5)
    return Held(gateway.memory, found["blocks"])


def soak(rate: float, seconds: float) -> list[str]:
    """What went wrong, in sentences."""
    wrong = []
    with target() as gateway:
        calls = asyncio.run(fill(gateway))
        held = [settle(gateway)]
        print(f"the books are full: {held[0]}", flush=True)
        for number in range(1, ROUNDS + 1):
            for kind in KINDS:
                outcome = asyncio.run(flood(gateway, kind, rate, seconds))
                print(outcome, flush=True)
                if outcome.failed or not outcome.took:
                    wrong.append(f"round {number}, {kind}: {len(outcome.failed)} failed, as {outcome.failed[:1]}")
            asyncio.run(fill(gateway, calls))
            held.append(settle(gateway))
            print(f"after round {number}: {held[-1]}", flush=True)
    grown, more = held[-1].octets - held[1].octets, held[-1].blocks - held[1].blocks
    if grown > GROWTH:
        wrong.append(f"the last round left {grown / 2**20:.1f} MiB more than the first; {GROWTH / 2**20:.1f} may be")
    if more > BLOCKS:
        wrong.append(f"the last round left {more:,} blocks more than the first; {BLOCKS:,} may be")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each flood lasts")
    parser.add_argument("--rate", type=float, default=RATE, help="datagrams a second")
    options = parser.parse_args()
    wrong = soak(options.rate, options.seconds)
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    print("memory is flat, and everybody honest got in" if not wrong else f"{len(wrong)} things are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
