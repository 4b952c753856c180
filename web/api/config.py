"""The configuration as a whole and its history: /config, /config/export, /revisions."""

import json
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel

from gateway.service.documents import Document, export, read_text, write_text
from gateway.service.manage import FieldError, Invalid, Terms
from gateway.storage.repositories import Revision
from web.api.common import (
    LIST,
    MOST,
    READ,
    WRITE,
    DifferenceAnswer,
    Number,
    Page,
    ReadConfig,
    WriteAnswer,
    WriteConfig,
    differences_answer,
    read_terms,
    write_answer,
)
from web.dependencies import current_gateway

router = APIRouter(tags=["config"])
AskedTerms = Annotated[Terms, Depends(read_terms)]
DOCUMENT_LIMIT = 8 * 1024 * 1024
YAML = ("application/yaml", "application/x-yaml", "text/yaml")
_SCHEMA = {"schema": {"$ref": f"#/components/schemas/{Document.__name__}"}}


class RevisionAnswer(BaseModel):
    """One change of the configuration; `at` is Unix time in seconds."""

    number: int
    at: float
    author: str
    comment: str
    summary: str


class RevisionDetail(RevisionAnswer):
    """A revision with the whole configuration after it, without secrets."""

    document: dict[str, Any]


class RevisionDifferences(BaseModel):
    """What a revision changed."""

    number: int
    against: int | None
    differences: list[DifferenceAnswer]


@router.get(
    "/config/export",
    responses={200: {"content": {"application/json": _SCHEMA, "application/yaml": {}}}, **LIST},
    response_class=Response,
)
async def export_config(
    request: Request, _: ReadConfig, form: Annotated[Literal["yaml", "json"], Query(alias="format")] = "yaml"
) -> Response:
    """The whole configuration in a stable order; keys without their secrets. Fit for `ikegate apply` and for git."""
    config = current_gateway(request).config
    inventory = config.inventory
    headers = {"etag": f'"{inventory.revision}"'}
    if form == "json":
        text = await run_in_threadpool(lambda: json.dumps(export(inventory), ensure_ascii=False, indent=2))
    else:
        text = await run_in_threadpool(lambda: write_text(export(inventory)))
    return Response(text, 200, headers, f"application/{form}")


@router.put(
    "/config",
    responses=WRITE,
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": _SCHEMA, "application/yaml": _SCHEMA}}
    },
)
async def apply_config(
    request: Request,
    response: Response,
    caller: WriteConfig,
    terms: AskedTerms,
    prune: Annotated[bool, Query(description="Remove what is not in the document")] = False,
) -> WriteAnswer[None]:
    """Lay a document over the configuration, in one revision. Keys without `secret` keep theirs."""
    document = await _document(request)
    config = current_gateway(request).config
    written = await config.apply(document, replace(terms, author=caller.name), prune=prune)
    response.headers["etag"] = f'"{written.revision}"'
    return write_answer(written, response, None)


async def _document(request: Request) -> dict[str, Any]:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    try:
        text = body.decode()
        if media_type in YAML:
            return await run_in_threadpool(read_text, text)
        if media_type != "application/json":
            raise HTTPException(415, "Send application/json or application/yaml.")
        document = await run_in_threadpool(json.loads, text)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise HTTPException(400, f"The body is no {media_type}: {error}") from None
    if not isinstance(document, dict):
        raise Invalid([FieldError("", "invalid-document", "a document is an object with apiVersion ikegate/v1")])
    return document


@router.get("/revisions", responses=LIST)
def list_revisions(
    request: Request,
    _: ReadConfig,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=1, le=MOST, description="Only revisions with a lower number")] = None,
) -> Page[RevisionAnswer]:
    """The newest first; `next_cursor` is the `before` of the next page."""
    found = current_gateway(request).config.revisions(before, limit + 1)
    following = str(found[limit - 1].number) if len(found) > limit else None
    return Page(items=[_answer(revision) for revision in found[:limit]], next_cursor=following)


@router.get("/revisions/{number}", responses=READ)
def get_revision(request: Request, _: ReadConfig, number: Number) -> RevisionDetail:
    revision, document = current_gateway(request).config.revision_document(number)
    return RevisionDetail(**_answer(revision).model_dump(), document=document)


@router.get("/revisions/{number}/diff", responses=READ)
def get_revision_differences(
    request: Request, _: ReadConfig, number: Number, against: Annotated[int | None, Query(ge=1, le=MOST)] = None
) -> RevisionDifferences:
    """What changed from revision `against`, by default the one before; that a secret changed is not known here."""
    found = current_gateway(request).config.revision_differences(number, against)
    return RevisionDifferences(number=number, against=against, differences=differences_answer(found))


@router.post("/revisions/{number}/actions/restore", responses=WRITE)
async def restore_revision(
    request: Request, response: Response, caller: WriteConfig, number: Number, terms: AskedTerms
) -> WriteAnswer[None]:
    """Make the configuration what it was; keys keep their present secrets. It becomes a new revision."""
    written = await current_gateway(request).config.restore(number, replace(terms, author=caller.name))
    return write_answer(written, response, None)


def _answer(revision: Revision) -> RevisionAnswer:
    return RevisionAnswer(
        number=revision.number,
        at=revision.at,
        author=revision.author,
        comment=revision.comment,
        summary=revision.summary,
    )
