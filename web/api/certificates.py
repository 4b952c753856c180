"""Certificates, whose private keys go in and never come out in clear: /certificates, their actions and files."""

import base64
import binascii
from dataclasses import asdict, replace
from typing import Annotated, Any, cast

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints
from pydantic.config import JsonDict

from gateway.crypto.authority import DAY, Profile, Wanted
from gateway.crypto.reasons import Reason
from gateway.service.authorities import Facts, certificate_of, facts_of, is_revoked
from gateway.service.documents import PrivateKeyText
from gateway.service.issuing import KeyType, Order
from gateway.service.manage import Configuration, FieldError, Invalid, Written
from gateway.storage.fields import Description, Line, Name, Named
from gateway.storage.identity import LARGEST_PEM, CertificateFields, CertificateObject, Pem
from web.api.common import (
    READ,
    WRITE,
    Administer,
    ObjectName,
    ReadConfig,
    WriteAnswer,
    WriteConfig,
    outcome_answer,
    write_answer,
)
from web.api.resource import AskedTerms, Kind, ReadOnly, routes
from web.dependencies import current_gateway

LONGEST_PASSWORD = 1024
"""Characters, of a PKCS#12 file."""
router = APIRouter(tags=["certificates"])
Password = Annotated[SecretStr, Field(max_length=LONGEST_PASSWORD, json_schema_extra={"writeOnly": True})]
Days = Annotated[float, Field(gt=0, le=36_500, description="How long it is valid, within its authority's own time")]
Names = Annotated[
    tuple[Line, ...],
    Field(max_length=64, description="DNS names, addresses, e-mail addresses", examples=[["moon.example"]]),
]
Pkcs12Text = Annotated[
    SecretStr, Field(max_length=4 * LARGEST_PEM, description="base64", json_schema_extra={"writeOnly": True})
]
_READ_ONLY: JsonDict = {"readOnly": True}


class FactsAnswer(BaseModel):
    """What a certificate says; times are Unix seconds, serial and fingerprint (SHA-256) hexadecimal."""

    subject: str
    issuer: str
    serial: str
    not_before: float
    not_after: float
    key: str = Field(examples=["ECDSA P-384"])
    names: list[str]
    fingerprint: str
    is_authority: bool


class CertificateAnswer(CertificateFields, Named):
    """A certificate without its private key, what its chain says, and who uses it."""

    private_key_set: bool = Field(False, json_schema_extra=_READ_ONLY)
    chain: list[FactsAnswer] = Field([], json_schema_extra=_READ_ONLY)
    revoked: bool = Field(False, json_schema_extra=_READ_ONLY, description="By an authority of ours")
    used_by: list[str] = Field([], json_schema_extra=_READ_ONLY, examples=[["peers/sun"]])


class CertificateBody(CertificateFields):
    """A certificate as it comes in; without `private_key` the stored one stays."""

    name: Name | None = None
    private_key: PrivateKeyText | None = None
    private_key_set: ReadOnly = None
    chain: ReadOnly = None
    revoked: ReadOnly = None
    used_by: ReadOnly = None


class Subject(BaseModel):
    """Whose a certificate is to be."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[Name, Field(description="Under which it is stored")]
    description: Description = ""
    common_name: Annotated[str, StringConstraints(min_length=1, max_length=64), Field(examples=["moon.example"])]
    organization: Annotated[str, StringConstraints(max_length=64)] = ""

    def wanted(self, **more: Any) -> Wanted:
        return Wanted(self.common_name, organization=self.organization, **more)


class GenerateBody(Subject):
    """A certificate of ours to be issued, with a new private key."""

    names: Names = ()
    authority: Name
    profile: Profile = Profile.GATEWAY
    days: Days = 398
    key_type: KeyType = "ecdsa-p384"

    def order(self) -> Order:
        wanted = self.wanted(names=self.names, profile=self.profile, life=self.days * DAY)
        return Order(self.name, wanted, self.key_type, self.description)


class SignBody(Subject):
    """A certificate for who sends a request. Of the request only its key counts, and names with `take_names`."""

    names: Names = ()
    authority: Name
    profile: Profile = Profile.GATEWAY
    days: Days = 398
    request: Annotated[Pem, Field(description="PKCS#10 in PEM, signed by its own key")]
    take_names: Annotated[bool, Field(description="Take the alternative names that the request asks for too")] = False

    def order(self) -> Order:
        wanted = self.wanted(names=self.names, profile=self.profile, life=self.days * DAY)
        return Order(self.name, wanted, description=self.description)


class RequestBody(Subject):
    """A private key to be made, and a request for another authority."""

    names: Names = ()
    key_type: KeyType = "ecdsa-p384"

    def order(self) -> Order:
        return Order(self.name, self.wanted(names=self.names), self.key_type, self.description)


class Pkcs12Body(BaseModel):
    """A file with a private key and its certificates."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    pkcs12: Pkcs12Text
    password: Password = SecretStr("")


class RenewBody(BaseModel):
    """With a `key_type` a new private key is made; without, the certificate stays that of the present one."""

    model_config = ConfigDict(extra="forbid")

    key_type: KeyType | None = None


