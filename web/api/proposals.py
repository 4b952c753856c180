"""Proposals, each with what its algorithms are worth: /proposals, /proposals/{name}."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from gateway.crypto.suites import Algorithm, Encryption, Integrity, KeyExchangeMethod, PseudoRandom
from gateway.policy.proposals import Proposal
from gateway.service.manage import Configuration, Terms
from gateway.storage.objects import Name, Named, ProposalFields, ProposalObject
from gateway.wire.numbers import Protocol
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
from web.api.peers import Patch
from web.dependencies import current_gateway

router = APIRouter(tags=["proposals"])
AskedTerms = Annotated[Terms, Depends(read_terms)]


class AlgorithmAnswer(BaseModel):
    """One algorithm of a suite; `strength` is in bits, `status` how strongly RFC 8247 or RFC 8221 asks for it."""

    keyword: str
    label: str
    kind: str = Field(examples=["encryption", "integrity", "prf", "key-exchange"])
    strength: int
    status: str = Field(examples=["MUST", "SHOULD", "MAY", "MUST-"])
    weak: bool


class SuiteAnswer(BaseModel):
    """One suite; `strength` is that of its weakest algorithm, `weak` names those that are there for old peers only."""

    suite: str
    strength: int
    weak: list[str]
    algorithms: list[AlgorithmAnswer]


class ProposalAnswer(ProposalFields, Named):
    """A proposal, what its suites are worth, and who uses it."""

    assessment: list[SuiteAnswer] = Field([], json_schema_extra={"readOnly": True})
    used_by: list[str] = Field([], json_schema_extra={"readOnly": True}, examples=[["peers/sun"]])


class ProposalBody(ProposalFields):
    """A proposal as it comes in; what an answer adds may be sent back and is not read."""

    name: Name | None = None
    assessment: Annotated[Any, Field(exclude=True, json_schema_extra={"readOnly": True})] = None
    used_by: Annotated[Any, Field(exclude=True, json_schema_extra={"readOnly": True})] = None


@router.get("/proposals", responses=LIST)
async def list_proposals(
    request: Request, _: ReadConfig, limit: Limit = 100, cursor: Cursor = None, q: Search = ""
) -> Page[ProposalAnswer]:
    config = current_gateway(request).config
    things = config.inventory.proposals.values()

    def fits(proposal: ProposalObject) -> bool:
        return mentions(q, proposal.name, proposal.description, *proposal.suites)

    items, following = page_of(things, limit, cursor, lambda proposal: proposal.name, fits)
    return Page(items=[answer(config, item) for item in items], next_cursor=following)


@router.get("/proposals/{name}", responses=READ)
async def get_proposal(request: Request, response: Response, _: ReadConfig, name: ObjectName) -> ProposalAnswer:
    config = current_gateway(request).config
    proposal = config.object("proposals", name)
    assert isinstance(proposal, ProposalObject)
    response.headers["etag"] = config.etag("proposals", name)
    return answer(config, proposal)


@router.put(
    "/proposals/{name}", responses={201: {"description": "Created", "model": WriteAnswer[ProposalAnswer]}, **WRITE}
)
async def put_proposal(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, body: ProposalBody, terms: AskedTerms
) -> WriteAnswer[ProposalAnswer]:
    config = current_gateway(request).config
    written = await config.put("proposals", name, given(body), replace(terms, author=caller.name))
    return write_answer(written, response, _shown(config, written.document))


@router.patch("/proposals/{name}", responses=WRITE)
async def patch_proposal(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, patch: Patch, terms: AskedTerms
) -> WriteAnswer[ProposalAnswer]:
    config = current_gateway(request).config
    written = await config.patch("proposals", name, patch, replace(terms, author=caller.name))
    return write_answer(written, response, _shown(config, written.document))


@router.delete("/proposals/{name}", responses=WRITE)
async def delete_proposal(
    request: Request, response: Response, caller: WriteConfig, name: ObjectName, terms: AskedTerms
) -> WriteAnswer[ProposalAnswer]:
    written = await current_gateway(request).config.delete("proposals", name, replace(terms, author=caller.name))
    return write_answer(written, response, None)


def _shown(config: Configuration, document: dict[str, Any] | None) -> ProposalAnswer | None:
    return answer(config, ProposalObject.model_validate(document)) if document else None


def answer(config: Configuration, proposal: ProposalObject) -> ProposalAnswer:
    """The proposal as the API shows it."""
    protocol = Protocol.IKE if proposal.protocol == "ike" else Protocol.ESP
    return ProposalAnswer(
        **proposal.model_dump(),
        assessment=[_suite(text, Proposal.parse(text, protocol)) for text in proposal.suites],
        used_by=list(config.used_by(proposal.name)),
    )


def _suite(text: str, suite: Proposal) -> SuiteAnswer:
    return SuiteAnswer(
        suite=text,
        strength=min(row.strength for row in suite.rows),
        weak=list(suite.weak),
        algorithms=[_algorithm(row, suite.protocol == Protocol.IKE) for row in suite.rows],
    )


def _algorithm(row: Algorithm, ike: bool) -> AlgorithmAnswer:
    match row:
        case Encryption():
            kind, status = "encryption", row.ike_status if ike else row.esp_status
        case Integrity():
            kind, status = "integrity", row.ike_status if ike else row.esp_status
        case PseudoRandom():
            kind, status = "prf", row.status
        case KeyExchangeMethod():
            kind, status = "key-exchange", row.status
    return AlgorithmAnswer(
        keyword=row.keyword, label=row.label, kind=kind, strength=row.strength, status=status, weak=row.weak
    )
