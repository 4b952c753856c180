"""The routes that every kind of object has (list, read, put, patch, delete), made from one description of the kind."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, Body, Depends, Request, Response
from pydantic import BaseModel, Field

from gateway.service.manage import Configuration, Terms, Written
from gateway.storage.objects import KEYS
from web.api.common import (
    LIST,
    READ,
    WRITE,
    Cursor,
    Limit,
    ObjectName,
    Page,
    ReadConfig,
    Search,
    WriteAnswer,
    WriteConfig,
    given,
    mentions,
    page_of,
    read_terms,
    write_answer,
)
from web.dependencies import current_gateway

Stored = TypeVar("Stored", bound=BaseModel)
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

AskedTerms = Annotated[Terms, Depends(read_terms)]
Patch = Annotated[dict[str, Any], Body(description="A merge patch (RFC 7396): null takes a field back to its default")]
ReadOnly = Annotated[Any, Field(exclude=True, json_schema_extra={"readOnly": True})]  # in a body: may be sent, not read

_KEPT = frozenset({"secret_set", "password_set", "private_key_set"})
"""Fields that say whether a secret is stored."""


@dataclass(frozen=True)
class Kind(Generic[Stored]):
    """One kind of object: how it is stored, comes in and is shown, and how a path names it.

    `searched` are the texts that a list's `q` looks through. `address` annotates the parameter that names an object; it
    may be a dependency with parameters of its own.
    """

    name: str  # as the configuration calls it, and first in the path unless `path` says otherwise
    singular: str  # in the names of the operations
    stored: type[Stored]
    body: type[BaseModel]
    shown: type[BaseModel]
    show: Callable[[Configuration, Stored], BaseModel]
    searched: Callable[[Stored], Iterable[str]] = lambda _: ()
    path: str = ""
    address: Any = ObjectName

    @property
    def object_path(self) -> str:
        return self.path or f"{self.list_path}/{{name}}"

    @property
    def list_path(self) -> str:
        return f"/{self.name.replace('_', '-')}"

    @property
    def written(self) -> Any:
        """The model of an answer to a write."""
        return WriteAnswer.__class_getitem__(self.shown)

    def as_shown(self, config: Configuration, written: Written) -> BaseModel | None:
        """What a write left behind, or in a dry run would, as it is shown."""
        if not written.document:
            return None
        shown: BaseModel = self.show(config, self.stored.model_validate(written.document))
        return shown.model_copy(update=dict.fromkeys(_KEPT & type(shown).model_fields.keys(), written.secret))


def routes(router: APIRouter, kind: Kind[Any]) -> None:
    """All five."""
    list_route(router, kind)
    object_routes(router, kind)


def list_route(router: APIRouter, kind: Kind[Any]) -> None:
    key = KEYS.get(kind.name, "name")

    async def endpoint(
        request: Request, _: ReadConfig, limit: Limit = 100, cursor: Cursor = None, q: Search = ""
    ) -> Any:
        config = current_gateway(request).config
        things = config.inventory.objects(kind.name).values()
        items, following = page_of(
            things,
            limit,
            cursor,
            lambda thing: str(getattr(thing, key)),
            lambda thing: not q or mentions(q, *_texts(thing)),
        )
        return {"items": [kind.show(config, item) for item in items], "next_cursor": following}

    def _texts(thing: Any) -> Iterable[str]:
        return (str(getattr(thing, key)), *kind.searched(thing))

    page = Page.__class_getitem__(kind.shown)
    router.get(kind.list_path, name=f"list_{kind.name}", responses=LIST, response_model=page)(endpoint)


def object_routes(router: APIRouter, kind: Kind[Any]) -> None:
    """Read, put, patch and delete of one object."""
    _read_route(router, kind)
    _put_route(router, kind)
    _patch_route(router, kind)
    _delete_route(router, kind)


def _annotated(endpoint: Endpoint, **annotations: Any) -> Endpoint:
    """The endpoint with the parameters that differ from kind to kind."""
    endpoint.__annotations__.update(annotations)
    return endpoint


def _read_route(router: APIRouter, kind: Kind[Any]) -> None:
    async def endpoint(request: Request, response: Response, _: ReadConfig, name: str) -> Any:
        config = current_gateway(request).config
        found = kind.show(config, config.object(kind.name, name))
        response.headers["etag"] = config.etag(kind.name, name)
        return found

    route = router.get(kind.object_path, name=f"get_{kind.singular}", responses=READ, response_model=kind.shown)
    route(_annotated(endpoint, name=kind.address))


def _put_route(router: APIRouter, kind: Kind[Any]) -> None:
    async def endpoint(
        request: Request, response: Response, caller: WriteConfig, name: str, body: BaseModel, terms: AskedTerms
    ) -> Any:
        config = current_gateway(request).config
        written = await config.put(kind.name, name, given(body), replace(terms, author=caller.name))
        return write_answer(written, response, kind.as_shown(config, written))

    created: dict[int | str, dict[str, Any]] = {201: {"description": "Created", "model": kind.written}}
    route = router.put(
        kind.object_path, name=f"put_{kind.singular}", responses={**created, **WRITE}, response_model=kind.written
    )
    route(_annotated(endpoint, name=kind.address, body=kind.body))


def _patch_route(router: APIRouter, kind: Kind[Any]) -> None:
    async def endpoint(
        request: Request, response: Response, caller: WriteConfig, name: str, patch: Patch, terms: AskedTerms
    ) -> Any:
        config = current_gateway(request).config
        written = await config.patch(kind.name, name, patch, replace(terms, author=caller.name))
        return write_answer(written, response, kind.as_shown(config, written))

    route = router.patch(kind.object_path, name=f"patch_{kind.singular}", responses=WRITE, response_model=kind.written)
    route(_annotated(endpoint, name=kind.address))


def _delete_route(router: APIRouter, kind: Kind[Any]) -> None:
    async def endpoint(request: Request, response: Response, caller: WriteConfig, name: str, terms: AskedTerms) -> Any:
        config = current_gateway(request).config
        written = await config.delete(kind.name, name, replace(terms, author=caller.name))
        return write_answer(written, response, None)

    route = router.delete(
        kind.object_path, name=f"delete_{kind.singular}", responses=WRITE, response_model=kind.written
    )
    route(_annotated(endpoint, name=kind.address))


def as_stored(_: Configuration, thing: Stored) -> Stored:
    """Shown as it is stored."""
    return thing
