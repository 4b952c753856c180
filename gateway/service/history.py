"""What outlives the process of what happened: outages, leases, when devices were seen."""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import asdict

from gateway.ike.reasons import Kind
from gateway.policy.peers import Start
from gateway.policy.pools import Lease
from gateway.service.devices import Devices
from gateway.service.outages import Outage
from gateway.service.runner import Runner
from gateway.storage.database import Database, StorageFailed
from gateway.storage.history import load_leases, load_outages, save_leases, save_outages

log = logging.getLogger("ikegate")


class History:
    """Writes it behind; what cannot be written now is tried again."""

    def __init__(self, database: Database, runner: Runner, devices: Devices) -> None:
        self._database = database
        self._runner = runner
        self._devices = devices

    async def keep(self) -> None:
        """Write what changed since the last time."""
        await self._keep_outages()
        await self._keep_leases()
        try:
            await self._devices.keep()
        except StorageFailed as failed:
            log.warning("when devices were seen is not written: %s", failed)

    async def _keep_outages(self) -> None:
        outages = self._runner.outages
        changed, gone = outages.changed, outages.gone
        if not changed and not gone:
            return
        outages.changed, outages.gone = {}, set()
        try:
            await asyncio.to_thread(self._write_outages, list(changed.values()), gone)
        except StorageFailed as failed:
            log.warning("the history of outages is not written: %s", failed)
            outages.changed, outages.gone = changed | outages.changed, gone | outages.gone

    def _write_outages(self, changed: list[Outage], gone: set[int]) -> None:
        with self._database.write() as session:
            save_outages(session, [asdict(outage) for outage in changed], gone)

    async def _keep_leases(self) -> None:
        changed, self._runner.leases = self._runner.leases, {}
        if not changed:
            return
        try:
            await asyncio.to_thread(self._write_leases, changed.values())
        except StorageFailed as failed:
            log.warning("the leases are not written: %s", failed)
            self._runner.leases = changed | self._runner.leases

    async def forget_lease(self, pool: str, address: str) -> None:
        """Nobody's any more. Raises StorageFailed."""
        self._runner.leases.pop((pool, address), None)
        await asyncio.to_thread(self._write_leases, (), [(pool, address)])

    def _write_leases(self, changed: Collection[Lease], gone: Collection[tuple[str, str]] = ()) -> None:
        with self._database.write() as session:
            save_leases(session, changed, gone)

    def outages(self) -> list[Outage]:
        """Those that were written down."""
        with self._database.read() as session:
            rows = load_outages(session)
        return [Outage(**{**row, "start": Start(row["start"]), "kind": Kind(row["kind"])}) for row in rows]


def known_leases(database: Database) -> list[Lease]:
    """Those that were written down."""
    with database.read() as session:
        return load_leases(session)