class RevokeBody(BaseModel):
    """Why."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = "unspecified"


class ExportBody(BaseModel):
    """The password that the file is sealed with."""

    model_config = ConfigDict(extra="forbid")

    password: Annotated[
        SecretStr, Field(min_length=8, max_length=LONGEST_PASSWORD, json_schema_extra={"writeOnly": True})
    ]


def chain_answer(chain: tuple[Facts, ...]) -> list[FactsAnswer]:
    return [FactsAnswer(**asdict(one)) for one in chain]


def answer(config: Configuration, certificate: CertificateObject) -> CertificateAnswer:
    """The certificate as the API shows it."""
    return CertificateAnswer(
        **certificate.model_dump(),
        private_key_set=("certificates", certificate.name) in config.inventory.secrets,
        chain=chain_answer(facts_of(certificate.certificate)),
        revoked=is_revoked(config.inventory, certificate),
        used_by=list(config.used_by("certificates", certificate.name)),
    )


_KIND = Kind(
    "certificates",
    "certificate",
    stored=CertificateObject,
    body=CertificateBody,
    shown=CertificateAnswer,
    show=answer,
    searched=lambda one: (one.description, *(fact.subject for fact in facts_of(one.certificate))),
)
_MADE: dict[int | str, dict[str, Any]] = {
    201: {"description": "Made", "model": WriteAnswer[CertificateAnswer]},
    **WRITE,
}


def _answer(config: Configuration, written: Written, response: Response) -> WriteAnswer[CertificateAnswer]:
    shown = cast("CertificateAnswer | None", _KIND.as_shown(config, written))
    return write_answer(written, response, shown)


@router.post("/certificates/actions/generate", responses=_MADE)
async def generate_certificate(
    request: Request, response: Response, caller: WriteConfig, body: GenerateBody, terms: AskedTerms
) -> WriteAnswer[CertificateAnswer]:
    """Issue a certificate of ours with a new private key."""
    gateway = current_gateway(request)
    written = await gateway.issuing.generate(body.order(), body.authority, replace(terms, author=caller.name))
    return _answer(gateway.config, written, response)


@router.post("/certificates/actions/sign", responses=_MADE)
async def sign_request(
    request: Request, response: Response, caller: WriteConfig, body: SignBody, terms: AskedTerms
) -> WriteAnswer[CertificateAnswer]:
    """Issue a certificate for a request (CSR), whose sender has the private key."""
    gateway = current_gateway(request)
    known = replace(terms, author=caller.name)
    written = await gateway.issuing.sign(body.order(), body.authority, body.request, body.take_names, known)
    return _answer(gateway.config, written, response)


@router.post("/certificates/actions/csr", responses=_MADE)
async def request_certificate(
    request: Request, response: Response, caller: WriteConfig, body: RequestBody, terms: AskedTerms
) -> WriteAnswer[CertificateAnswer]:
    """Make a private key and a request; the answer's `request` goes to the authority, its answer into `certificate`."""
    gateway = current_gateway(request)
    written = await gateway.issuing.request(body.order(), replace(terms, author=caller.name))
    return _answer(gateway.config, written, response)


@router.post("/certificates/actions/import-pkcs12", responses=_MADE)
async def import_pkcs12(
    request: Request, response: Response, caller: WriteConfig, body: Pkcs12Body, terms: AskedTerms
) -> WriteAnswer[CertificateAnswer]:
    """Store a private key with its certificates from a PKCS#12 file."""
    gateway = current_gateway(request)
    try:
        octets = base64.b64decode("".join(body.pkcs12.get_secret_value().split()), validate=True)
    except (ValueError, binascii.Error):
        raise Invalid([FieldError("/pkcs12", "invalid-base64", "this is no base64")]) from None
    known = replace(terms, author=caller.name)
    written = await gateway.issuing.import_pkcs12(body.name, octets, body.password.get_secret_value(), known)
    return _answer(gateway.config, written, response)


@router.post("/certificates/{name}/actions/renew", responses=WRITE)
async def renew_certificate(
    request: Request,
    response: Response,
    caller: WriteConfig,
    name: ObjectName,
    terms: AskedTerms,
    body: RenewBody | None = None,
) -> WriteAnswer[CertificateAnswer]:
    """Issue it again, for as long again. No SA is dropped: the next proof uses it."""
    gateway = current_gateway(request)
    key_type = body.key_type if body else None
    written = await gateway.issuing.renew(name, replace(terms, author=caller.name), key_type)
    return _answer(gateway.config, written, response)


@router.post("/certificates/{name}/actions/revoke", responses=WRITE)
async def revoke_certificate(
    request: Request,
    caller: WriteConfig,
    name: ObjectName,
    terms: AskedTerms,
    body: RevokeBody | None = None,
) -> WriteAnswer[CertificateAnswer]:
    """Take its word back, for good: SAs that rest on it end at once."""
    gateway = current_gateway(request)
    reason = body.reason if body else "unspecified"
    written = await gateway.issuing.revoke(name, reason, replace(terms, author=caller.name))
    return outcome_answer(written, answer(gateway.config, gateway.config.inventory.certificates[name]))


@router.post(
    "/certificates/{name}/actions/export-pkcs12",
    responses={200: {"content": {"application/x-pkcs12": {}}}, **WRITE},
    response_class=Response,
)
async def export_pkcs12(request: Request, caller: Administer, name: ObjectName, body: ExportBody) -> Response:
    """The certificate with its private key and all above it, sealed with the password. It is written to the journal."""
    gateway = current_gateway(request)
    octets = await gateway.export_pkcs12(name, body.password.get_secret_value(), caller.name)
    headers = {"content-disposition": f'attachment; filename="{name}.p12"'}
    return Response(octets, 200, headers, "application/x-pkcs12")


@router.get(
    "/certificates/{name}/pem",
    responses={200: {"content": {"application/x-pem-file": {}}}, **READ},
    response_class=Response,
)
async def get_certificate_pem(request: Request, _: ReadConfig, name: ObjectName) -> Response:
    """The certificate and those above it; its private key is not in it."""
    document, _chain = certificate_of(current_gateway(request).config.inventory, name)
    return Response(document.certificate + "\n", 200, media_type="application/x-pem-file")


routes(router, _KIND)
