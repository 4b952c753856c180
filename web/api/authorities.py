"""Authorities, ours and others': /authorities, their lists of revoked certificates and OCSP answers."""

import base64
import binascii
from dataclasses import replace
from typing import Annotated, Any, cast

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from gateway.crypto.authority import DAY
from gateway.service.authorities import facts_of
from gateway.service.documents import PrivateKeyText
from gateway.service.gateway import Gateway
from gateway.service.issuing import KeyType, Order
from gateway.service.manage import Configuration, Invalid, NotFound
from gateway.storage.fields import Name, Named, Reference
from gateway.storage.identity import AuthorityFields, AuthorityObject, Uri
from web.api.certificates import FactsAnswer, Subject, chain_answer
from web.api.common import (
    ACTION,
    READ,
    WRITE,
    Act,
    ObjectName,
    Page,
    ReadConfig,
    WriteAnswer,
    WriteConfig,
    problems,
    write_answer,
)
from web.api.resource import AskedTerms, Kind, ReadOnly, routes
from web.dependencies import current_gateway

router = APIRouter(tags=["certificates"])
_READ_ONLY: JsonDict = {"readOnly": True}
_OCSP = "application/ocsp-response"


class AuthorityAnswer(AuthorityFields, Named):
    """An authority without its private key, what its chain says, and what rests on it."""

    private_key_set: bool = Field(False, json_schema_extra=_READ_ONLY, description="It is ours, and issues")
    chain: list[FactsAnswer] = Field([], json_schema_extra=_READ_ONLY)
    used_by: list[str] = Field([], json_schema_extra=_READ_ONLY, examples=[["peers/sun", "certificates/moon"]])


class SourceAnswer(BaseModel):
    """Where an authority's word is fetched, and how fresh it is; times are Unix seconds."""

    uri: str
    about: str = Field(description="The certificate that an OCSP answer is about; empty for a list")
    tried_at: float
    fetched_at: float | None
    this_update: float | None
    next_update: float | None
    error: str = Field(description="Why the last try failed; empty when it did not")


class AuthorityBody(AuthorityFields):
    """An authority as it comes in; without `private_key` the stored one stays. What was revoked stays so."""

    name: Name | None = None
    private_key: PrivateKeyText | None = None
    private_key_set: ReadOnly = None
    chain: ReadOnly = None
    used_by: ReadOnly = None


class CreateBody(Subject):
    """An authority of ours to be made: a root, or one below another of ours."""

    issuer: Annotated[Reference, Field(description="The authority of ours above it; empty: it is a root")] = ""
    days: Annotated[float, Field(gt=0, le=36_500)] = 3650
    key_type: KeyType = "ecdsa-p384"
    publish_uri: Uri = ""

    def order(self) -> Order:
        return Order(self.name, self.wanted(life=self.days * DAY), self.key_type, self.description)


def answer(config: Configuration, authority: AuthorityObject) -> AuthorityAnswer:
    """The authority as the API shows it."""
    return AuthorityAnswer(
        **authority.model_dump(),
        private_key_set=("authorities", authority.name) in config.inventory.secrets,
        chain=chain_answer(facts_of(authority.certificate)),
        used_by=list(config.used_by("authorities", authority.name)),
    )


_KIND = Kind(
    "authorities",
    "authority",
    stored=AuthorityObject,
    body=AuthorityBody,
    shown=AuthorityAnswer,
    show=answer,
    searched=lambda one: (one.description, *(fact.subject for fact in facts_of(one.certificate))),
)
_MADE: dict[int | str, dict[str, Any]] = {201: {"description": "Made", "model": WriteAnswer[AuthorityAnswer]}, **WRITE}


@router.post("/authorities/actions/create", responses=_MADE)
async def create_authority(
    request: Request, response: Response, caller: WriteConfig, body: CreateBody, terms: AskedTerms
) -> WriteAnswer[AuthorityAnswer]:
    """Make an authority of ours with a new private key, which stays here."""
    gateway = current_gateway(request)
    known = replace(terms, author=caller.name)
    written = await gateway.issuing.create_authority(body.order(), known, body.issuer, body.publish_uri)
    shown = cast("AuthorityAnswer | None", _KIND.as_shown(gateway.config, written))
    return write_answer(written, response, shown)


@router.get("/authorities/{name}/sources", responses=READ)
async def list_sources(request: Request, _: ReadConfig, name: ObjectName) -> Page[SourceAnswer]:
    """What was fetched of its lists of revoked certificates and OCSP answers, and what failed."""
    gateway = current_gateway(request)
    gateway.config.object("authorities", name)
    return _sources(gateway, name)


@router.post("/authorities/{name}/actions/fetch", responses=ACTION)
async def fetch_sources(request: Request, _: Act, name: ObjectName) -> Page[SourceAnswer]:
    """Fetch them now, fresh or not, and say what came: after it, SAs of what is revoked there are gone."""
    gateway = current_gateway(request)
    await gateway.fetch_revocation(name)
    return _sources(gateway, name)


def _sources(gateway: Gateway, name: str) -> Page[SourceAnswer]:
    items = [
        SourceAnswer(
            uri=one.source.uri,
            about=one.source.about,
            tried_at=one.tried_at,
            fetched_at=one.fetched_at,
            this_update=one.this_update or None,
            next_update=one.next_update,
            error=one.error,
        )
        for one in gateway.fetching.of(name)
    ]
    return Page(items=items)


@router.get(
    "/authorities/{name}/crl",
    responses={200: {"content": {"application/pkix-crl": {}}}, **problems(404, 422)},
    response_class=Response,
)
async def get_crl(request: Request, name: ObjectName) -> Response:
    """The list of revoked certificates of an authority of ours, in DER. Anybody may read it."""
    try:
        octets = current_gateway(request).config.revocation_list(name)
    except Invalid:
        raise NotFound("authority of ours", name) from None
    return Response(octets, 200, {"cache-control": "max-age=60"}, "application/pkix-crl")


@router.post(
    "/authorities/{name}/ocsp",
    responses={200: {"content": {_OCSP: {}}}, **problems(404, 413, 422)},
    openapi_extra={"requestBody": {"required": True, "content": {"application/ocsp-request": {}}}},
    response_class=Response,
)
async def ask_ocsp(request: Request, name: ObjectName) -> Response:
    """What an authority of ours says of one certificate (RFC 6960). Anybody may ask."""
    octets = await request.body()
    return Response(current_gateway(request).issuing.answer_ocsp(name, octets), 200, media_type=_OCSP)


@router.get(
    "/authorities/{name}/ocsp/{asked:path}",
    responses={200: {"content": {_OCSP: {}}}, **problems(404, 422)},
    response_class=Response,
)
async def get_ocsp(
    request: Request,
    name: ObjectName,
    asked: Annotated[str, Path(max_length=1024, description="The request in base64 (RFC 6960 A.1)")],
) -> Response:
    """The same for who asks by GET."""
    try:
        octets = base64.b64decode(asked, validate=True)
    except (ValueError, binascii.Error):
        octets = b""  # answered as a malformed request, which it is
    return Response(current_gateway(request).issuing.answer_ocsp(name, octets), 200, media_type=_OCSP)


routes(router, _KIND)
