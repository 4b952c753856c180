"""What all forms share: typed text, lists in it, and where a mistake in a document belongs on the page."""

import json
import re
import secrets
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

from fastapi import Request

from gateway.policy.changes import Changes
from gateway.storage.objects import FieldError
from web.console.words import listed

Typed = dict[str, str]
Errors = dict[str, str]

_MOST_FIELDS = 2000
KEY_NEEDED = "Write or paste the key that both sides are to have."
_NAME_RULE = "Use 1 to 63 of a-z, 0-9, dot, underscore and hyphen, beginning with a letter or a digit."
_FRIENDLY = {
    "string_pattern_mismatch": "This has a sign that cannot stand here.",
    "string_too_short": "This is needed.",
    "string_too_long": "This is too long.",
    "too_short": "Name at least one.",
    "too_long": "These are too many.",
    "missing": "This is needed.",
}


async def typed_in(request: Request) -> tuple[Typed, list[str]]:
    """The form's fields, and the values of `pick`, the one field that comes several times."""
    form = await request.form(max_fields=_MOST_FIELDS, max_files=0)
    typed = {name: value.replace("\r\n", "\n") for name, value in form.items() if isinstance(value, str)}
    return typed, [value for value in form.getlist("pick") if isinstance(value, str)]


def lines(text: str) -> list[str]:
    """One entry a line, for what may have commas inside (a DN)."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def entries(text: str) -> list[str]:
    """Entries with line ends, commas or blanks between."""
    return [entry for entry in re.split(r"[\s,;]+", text) if entry]


def number(typed: Typed, name: str, errors: Errors, *, whole: bool = False) -> float | int | None:
    """The number in a field; None with an error beside it when it is none, None without one when it is empty."""
    text = typed.get(name, "").strip().replace(",", ".")
    if not text:
        return None
    try:
        return int(text) if whole else float(text)
    except ValueError:
        errors[name] = f"Write a {'whole ' if whole else ''}number."
        return None


def plain(value: float) -> str:
    """A number as people type it: 30, not 30.0."""
    return str(int(value)) if float(value).is_integer() else str(value)


def typed_day(at: float | None) -> str:
    """The day of a moment, in UTC; empty for none."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def typed_moment(typed: Typed, name: str, errors: Errors, *, stored: float | None, hour: time) -> float | None:
    """That hour of the day in a field, in UTC; a day that was not touched stays the stored moment."""
    text = typed.get(name, "").strip()
    if text == typed_day(stored):
        return stored
    try:
        return datetime.combine(date.fromisoformat(text), hour, UTC).timestamp() if text else None
    except ValueError:
        errors[name] = "Write a day such as 2027-01-31."
        return None


def place(errors: Iterable[FieldError], fields: Iterable[tuple[str, str]]) -> Errors:
    """Each mistake under the field that has it; `fields` maps patterns of pointers to names.

    What fits none goes on top. The first mistake of a field is the one that is shown.
    """
    table = [(re.compile(pattern), name) for pattern, name in fields]
    placed: Errors = {}
    for error in errors:
        found = next(((m, name) for pattern, name in table if (m := pattern.fullmatch(error.pointer))), None)
        name = found[0].expand(found[1]) if found else ""
        text = sentence_of(error, name)
        placed.setdefault(name, text if found else f"{error.pointer.lstrip('/') or 'The form'}: {text}")
    return placed


def sentence_of(error: FieldError, name: str) -> str:
    """The mistake in a sentence that begins with a capital letter."""
    if error.code == "string_pattern_mismatch" and name.rpartition("-")[2] == "name":
        return _NAME_RULE
    text = _FRIENDLY.get(error.code) or error.detail.removeprefix("Value error, ").removeprefix("Input ")
    if not text.endswith((".", "?")):
        text += "."
    return text[:1].upper() + text[1:]


def impact(changes: Changes, *, done: bool) -> str:
    """What a change means for traffic: as the end of `Saving this would …`, or when `done` as a sentence."""
    added, removed, anew = (listed(list(names)) for names in (changes.added, changes.removed, changes.renegotiate))
    parts = []
    if added:
        parts.append(f"{added} starts" if done else f"start {added}")
    if removed:
        parts.append(f"{removed} ends" if done else f"end {removed}")
    if anew:
        parts.append(f"{anew} is negotiated anew" if done else f"drop {anew} and negotiate it anew")
    for peer, children in changes.children.items():
        which = f"the networks {listed(list(children))} of {peer}"
        parts.append(f"{which} are negotiated anew" if done else f"negotiate {which} anew")
    parts += _rules(changes, done=done)
    if not parts:
        return "No session was touched." if done else "touch no session."
    text = ", ".join(parts) + "."
    return f"With that, {text}" if done else text


def _rules(changes: Changes, *, done: bool) -> list[str]:
    laid, lifted = ({shunt.name for shunt in some} for some in (changes.shunts_added, changes.shunts_removed))
    told = (
        (sorted(laid), "is in force", "put {} in force"),
        (sorted(lifted - laid), "is no longer in force", "end {}"),
        (changes.blocked_added, "is blocked", "block {}"),
        (changes.blocked_removed, "is let in again", "let {} in again"),
        (changes.pools, "gives addresses as it says now", "change what {} gives"),
        (changes.access_profiles, "lets its users reach what it says now", "change what users of {} reach"),
        (changes.users, "is in or out as it says now", "change what {} may"),
    )
    return [
        f"{listed(list(names))} {now}" if done else then.format(listed(list(names)))
        for names, now, then in told
        if names
    ]


def random_secret() -> str:
    """256 random bits as a pre-shared key, in letters that survive every way of passing it on."""
    return secrets.token_urlsafe(32)


def remark_on(secret: str) -> str:
    """A sentence for the notice when a pasted key is easy to guess; empty when it is not."""
    long_enough = len(secret) >= 20 and len(set(secret)) >= 8
    if not secret or long_enough:
        return ""
    return " Its key is short: who records a negotiation may guess it. A random one of 20 or more characters is safe."


def api_call(request: Request, method: str, path: str, body: Mapping[str, Any] | None = None) -> str:
    """The request that does the same through the API, for a shell."""
    url = f"{request.url.scheme}://{request.headers.get('host', 'gateway')}/api/v1{path}"
    words = [f"curl -X {method} {shlex.quote(url)}", '-H "Authorization: Bearer $IKEGATE_TOKEN"']
    if body is not None:
        words += [
            "-H 'Content-Type: application/json'",
            f"-d {shlex.quote(json.dumps(body, indent=2, ensure_ascii=False))}",
        ]
    return " \\\n  ".join(words)
