"""What the API's resources share: callers and their scopes, terms of a change, pages of lists, answers to writes."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Header, Path, Query, Response, Security
from pydantic import BaseModel, Field

from gateway.policy.changes import Changes
from gateway.service.access import Scope
from gateway.service.differences import Difference
from gateway.service.manage import FieldError, Invalid, Terms, Written
from gateway.storage.fields import NAME_PATTERN
from web.dependencies import Caller, authorized
from web.problems import MEDIA_TYPE, Problem

T = TypeVar("T")

ReadConfig = Annotated[Caller, Security(authorized, scopes=[Scope.CONFIG_READ])]
WriteConfig = Annotated[Caller, Security(authorized, scopes=[Scope.CONFIG_WRITE])]
ReadState = Annotated[Caller, Security(authorized, scopes=[Scope.STATE_READ])]
Act = Annotated[Caller, Security(authorized, scopes=[Scope.ACTIONS])]
Administer = Annotated[Caller, Security(authorized, scopes=[Scope.ADMIN])]
Anyone = Annotated[Caller, Security(authorized)]

ObjectName = Annotated[str, Path(pattern=NAME_PATTERN, max_length=63)]
MOST = 2**53  # what JSON's numbers hold exactly
Number = Annotated[int, Path(ge=0, le=MOST)]
Limit = Annotated[int, Query(ge=1, le=500, description="Items a page")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before")]
Search = Annotated[str, Query(max_length=200, description="Part of a name or a description, in any case")]
Wait = Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the outcome; 0 answers 202 at once")]

PROBLEMS: dict[int, str] = {
    400: "The request is no HTTP or no JSON that can be understood",
    401: "Not signed in",
    403: "The caller lacks the scope, or another site sent the request",
    404: "There is no such object",
    405: "The path knows other methods",
    409: "In use by others",
    412: "If-Match or If-None-Match does not hold",
    413: "The body is too large",
    415: "The body's media type is not taken",
    422: "Not valid; `errors` says where",
    429: "Too many failed attempts",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an operation for its description."""
    reference = {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
    return {
        status: {"description": PROBLEMS[status], "content": {MEDIA_TYPE: reference}} for status in sorted({*statuses})
    }


READ = problems(401, 403, 404, 422)
LIST = problems(401, 403, 422)
BODY = problems(400, 413, 415)
"""What a body by itself can be refused for."""
WRITE = {**problems(401, 403, 404, 409, 412, 422), **BODY}
ACTION = problems(401, 403, 404, 422)


class Page(BaseModel, Generic[T]):
    """One page of a list, in a stable order; `next_cursor` is null on the last."""

    items: list[T]
    next_cursor: str | None = None


def encode_cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> str:
    """Raises Invalid."""
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        raise Invalid([FieldError("/query/cursor", "invalid-cursor", "this is no cursor of ours")]) from None


def page_of(
    things: Iterable[T], limit: int, cursor: str | None, key: Callable[[T], str], fits: Callable[[T], bool]
) -> tuple[list[T], str | None]:
    """The things after the cursor that fit, sorted by their key, and the cursor of the next page."""
    after = decode_cursor(cursor) if cursor else None
    rest = sorted((thing for thing in things if (after is None or key(thing) > after) and fits(thing)), key=key)
    return rest[:limit], encode_cursor(key(rest[limit - 1])) if len(rest) > limit else None


def given(body: BaseModel) -> dict[str, Any]:
    """The fields that were sent; a name or network that is null is none."""
    sent = body.model_dump(exclude_unset=True)
    return {key: value for key, value in sent.items() if value is not None or key not in ("name", "network")}


def mentions(q: str, *texts: str) -> bool:
    return not q or any(q.casefold() in text.casefold() for text in texts)


def read_terms(
    comment: Annotated[str, Query(max_length=500, description="Why, for the list of revisions")] = "",
    dry_run: Annotated[bool, Query(description="Tell what would differ and what it would mean; store nothing")] = False,
    if_match: Annotated[str | None, Header(description="Change only this version (ETag)")] = None,
    if_none_match: Annotated[str | None, Header(description="`*`: create only")] = None,
) -> Terms:
    """The terms of a change, but for its author."""
    return Terms("", comment, dry_run, if_match, if_none_match)


def refuse_trial(dry_run: Annotated[bool, Query(description="Refused: this cannot be tried")] = False) -> None:
    """Of what is done or not. Raises Invalid."""
    if dry_run:
        why = "this is done at once, and cannot be tried: leave out dry_run"
        raise Invalid([FieldError("/query/dry_run", "not-here", why)])


NoTrial = Annotated[None, Depends(refuse_trial)]


class FieldChangeAnswer(BaseModel):
    """One field that differs; a secret shows as `(secret)` and `(another secret)`."""

    pointer: str
    old: Any
    new: Any


class DifferenceAnswer(BaseModel):
    """One object that differs."""

    kind: str = Field(examples=["peers"])
    name: str
    action: str = Field(examples=["add", "change", "remove"])
    fields: list[FieldChangeAnswer]


class ImpactAnswer(BaseModel):
    """What a change means for tunnels, by the names of peers; what is in none of the lists goes on undisturbed."""

    added: list[str]
    removed: list[str] = Field(description="Their SAs are deleted")
    renegotiate: list[str] = Field(description="Their IKE SA is set up anew")
    children: dict[str, list[str]] = Field(description="Of these peers, these children alone are set up anew")
    adjusted: list[str] = Field(description="They take up what changed as they are")
    shunts_added: list[str] = Field(description="Laid now, or laid anew")
    shunts_removed: list[str] = Field(description="Taken away; one that is laid anew is in both lists")
    blocked_added: list[str] = Field(description="Networks whose datagrams are dropped from now on")
    blocked_removed: list[str] = Field(description="Networks that are let in again")
    settings: list[str] = Field(description="Settings of the gateway that changed")
    pools: list[str] = Field(description="Pools that changed; who holds an address that they lack is cut off")
    access_profiles: list[str] = Field(
        description="Access profiles that changed; who reaches other networks now is cut off, and may come again"
    )
    users: list[str] = Field(description="Users that changed, by login; who may not be in any longer is cut off")
    text: str


class WriteAnswer(BaseModel, Generic[T]):
    """What a write did, or in a dry run would do. Nothing differed: `changed` is false and no revision was made."""

    changed: bool
    created: bool
    dry_run: bool
    revision: int = Field(description="The configuration's revision now")
    object: T | None = Field(None, description="The object as it is then; null once it is deleted")
    differences: list[DifferenceAnswer]
    impact: ImpactAnswer
    warnings: list[str] = Field(
        default_factory=list,
        description="Who reaches more than before, or comes in without being a user any more; a sentence each",
    )


def differences_answer(found: Sequence[Difference]) -> list[DifferenceAnswer]:
    return [
        DifferenceAnswer(
            kind=one.kind,
            name=one.name,
            action=one.action,
            fields=[FieldChangeAnswer(pointer=field.pointer, old=field.old, new=field.new) for field in one.fields],
        )
        for one in found
    ]


def impact_answer(impact: Changes) -> ImpactAnswer:
    return ImpactAnswer(
        added=list(impact.added),
        removed=list(impact.removed),
        renegotiate=list(impact.renegotiate),
        children={name: list(children) for name, children in impact.children.items()},
        adjusted=list(impact.adjusted),
        shunts_added=[shunt.name for shunt in impact.shunts_added],
        shunts_removed=[shunt.name for shunt in impact.shunts_removed],
        blocked_added=list(impact.blocked_added),
        blocked_removed=list(impact.blocked_removed),
        settings=list(impact.settings),
        pools=list(impact.pools),
        access_profiles=list(impact.access_profiles),
        users=list(impact.users),
        text=impact_text(impact),
    )


def impact_text(impact: Changes) -> str:
    """The impact in one sentence."""
    laid = {shunt.name for shunt in impact.shunts_added}
    lifted = {shunt.name for shunt in impact.shunts_removed}
    children = tuple(f"{peer}/{child}" for peer, names in impact.children.items() for child in names)
    parts = [
        f"{verb} {_named(names, word)}"
        for verb, word, names in (
            ("begins", "tunnel", impact.added),
            ("ends", "tunnel", impact.removed),
            ("sets up anew", "tunnel", impact.renegotiate),
            ("adjusts", "tunnel", impact.adjusted),
            ("sets up anew", "child", children),
            ("lays", "shunt", sorted(laid - lifted)),
            ("lays anew", "shunt", sorted(laid & lifted)),
            ("takes away", "shunt", sorted(lifted - laid)),
            ("blocks", "network", impact.blocked_added),
            ("lets in", "network", impact.blocked_removed),
            ("sets", "setting", impact.settings),
            ("changes", "pool", impact.pools),
            ("changes", "access profile", impact.access_profiles),
            ("changes", "user", impact.users),
        )
        if names
    ]
    text = "; ".join(parts) or "disturbs no tunnel"
    return text[:1].upper() + text[1:] + "."


def _named(names: Sequence[str], word: str) -> str:
    if len(names) > 3:
        plural = "children" if word == "child" else f"{word}s"
        return f"{len(names)} {plural}"
    return ("shunt " if word == "shunt" else "") + ", ".join(names)


def write_answer(written: Written, response: Response, shown: T | None) -> WriteAnswer[T]:
    """The answer to a write; sets status 201 for a new object, and its ETag."""
    if written.created and not written.dry_run:
        response.status_code = 201
    if written.etag:
        response.headers["etag"] = written.etag
    return outcome_answer(written, shown)


def outcome_answer(written: Written, shown: T | None) -> WriteAnswer[T]:
    """What a write did, which may have been to another object than the one that is shown."""
    return WriteAnswer(
        changed=written.changed,
        created=written.created,
        dry_run=written.dry_run,
        revision=written.revision,
        object=shown,
        differences=differences_answer(written.differences),
        impact=impact_answer(written.impact),
        warnings=list(written.warnings),
    )
