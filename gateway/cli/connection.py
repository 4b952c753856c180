"""Speaks with a gateway's REST API over TLS, whose certificate is checked or pinned before anything is sent."""

import hashlib
import http.client
import json
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from gateway import __version__
from gateway.cli.local import Door, NoDoor, data_folder, read_door

DEFAULT_URL = "https://127.0.0.1:8443"
API = "/api/v1"
LARGEST_ANSWER = 256 * 1024 * 1024
LONGEST_EVENT = 1024 * 1024
PATIENCE = 30.0
_FINGERPRINT = re.compile(r"[0-9A-F]{64}")


class Unreachable(Exception):
    """The gateway does not answer, or is not the one it should be; the text says what to do."""


class Refusal(Exception):
    """The gateway refused a request; `mistakes` are (place in the document, sentence).

    `summary` is its text, or what it is called in short where the mistakes say all of the text.
    """

    def __init__(self, status: int, text: str, mistakes: list[tuple[str, str]], title: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.summary = f"{title}:" if title and mistakes and all(what in text for _, what in mistakes) else text
        self.mistakes = mistakes


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway to speak to: `pin` is the SHA-256 of its certificate; without it the system's authorities decide.

    `data` is the folder that the token is from: a gateway that has just started has written another one.
    """

    url: str
    token: str = field(repr=False)
    pin: str = ""
    data: Path | None = None

    @classmethod
    def from_environment(cls, *, needs_token: bool = True) -> "Target":
        """IKEGATE_URL, IKEGATE_TOKEN and IKEGATE_FINGERPRINT; what is not set is taken from the local data folder.

        Raises NoDoor when there is no token to be found, Unreachable for settings that make no sense.
        """
        url, token = os.environ.get("IKEGATE_URL", ""), os.environ.get("IKEGATE_TOKEN", "")
        pin = _plain_pin(os.environ.get("IKEGATE_FINGERPRINT", ""))
        data = data_folder(os.environ)
        try:
            door = read_door(data)
        except NoDoor:
            if needs_token and not token:
                raise
            return cls(url or DEFAULT_URL, token, pin)
        if url and url.rstrip("/") != door.url:
            if needs_token and not token:
                raise NoDoor(f"IKEGATE_URL names {url}: set IKEGATE_TOKEN to a token made in that gateway's console.")
            return cls(url, token, pin)
        return cls(door.url, token or door.token, pin or _pin_of(door.certificate), None if token else data)

    @classmethod
    def to_door(cls, door: Door, url: str) -> "Target":
        """The gateway of a data folder, under an address of its own. Raises Unreachable."""
        return cls(url, door.token, _pin_of(door.certificate))


def _plain_pin(text: str) -> str:
    plain = text.upper().removeprefix("SHA-256").replace(":", "").strip()
    if plain and not _FINGERPRINT.fullmatch(plain):
        raise Unreachable(
            "IKEGATE_FINGERPRINT is no SHA-256 fingerprint: take the one that the gateway shows at start."
        )
    return plain


def _pin_of(certificate: Path) -> str:
    """The fingerprint of the first certificate in a PEM file."""
    try:
        text = certificate.read_text(encoding="ascii")
        first = text[: text.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[first.index(ssl.PEM_HEADER) :])).hexdigest().upper()
    except (OSError, ValueError) as error:
        raise Unreachable(f"{certificate}, the gateway's certificate, cannot be read: {error}") from None


class Connection:
    """One connection; a context manager. Every call raises Unreachable or Refusal when it does not get what it asks."""

    def __init__(self, target: Target, patience: float = PATIENCE) -> None:
        self._target = target
        parts = urlsplit(target.url)
        if parts.scheme != "https" or not parts.hostname:
            raise Unreachable(f"{target.url} is no address of a gateway: write https://name:port")
        context = ssl.create_default_context()
        if target.pin:
            context.check_hostname = False  # this very certificate is asked for, by whatever name
            context.verify_mode = ssl.CERT_NONE
        self._http = http.client.HTTPSConnection(parts.hostname, parts.port or 443, timeout=patience, context=context)
        self._http.auto_open = 0  # only `_connect` opens, and looks at the certificate

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: object) -> Any:
        return self._json("GET", path, query)

    def post(self, path: str, order: dict[str, Any] | None = None, **query: object) -> Any:
        """With an order, that is what goes along as JSON."""
        if order is None:
            return self._json("POST", path, query)
        return self._json("POST", path, query, json.dumps(order).encode(), "application/json")

    def put(self, path: str, body: bytes, media_type: str, **query: object) -> Any:
        return self._json("PUT", path, query, body, media_type)

    def delete(self, path: str, **query: object) -> Any:
        return self._json("DELETE", path, query)

    def text(self, path: str, **query: object) -> str:
        """The answer as it is."""
        return self._answer("GET", path, query)[1].decode("utf-8", "replace")

    def items(self, path: str, **query: object) -> Iterator[Any]:
        """All items of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **query, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                return

    def ready(self) -> tuple[bool, list[str]]:
        """What /readyz says: whether it works, and the problems; this needs no token."""
        status, body = self._answer("GET", "/readyz", {}, accept=(200, 503))
        return status == 200, list(json.loads(body).get("problems", []))

    def events(self, **query: object) -> Iterator[Any]:
        """Subscribe, and then give one event after the other until the gateway ends the stream (WHATWG HTML 9.2)."""
        response = self._send("GET", f"{API}/events", query, None, {"accept": "text/event-stream"})
        self._check(response, (200,))
        if self._http.sock is not None:
            self._http.sock.settimeout(4 * 15)  # it gives a sign of life every 15 seconds
        return self._each_event(response)

    def _each_event(self, response: http.client.HTTPResponse) -> Iterator[Any]:
        data: list[bytes] = []
        while line := self._line(response):
            text = line.rstrip(b"\r\n")
            if text.startswith(b"data:"):
                data.append(text[5:].removeprefix(b" "))
            elif not text and data:
                yield json.loads(b"\n".join(data))
                data = []

    def _line(self, response: http.client.HTTPResponse) -> bytes:
        try:
            line = response.readline(LONGEST_EVENT)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"the event stream broke off: {error}") from None
        if len(line) == LONGEST_EVENT:
            raise Unreachable("the event stream sent a line without end")
        return line

    def _json(
        self, method: str, path: str, query: Mapping[str, object], body: bytes | None = None, media_type: str = ""
    ) -> Any:
        status, answer = self._answer(method, API + path, query, body, media_type)
        if status == http.client.NO_CONTENT:
            return None
        try:
            return json.loads(answer)
        except ValueError:
            raise Unreachable(f"{self._target.url} answers, but not like a gateway: is the address right?") from None

    def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        body: bytes | None = None,
        media_type: str = "",
        accept: tuple[int, ...] = (),
    ) -> tuple[int, bytes]:
        headers = {"content-type": media_type} if media_type else {}
        response = self._send(method, path, query, body, headers)
        return response.status, self._check(response, accept)

    def _check(self, response: http.client.HTTPResponse, accept: tuple[int, ...]) -> bytes:
        if response.headers.get_content_type() == "text/event-stream":
            return b""
        try:
            answer = response.read(LARGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self._target.url} broke off its answer: {error}") from None
        if response.status >= 300 and response.status not in accept:
            raise _refusal(response.status, answer)
        return answer

    def _send(
        self, method: str, path: str, query: Mapping[str, object], body: bytes | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        words = {key: _word(value) for key, value in query.items() if value is not None}
        sent = {"user-agent": f"ikegate/{__version__}", "accept": "application/json", **headers}
        try:
            self._connect()
            if token := self._token():
                sent["authorization"] = f"Bearer {token}"
            self._http.request(method, path + ("?" + urlencode(words) if words else ""), body, sent)
            return self._http.getresponse()
        except TimeoutError:
            raise Unreachable(f"{self._target.url} does not answer in time") from None
        except ssl.SSLError as error:
            raise Unreachable(self._distrust(error)) from None
        except ConnectionRefusedError:
            raise Unreachable(f"No gateway listens at {self._target.url}: is `ikegate serve` running?") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self._target.url} cannot be reached: {error}") from None

    def _connect(self) -> None:
        if self._http.sock is not None:
            return
        self._http.connect()
        if self._target.pin:
            assert isinstance(self._http.sock, ssl.SSLSocket)
            shown = self._http.sock.getpeercert(binary_form=True) or b""
            if hashlib.sha256(shown).hexdigest().upper() != self._target.pin:
                self._http.close()
                raise Unreachable(
                    f"{self._target.url} shows another certificate than the one expected: somebody else answers there, "
                    "or the gateway made a new one and was not restarted."
                )

    def _token(self) -> str:
        """Once there is TLS the gateway serves, and its token is in the folder."""
        if self._target.data is None:
            return self._target.token
        try:
            return read_door(self._target.data).token
        except NoDoor:
            return self._target.token

    def _distrust(self, error: ssl.SSLError) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"The certificate of {self._target.url} is not trusted ({error.verify_message}). If the gateway made "
                "it itself, set IKEGATE_FINGERPRINT to the fingerprint that the gateway shows at start."
            )
        return f"No TLS with {self._target.url}: {error.reason or error}"


def segment(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refusal(status: int, answer: bytes) -> Refusal:
    try:
        problem = json.loads(answer)
        text = str(problem.get("detail") or problem.get("title") or f"status {status}")
        mistakes = [(str(one.get("pointer", "")), str(one.get("detail", ""))) for one in problem.get("errors", [])]
        mistakes += [("in use by", str(user)) for user in problem.get("used_by") or ()]
    except (ValueError, AttributeError, TypeError):
        return Refusal(status, f"the gateway answered with status {status}", [])
    if status == 401:
        text = "The token is not valid, or not any more: make one in the console and set IKEGATE_TOKEN."
    return Refusal(status, text, mistakes, str(problem.get("title") or ""))
