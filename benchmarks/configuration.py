"""One change among ten thousand peers: what the engine, the service and the REST API take for it.

`python -m benchmarks.configuration [--peers N] [--rounds N]`. The gateway is a real one with a database of its own and
a data plane in memory; nobody is called. CPU is this process's, callers included. Nothing is asserted.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2

from gateway.dataplane.memory import MemoryPlane
from gateway.ike.engine import Engine
from gateway.service.manage import Configuration, Terms
from gateway.service.memory import tidy
from tests.web.api_lab import served

PEERS, ROUNDS = 10_000, 5
_TERMS = Terms("benchmark")


def document(number: int) -> dict[str, object]:
    """A peer that nobody calls, with one child."""
    return {
        "name": f"p{number}",
        "remote_id": f"p{number}.example",
        "local_id": "gw.example",
        "remote_addresses": [f"198.51.{number >> 8 & 255}.{number & 255}"],
        "ike_proposals": ["ike"],
        "children": [
            {
                "name": "net",
                "local_selectors": ["10.1.0.0/24"],
                "remote_selectors": [f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}/32"],
                "esp_proposals": ["esp"],
                "start": "passive",
            }
        ],
    }


def key(number: int) -> dict[str, object]:
    return {"name": f"k{number}", "secret": f"only for this benchmark {number}", "remote_ids": [f"p{number}.example"]}


async def measure(name: str, rounds: int, change: Callable[[int], Awaitable[object]]) -> None:
    """Print the milliseconds of a change, and how long the event loop stood still meanwhile."""
    took, spent, stood = [], [], []
    for number in range(rounds):
        lag = asyncio.get_running_loop().create_task(_longest_pause())
        await asyncio.sleep(0.02)
        began, cpu = time.perf_counter(), time.process_time()
        await change(number)
        took.append(time.perf_counter() - began)
        spent.append(time.process_time() - cpu)
        lag.cancel()
        stood.append(await lag)
    print(f"  {name:34} {_ms(took)}   CPU {_ms(spent)}   the event loop stood still for {_ms(stood)}", flush=True)


async def _longest_pause() -> float:
    longest, last = 0.0, time.perf_counter()
    try:
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last - 0.001), now
    except asyncio.CancelledError:
        return max(longest, time.perf_counter() - last - 0.001)


def _ms(seconds: list[float]) -> str:
    values = [1000 * one for one in seconds]
    return f"{statistics.median(values):6.1f} ms ({min(values):.1f}-{max(values):.1f})"


async def compare(peers: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        async with served(Path(scratch) / "here") as api:
            config = api.gateway.config
            proposals = [
                {"name": "ike", "protocol": "ike", "suites": ["aes256gcm16-prfsha256-x25519"]},
                {"name": "esp", "protocol": "esp", "suites": ["aes256gcm16"]},
            ]
            whole = {
                "apiVersion": "ikegate/v1",
                "proposals": proposals,
                "peers": [document(n) for n in range(peers)],
                "psks": [key(n) for n in range(peers)],
            }
            began = time.perf_counter()
            await config.apply(whole, _TERMS)
            print(f"{peers:,} peers with one child each; loading them all took {time.perf_counter() - began:.1f} s")
            tidy()
            print(f"one change, median (lowest-highest) of {rounds}")

            await _measure_engine(config, rounds)
            await measure("service: a description", rounds, lambda n: _changed(config, n, description=f"again {n}"))
            await measure("service: a liveness delay", rounds, lambda n: _changed(config, n, dpd_delay=11 + n))
            async with api.client(await api.token()) as client:
                await _measure_api(client, rounds)


async def _changed(config: Configuration, number: int, **fields: object) -> None:
    await config.patch("peers", f"p{number}", fields, _TERMS)


async def _measure_engine(config: Configuration, rounds: int) -> None:
    engine = Engine(MemoryPlane(), os.urandom)
    engine.apply(config.snapshot(), 0.0)

    async def applied(number: int) -> None:
        engine.apply(config.snapshot(), 1.0)

    await measure("engine.apply, the same again", rounds, applied)
    snapshots = []
    for number in range(rounds):
        await _changed(config, number, dpd_delay=7)
        snapshots.append(config.snapshot())

    async def one(number: int) -> None:
        engine.apply(snapshots[number], 2.0)

    await measure("engine.apply, one change", rounds, one)


async def _measure_api(client: httpx2.AsyncClient, rounds: int) -> None:
    async def put(number: int) -> None:
        body = document(number + rounds) | {"description": "put"}
        answer = await client.put(f"/api/v1/peers/p{number + rounds}", json=body)
        answer.raise_for_status()

    async def status(_: int) -> None:
        (await client.get("/api/v1/status")).raise_for_status()

    await measure("REST: PUT of a peer", rounds, put)
    await measure("REST: GET of the whole status", rounds, status)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.configuration", description=__doc__)
    parser.add_argument("--peers", type=int, default=PEERS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    asyncio.run(compare(options.peers, options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
