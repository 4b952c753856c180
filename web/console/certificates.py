"""The pages of certificates and authorities: made, issued, renewed, revoked, handed out."""

import time
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile

from gateway.service.access import Session
from gateway.service.documents import validated
from gateway.service.gateway import Gateway
from gateway.service.manage import FieldError, Invalid, Terms, Written
from gateway.storage.identity import AuthorityObject, CertificateObject
from web.api.authorities import CreateBody
from web.api.certificates import LONGEST_PASSWORD, GenerateBody, RequestBody, SignBody
from web.console.forms import certificates as form
from web.console.forms.fields import Errors, Typed, impact
from web.console.objects import Deletion, Pages, Sheet, kept_pages, store, store_new
from web.console.render import go, page
from web.console.session import PageRoute, SignedIn, ThisGateway, terms
from web.console.views import certificates as view
from web.console.words import counted

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_LIST = "/credentials"
_LARGEST_FILE = 256 * 1024
_SUBJECT = ("name", "description", "common_name", "organization", "names", "key_type")
_ISSUED = (*_SUBJECT, "authority", "profile", "days")


@router.get("/certificates/new")
async def new_certificate(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed = {**form.NEW_CERTIFICATE, "authority": request.query_params.get("authority", "")}
    if not view.ours(gateway.config.inventory):
        typed["how"] = "csr"
    return _new_certificate(request, session, gateway, typed, {})


def _new_certificate(request: Request, session: Session, gateway: Gateway, typed: Typed, errors: Errors) -> Response:
    return page(
        request,
        "certificate_new.html",
        422 if errors else 200,
        title="New certificate",
        user=session.admin,
        typed={**typed, "private_key": "", "password": ""},
        errors=errors,
        authorities=view.ours(gateway.config.inventory) or [("", "none of ours is there yet")],
        key_types=form.KEY_TYPES,
    )


@router.post("/certificates/new")
async def make_certificate(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed, file = await _typed_with_file(request)
    errors: Errors = {}
    name = typed.get("name", "").strip()
    write = _made(gateway, typed, file, errors, terms(session, create=True))
    await store_new(write, errors, form.placed)
    if errors:
        return _new_certificate(request, session, gateway, typed, errors)
    return go(f"/certificates/{name}", f"{name} is saved.")


async def _made(gateway: Gateway, typed: Typed, file: bytes, errors: Errors, known: Terms) -> Written:
    """What the form asks for. Raises Invalid and what the actions raise."""
    issuing = gateway.issuing
    match typed.get("how"):
        case "generate":
            order = validated(GenerateBody, form.asked(typed, errors, _ISSUED))
            _refuse(errors)
            return await issuing.generate(order.order(), order.authority, known)
        case "sign":
            fields = tuple(one for one in _ISSUED if one != "key_type")
            asked: SignBody = validated(SignBody, form.asked(typed, errors, (*fields, "request", "take_names")))
            _refuse(errors)
            return await issuing.sign(asked.order(), asked.authority, asked.request, asked.take_names, known)
        case "csr":
            wanted: RequestBody = validated(RequestBody, form.asked(typed, errors, _SUBJECT))
            return await issuing.request(wanted.order(), known)
        case "pkcs12":
            if not file:
                raise Invalid([FieldError("/pkcs12", "no-file", "Choose the file.")])
            return await issuing.import_pkcs12(typed.get("name", "").strip(), file, typed.get("password", ""), known)
        case _:
            fields = ("description", "certificate", "private_key")
            document: dict[str, Any] = {one: text for one in fields if (text := typed.get(one, "").strip())}
            return await gateway.config.put("certificates", typed.get("name", "").strip(), document, known)


def _refuse(errors: Errors) -> None:
    """Nothing is made while a field of the form has a mistake. Raises Invalid, with nothing more to tell."""
    if errors:
        raise Invalid([])


async def _typed_with_file(request: Request) -> tuple[Typed, bytes]:
    """The fields of the form, and the file of `pkcs12`."""
    async with request.form(max_fields=100, max_files=1) as found:
        typed = {name: value.replace("\r\n", "\n") for name, value in found.items() if isinstance(value, str)}
        file = found.get("pkcs12")
        return typed, await file.read(_LARGEST_FILE + 1) if isinstance(file, UploadFile) else b""


def _draw_certificate(sheet: Sheet[CertificateObject]) -> Response:
    base = cast("CertificateObject", sheet.base)
    inventory, now = sheet.gateway.config.inventory, time.time()
    state = view.certificate_state(inventory, base, now)
    return sheet.answer(
        "certificate.html",
        title=base.name,
        name=base.name,
        users=view.users(inventory, "certificates", base.name),
        key_here=("certificates", base.name) in inventory.secrets,
        state=state,
        revoked=state.word == "Revoked",
        chain=view.chain_of(inventory, base, now),
        issued=base.authority if ("authorities", base.authority) in inventory.secrets else "",
        reasons=form.REASONS,
        request_text=base.request,
        action=f"/certificates/{base.name}",
        call=sheet.call(f"/certificates/{base.name}", form.certificate_document(sheet.typed, base, {})),
    )


def _delete_certificate(gateway: Gateway, name: str) -> Deletion:
    needed = "These tunnels prove themselves by it; give them another one first:"
    return _deletion(gateway, ("certificates", name), "certificate", needed, "No tunnel uses it.")


def _deletion(gateway: Gateway, which: tuple[str, str], what: str, needed: str, free: str) -> Deletion:
    """What has users stays: `needed` is said before they are named, `free` when there are none."""
    inventory = gateway.config.inventory
    users = view.users(inventory, *which)
    told = "Its private key is gone with it, for good. " if which in inventory.secrets else ""
    return Deletion(what, told + (needed if users else free), users, refused=True)


def _certificate(gateway: Gateway, name: str) -> CertificateObject:
    return cast("CertificateObject", gateway.config.object("certificates", name))


def _again(request: Request, session: Session, gateway: Gateway, name: str, typed: Typed, errors: Errors) -> Response:
    """The certificate's page with what was wrong in one of its small forms."""
    base = _certificate(gateway, name)
    shown = {**form.typed_of_certificate(base), **{key: text for key, text in typed.items() if key != "password"}}
    etag = gateway.config.etag("certificates", name)
    return _draw_certificate(Sheet(request, session, gateway, base, shown, errors, etag))


@router.get("/certificates/{name}/pem")
async def download_certificate(session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    return _file(_certificate(gateway, name).certificate + "\n", f"{name}.pem", "application/x-pem-file")


def _file(content: str | bytes, name: str, media_type: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, 200, headers, media_type)


@router.post("/certificates/{name}/renew")
async def renew_certificate(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    errors: Errors = {}
    await store(gateway.issuing.renew(name, terms(session)), errors, form.placed)
    if errors:
        return _again(request, session, gateway, name, {}, errors)
    return go(f"/certificates/{name}", f"{name} is renewed; the next proof uses it. No session drops.")


@router.post("/certificates/{name}/revoke")
async def revoke_certificate(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    typed, _ = await _typed_with_file(request)
    if typed.get("confirm", "").strip() != name:
        errors = {"confirm": f"Type {name} exactly to revoke it."}
        return _again(request, session, gateway, name, typed, errors)
    errors = {}
    reason = typed.get("reason", "")
    known = reason if reason in dict(form.REASONS) else "unspecified"
    written, _ = await store(gateway.issuing.revoke(name, known, terms(session)), errors, form.placed)
    if errors or written is None:
        return _again(request, session, gateway, name, typed, errors)
    return go(f"/certificates/{name}", f"{name} is revoked. {impact(written.impact, done=True)}")


@router.post("/certificates/{name}/export")
async def export_certificate(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    typed, _ = await _typed_with_file(request)
    password = typed.get("password", "")
    if not 8 <= len(password) <= LONGEST_PASSWORD:
        errors = {"password": f"Write a password of 8 to {LONGEST_PASSWORD:,} characters."}
        return _again(request, session, gateway, name, {}, errors)
    try:
        octets = await gateway.export_pkcs12(name, password, session.admin)
    except Invalid as error:
        return _again(request, session, gateway, name, {}, form.placed(error.errors))
    return _file(octets, f"{name}.p12", "application/x-pkcs12")


kept_pages(
    router,
    Pages(
        "certificates",
        path="/certificates",
        list_path=_LIST,
        typed_of=form.typed_of_certificate,
        document=form.certificate_document,
        placed=form.placed,
        draw=_draw_certificate,
        deletion=_delete_certificate,
    ),
)


@router.get("/authorities/new")
async def new_authority(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    return _new_authority(request, session, gateway, form.NEW_AUTHORITY, {})


def _new_authority(request: Request, session: Session, gateway: Gateway, typed: Typed, errors: Errors) -> Response:
    return page(
        request,
        "authority_new.html",
        422 if errors else 200,
        title="New authority",
        user=session.admin,
        typed=typed,
        errors=errors,
        issuers=[("", "nothing: it is a root"), *view.ours(gateway.config.inventory)],
        key_types=form.KEY_TYPES,
    )


@router.post("/authorities/new")
async def make_authority(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed, _ = await _typed_with_file(request)
    errors: Errors = {}
    name = typed.get("name", "").strip()
    await store_new(_authority_made(gateway, typed, errors, terms(session, create=True)), errors, form.placed)
    if errors:
        return _new_authority(request, session, gateway, typed, errors)
    return go(f"/authorities/{name}", f"{name} is saved.")


async def _authority_made(gateway: Gateway, typed: Typed, errors: Errors, known: Terms) -> Written:
    if typed.get("how") == "trust":
        name = typed.get("name", "").strip()
        document = {one: typed.get(one, "").strip() for one in ("description", "certificate")}
        return await gateway.config.put("authorities", name, document, known)
    fields = ("name", "description", "common_name", "organization", "days", "key_type", "issuer", "publish_uri")
    body: CreateBody = validated(CreateBody, form.asked(typed, errors, fields))
    _refuse(errors)
    return await gateway.issuing.create_authority(body.order(), known, body.issuer, body.publish_uri)


def _draw_authority(sheet: Sheet[AuthorityObject]) -> Response:
    base = cast("AuthorityObject", sheet.base)
    inventory = sheet.gateway.config.inventory
    return sheet.answer(
        "authority.html",
        title=base.name,
        name=base.name,
        users=view.users(inventory, "authorities", base.name),
        key_here=("authorities", base.name) in inventory.secrets,
        chain=view.chain_of(inventory, base, time.time()),
        lists=sheet.gateway.fetching.of(base.name),
        revoked=base.revoked,
        action=f"/authorities/{base.name}",
        call=sheet.call(f"/authorities/{base.name}", form.authority_document(sheet.typed, base, {})),
    )


def _delete_authority(gateway: Gateway, name: str) -> Deletion:
    needed = "These rest on it; free them from it first:"
    return _deletion(gateway, ("authorities", name), "authority", needed, "Nothing rests on it.")


@router.post("/authorities/{name}/fetch")
async def fetch_sources(session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    await gateway.fetch_revocation(name)
    failed = sum(bool(one.error) for one in gateway.fetching.of(name))
    return go(
        f"/authorities/{name}", f"{counted(failed, 'source')} could not be fetched." if failed else "All is fetched."
    )


@router.get("/authorities/{name}/pem")
async def download_authority(session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    found = cast("AuthorityObject", gateway.config.object("authorities", name))
    return _file(found.certificate + "\n", f"{name}.pem", "application/x-pem-file")


kept_pages(
    router,
    Pages(
        "authorities",
        path="/authorities",
        list_path=_LIST,
        typed_of=form.typed_of_authority,
        document=form.authority_document,
        placed=form.placed,
        draw=_draw_authority,
        deletion=_delete_authority,
    ),
)
