"""Who may do what: administrators, their sessions, API tokens, and the one-time token of the first setup."""

import asyncio
import hmac
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session as DatabaseSession

from gateway.service.credentials import (
    PASSWORD_LIMIT,
    TOKEN_LIFETIME,
    Scope,
    check_account,
    check_token,
    digest,
    new_token,
    split_token,
    token_text,
)
from gateway.service.journal import Journal
from gateway.service.throttle import Throttle, Throttled
from gateway.storage.access_models import AdminRow, SessionRow, TokenRow
from gateway.storage.database import Database, StorageFailed
from gateway.storage.objects import FieldError, Invalid

__all__ = [
    "Access",
    "NewToken",
    "Scope",
    "Session",
    "SetupRefused",
    "SignInRefused",
    "Started",
    "Throttled",
    "Token",
    "TokenNotFound",
]

IDLE = 30 * 60.0
ABSOLUTE = 12 * 3600.0
SETUP_LIFETIME = 60 * 60.0
# A hash that no password has: so an unknown name takes as long as a wrong password.
_NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$" + "A" * 22 + "$" + "A" * 43
_log = logging.getLogger(__name__)
_TOUCH = 60.0  # how old the note of a session's or token's last use may get


class SignInRefused(Exception):
    """Name and password do not belong together; which of them is wrong is not told."""


class SetupRefused(Exception):
    """The setup token is wrong, used, too old, or setup is over; the text says what to do."""


