"""Proposals, each with what its algorithms are worth: /proposals, /proposals/{name}."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from gateway.crypto.suites import Algorithm, Encryption, Integrity, KeyExchangeMethod, PseudoRandom
from gateway.policy.proposals import Proposal
from gateway.service.manage import Configuration
from gateway.storage.fields import Name, Named
from gateway.storage.peers import ProposalFields, ProposalObject
from gateway.wire.numbers import Protocol
from web.api.resource import Kind, ReadOnly, routes

router = APIRouter(tags=["proposals"])


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
    assessment: ReadOnly = None
    used_by: ReadOnly = None


def answer(config: Configuration, proposal: ProposalObject) -> ProposalAnswer:
    """The proposal as the API shows it."""
    protocol = Protocol.IKE if proposal.protocol == "ike" else Protocol.ESP
    return ProposalAnswer(
        **proposal.model_dump(),
        assessment=[_suite(text, Proposal.parse(text, protocol)) for text in proposal.suites],
        used_by=list(config.used_by("proposals", proposal.name)),
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


routes(
    router,
    Kind(
        "proposals",
        "proposal",
        stored=ProposalObject,
        body=ProposalBody,
        shown=ProposalAnswer,
        show=answer,
        searched=lambda proposal: (proposal.description, *proposal.suites),
    ),
)
