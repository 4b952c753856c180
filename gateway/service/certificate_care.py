"""What certificates need without anybody asking: renewed in time, with lists of revoked ones that are fresh."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable

from cryptography import x509

from gateway.ike.authentication.revocation import PATIENCE, AskRevocation, Told
from gateway.ike.flow import NoAnswer
from gateway.service.issuing import Issuing
from gateway.service.manage import Configuration, Invalid, NotFound, PreconditionFailed, StorageFailed, Terms
from gateway.service.revocation_fetching import RevocationFetching
from gateway.service.revocation_keeping import RevocationKeeping
from gateway.service.revocation_sources import anchored_at

EVERY = 60.0  # seconds
_log = logging.getLogger(__name__)


class CertificateCare:
    """Looks after certificates every EVERY seconds, from `start` to `stop`.

    `proven` are certificates by which peers have proven themselves; `keeping` is where lists outlive the process.
    """

    def __init__(
        self,
        config: Configuration,
        issuing: Issuing,
        fetching: RevocationFetching,
        proven: Callable[[], Iterable[x509.Certificate]] = tuple,
        keeping: RevocationKeeping | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._issuing = issuing
        self._fetching = fetching
        self._proven = proven
        self._keeping = keeping
        self._clock = clock
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def restore(self) -> None:
        """Take up what an earlier process fetched."""
        if self._keeping is not None:
            await self._keeping.restore(self._config.inventory, self._clock())
            await self._lay()

    async def stop(self) -> None:
        self._fetching.stop()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001  whatever it was, others still run out
                _log.exception("certificates were not looked after")
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Renew what is due, fetch lists of others and make those of ours anew; what fails is tried again later."""
        for name in self._issuing.due():
            try:
                await self._issuing.renew(name, Terms("ikegate", f"Two thirds of the life of {name} are over"))
            except (Invalid, NotFound, PreconditionFailed, StorageFailed) as failed:
                _log.warning("certificate %s is not renewed: %s", name, failed)
        await self._fetch()

    async def fetch(self, authority: str) -> None:
        """Fetch all that an authority says of revoked certificates now, fresh or not."""
        self._fetching.forget_freshness(authority)
        await self._fetch()

    async def _fetch(self) -> None:
        async with self._looking:
            await self._fetching.look(self._config.inventory, self._proven())
            await self._lay()
            if self._keeping is not None:
                await self._keeping.keep()

    async def _lay(self) -> None:
        await self._config.lay_lists(self._fetching.lists, self._fetching.answers)

    async def answer(self, question: AskRevocation) -> Told:
        """What issuers say of certificates by which somebody proves himself just now. Raises NoAnswer."""
        inventory, lists = self._config.inventory, self._fetching.lists
        authority = anchored_at(inventory, question.anchor)
        if authority is None:
            raise NoAnswer("nobody is asked about an authority of our own")
        pairs = [
            (x509.load_der_x509_certificate(one), x509.load_der_x509_certificate(issuer))
            for one, issuer in question.pairs
        ]
        try:
            async with asyncio.timeout(PATIENCE - 1):
                answers, why = await self._fetching.ask(inventory, authority, pairs)
        except TimeoutError:
            raise NoAnswer("whom its issuer names did not answer in time") from None
        if self._fetching.lists != lists:
            await self._lay()
        return Told(answers, why)