class TokenNotFound(Exception):
    """There is no such token."""


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in administrator; times are Unix seconds."""

    id: int
    admin: str
    created_at: float
    used_at: float
    source: str

    @property
    def expires_at(self) -> float:
        """When it ends unless it is used before."""
        return min(self.created_at + ABSOLUTE, self.used_at + IDLE)


@dataclass(frozen=True, slots=True)
class Started:
    """A new session and the value for its cookie, which is nowhere else."""

    session: Session
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Token:
    """An API token as lists show it; times are Unix seconds."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_by: str
    created_at: float
    expires_at: float
    used_at: float | None
    used_from: str | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made; `text` is shown this once."""

    token: Token
    text: str = field(repr=False)


class Access:
    """Accounts, sessions and tokens of one gateway. Methods that are no coroutines read the database: use a thread."""

    def __init__(self, database: Database, journal: Journal, clock: Callable[[], float]) -> None:
        self._database = database
        self._journal = journal
        self._clock = clock
        self._hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4)  # RFC 9106 4, second choice
        self._hashing = asyncio.Semaphore(2)  # each takes 64 MiB
        self._throttle = Throttle()
        self._setup: tuple[str, float] | None = None
        with database.read() as session:
            self._setup_needed = _admins(session) == 0

    # Setup

    @property
    def setup_needed(self) -> bool:
        """Whether there is no administrator yet."""
        return self._setup_needed

    def setup_link(self, authority: str) -> str | None:
        """A new one-time link to the setup page at `authority` (`host:port`), good for an hour; None once it is set up.

        The token is in the fragment, which a browser sends to no server and no log.
        """
        if not self._setup_needed:
            return None
        token = secrets.token_urlsafe(32)
        self._setup = (digest(token), self._clock() + SETUP_LIFETIME)
        return f"https://{authority}/setup#token={token}"

    async def set_up(self, token: str, name: str, password: str, source: str) -> Started:
        """Make the first administrator and sign him in. Raises SetupRefused, Invalid, Throttled."""
        now = self._clock()
        self._throttle.check(now, source)
        if not self._setup_needed:
            raise SetupRefused("This gateway is set up already. Sign in instead.")
        expected, until = self._setup or ("", 0.0)
        if not hmac.compare_digest(expected, digest(token)):
            self._throttle.failed(now, source)
            raise SetupRefused(
                "This is not the setup token. Use the link that the gateway wrote to its log when it started."
            )
        if now >= until:
            raise SetupRefused(
                "The setup token is older than an hour. Restart the gateway; it writes a new link to its log."
            )
        await self.add_admin(name, password, first=True)
        self._setup = None
        self._journal.write(now, "admin.setup", f"{name} was made the first administrator, from {source or 'here'}")
        return await asyncio.to_thread(self._start, name, source)

    async def add_admin(self, name: str, password: str, *, first: bool = False) -> None:
        """Make an administrator; with `first` only when there is none. Raises Invalid, SetupRefused."""
        check_account(name, password)
        hashed = await self._hash(password)

        def store() -> None:
            with self._database.write() as session:
                if first and _admins(session):
                    raise SetupRefused("This gateway is set up already. Sign in instead.")
                if session.scalar(select(AdminRow).where(AdminRow.name == name)):
                    raise Invalid([FieldError("/name", "duplicate", f"there is an administrator {name!r} already")])
                session.add(AdminRow(name=name, password=hashed, created_at=self._clock()))

        await asyncio.to_thread(store)
        self._setup_needed = False

    async def change_password(self, name: str, old: str, new: str, source: str) -> None:
        """Replace a password and end all sessions of its owner. Raises SignInRefused, Invalid, Throttled."""
        await self._verify(name, old, source)
        check_account(name, new, "/new_password")
        hashed = await self._hash(new)

        def store() -> None:
            with self._database.write() as session:
                admin = session.scalars(select(AdminRow).where(AdminRow.name == name)).one()
                admin.password = hashed
                session.execute(delete(SessionRow).where(SessionRow.admin_id == admin.id))

        await asyncio.to_thread(store)
        self._journal.write(self._clock(), "admin.password", f"{name} changed the password; all sessions were ended")

    # Sessions

    async def sign_in(self, name: str, password: str, source: str) -> Started:
        """Start a session. Raises SignInRefused, Throttled (with `retry_after` in seconds)."""
        await self._verify(name, password, source)
        started = await asyncio.to_thread(self._start, name, source)
        self._journal.write(self._clock(), "admin.signed-in", f"{name} signed in from {source or 'here'}")
        return started

    async def _verify(self, name: str, password: str, source: str) -> None:
        now = self._clock()
        self._throttle.check(now, source, name)
        stored = await asyncio.to_thread(self._stored_password, name)
        if not await self._matches(stored or _NOBODY, password) or stored is None:
            self._throttle.failed(now, source, name)
            # A name that nobody has may be a password in the wrong field: it is not written down.
            who = name if stored is not None else "an unknown name"
            self._journal.write(now, "admin.refused", f"Sign-in as {who} from {source or 'here'} was refused")
            raise SignInRefused("The name or the password is wrong.")
        self._throttle.succeeded(source, name)
        if self._hasher.check_needs_rehash(stored):
            await asyncio.to_thread(self._store_password, name, await self._hash(password))

    def _stored_password(self, name: str) -> str | None:
        with self._database.read() as session:
            return session.scalar(select(AdminRow.password).where(AdminRow.name == name))

    def _store_password(self, name: str, hashed: str) -> None:
        with self._database.write() as session:
            session.scalars(select(AdminRow).where(AdminRow.name == name)).one().password = hashed

    async def _hash(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _matches(self, stored: str, password: str) -> bool:
        def verify() -> bool:
            try:
                return self._hasher.verify(stored, password)
            except (VerificationError, InvalidHashError):
                return False

        if len(password) > PASSWORD_LIMIT:
            return False
        async with self._hashing:
            return await asyncio.to_thread(verify)

    def _start(self, name: str, source: str) -> Started:
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        with self._database.write() as session:
            session.execute(delete(SessionRow).where(_ended(now)))
            admin = session.scalars(select(AdminRow).where(AdminRow.name == name)).one()
            row = SessionRow(digest=digest(secret), admin_id=admin.id, created_at=now, used_at=now, source=source)
            session.add(row)
            session.flush()
            return Started(Session(row.id, name, now, now, source), secret)

    def session(self, secret: str, *, touch: bool = True) -> Session | None:
        """The session of a cookie's value while it lasts; `touch` counts this as use."""
        now = self._clock()
        with self._database.read() as session:
            row = session.scalar(select(SessionRow).where(SessionRow.digest == digest(secret)))
            if row is None or now >= row.created_at + ABSOLUTE or now >= row.used_at + IDLE:
                return None
            found = Session(row.id, row.admin.name, row.created_at, row.used_at, row.source)
        if touch and now - found.used_at >= _TOUCH:
            self._note_use(SessionRow, found.id, used_at=now)
        return found

    def _note_use(self, table: type[SessionRow | TokenRow], number: int, **values: float | str) -> None:
        """A database that cannot be written keeps nobody from reading: the note is missing then, as the log says."""
        try:
            with self._database.write() as session:
                session.execute(update(table).where(table.id == number).values(**values))
        except StorageFailed as error:
            _log.warning("the use of a session or token was not noted: %s", error)

    def sessions(self) -> list[Session]:
        """All that last, the newest first."""
        now = self._clock()
        with self._database.read() as session:
            rows = session.scalars(select(SessionRow).where(~_ended(now)).order_by(SessionRow.id.desc()))
            return [Session(row.id, row.admin.name, row.created_at, row.used_at, row.source) for row in rows]

    async def sign_out(self, secret: str) -> None:
        """End the session of a cookie's value, if there is one."""

        def end() -> str | None:
            with self._database.write() as session:
                row = session.scalar(select(SessionRow).where(SessionRow.digest == digest(secret)))
                if row is None:
                    return None
                session.delete(row)
                return row.admin.name

        if name := await asyncio.to_thread(end):
            self._journal.write(self._clock(), "admin.signed-out", f"{name} signed out")

    # Tokens

    async def create_token(
        self, name: str, scopes: Sequence[Scope], created_by: str, lifetime: float = TOKEN_LIFETIME
    ) -> NewToken:
        """A new token; `lifetime` is in seconds, a year at most. Raises Invalid."""
        check_token(name, scopes, lifetime)
        public_id, secret = new_token()
        now = self._clock()
        chosen = tuple(scope for scope in Scope if scope in scopes)

        def store() -> Token:
            with self._database.write() as session:
                if session.scalar(select(TokenRow).where(TokenRow.name == name)):
                    raise Invalid([FieldError("/name", "duplicate", f"there is a token {name!r} already")])
                row = TokenRow(
                    public_id=public_id,
                    name=name,
                    digest=digest(secret),
                    scopes=chosen,
                    created_by=created_by,
                    created_at=now,
                    expires_at=now + lifetime,
                )
                session.add(row)
                session.flush()
                return _token(row)

        token = await asyncio.to_thread(store)
        self._journal.write(now, "admin.token", f"{created_by} made the API token {name} ({', '.join(chosen)})")
        return NewToken(token, token_text(public_id, secret))

    def token(self, text: str, source: str) -> Token | None:
        """The token of a bearer text, while it lasts; counts as use."""
        parts = split_token(text)
        if parts is None:
            return None
        now = self._clock()
        with self._database.read() as session:
            row = session.scalar(select(TokenRow).where(TokenRow.public_id == parts[0]))
            if row is None or not hmac.compare_digest(row.digest, digest(parts[1])) or now >= row.expires_at:
                return None
            found, number = _token(row), row.id
        if found.used_at is None or now - found.used_at >= _TOUCH or found.used_from != source:
            self._note_use(TokenRow, number, used_at=now, used_from=source)
        return found

    def tokens(self) -> list[Token]:
        """All, by name; those that have ended too."""
        with self._database.read() as session:
            return [_token(row) for row in session.scalars(select(TokenRow).order_by(TokenRow.name))]

    async def delete_token(self, public_id: str, author: str) -> None:
        """Raises TokenNotFound."""

        def remove() -> str:
            with self._database.write() as session:
                row = session.scalar(select(TokenRow).where(TokenRow.public_id == public_id))
                if row is None:
                    raise TokenNotFound(f"There is no token {public_id!r}.")
                session.delete(row)
                return row.name

        name = await asyncio.to_thread(remove)
        self._journal.write(self._clock(), "admin.token", f"{author} deleted the API token {name}")


def _admins(session: DatabaseSession) -> int:
    return session.scalar(select(func.count()).select_from(AdminRow)) or 0


def _ended(now: float) -> ColumnElement[bool]:
    return or_(SessionRow.created_at <= now - ABSOLUTE, SessionRow.used_at <= now - IDLE)


def _token(row: TokenRow) -> Token:
    return Token(
        id=row.public_id,
        name=row.name,
        scopes=tuple(Scope(scope) for scope in row.scopes),
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        used_from=row.used_from,
    )
