"""One-time codes (RFC 6238): new secrets for them, and which were used last, so that none is good twice.

That is written down at once: a restart forgets nothing.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass, field

from gateway.crypto import one_time
from gateway.ike.effects import CodeUsed
from gateway.service.manage import Configuration
from gateway.storage.database import Database, StorageFailed
from gateway.storage.history import load_used_codes, save_used_code
from gateway.storage.people import UserObject

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewCodes:
    """A new secret, as octets, as an app takes it and as people type it."""

    secret: bytes = field(repr=False)
    uri: str = field(repr=False)
    typed: str = field(repr=False)


def new_codes(config: Configuration, user: str, issuer: str) -> NewCodes:
    """A secret of 160 bits for a user of the configuration; `issuer` is our public name. Raises NotFound."""
    document = config.object("users", user)
    assert isinstance(document, UserObject)
    secret = secrets.token_bytes(one_time.SECRET_OCTETS)
    uri = one_time.uri(secret, document.login or document.name, issuer or "ikegate")
    return NewCodes(secret, uri, one_time.text(secret))


class UsedCodes:
    """The steps in the database. `write` is for a running loop, which it does not hold up."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writing: set[asyncio.Future[None]] = set()

    def known(self) -> dict[str, int]:
        """The step of each user's last code."""
        with self._database.read() as session:
            return load_used_codes(session)

    def write(self, used: CodeUsed) -> None:
        """Begin to write it down; a code that a failure leaves out lasts a minute and a half at most."""
        task = asyncio.get_running_loop().run_in_executor(None, self._save, used)
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def settle(self) -> None:
        """Wait until all is written."""
        await asyncio.gather(*self._writing)

    def _save(self, used: CodeUsed) -> None:
        try:
            with self._database.write() as session:
                save_used_code(session, used.user, used.step)
        except StorageFailed as failed:
            _log.warning("that a one-time code was used is not written: %s", failed)
