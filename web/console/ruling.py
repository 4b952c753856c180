"""The pages of network rules (shunts and blocked sources) and of the gateway's settings."""

import time

from fastapi import APIRouter, Request, Response

from gateway.service.access import Session
from gateway.service.gateway import Gateway
from gateway.service.manage import FieldError, Invalid, NotFound, PreconditionFailed, Written
from gateway.storage.objects import SETTINGS, ShuntObject, network_of
from web.console.forms import rules as form
from web.console.forms.fields import Errors, Typed, api_call, impact, typed_in
from web.console.render import go, page
from web.console.session import CHANGED_MEANWHILE, PageRoute, SignedIn, ThisGateway, terms
from web.console.views.rules import block_rows, shunt_rows

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_RULES = "/rules"


@router.get(_RULES)
async def show_rules(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    return _rules_page(request, session, gateway, {"duration": form.DURATIONS[1][0]}, {})


def _rules_page(request: Request, session: Session, gateway: Gateway, typed: Typed, errors: Errors) -> Response:
    inventory, now = gateway.config.inventory, time.time()
    call = api_call(
        request, "PUT", f"/blocks/{typed.get('network', '').strip() or 'NETWORK'}", form.block_document(typed)
    )
    return page(
        request,
        "rules.html",
        422 if errors else 200,
        title="Network rules",
        user=session.admin,
        shunts=shunt_rows(inventory),
        blocks=block_rows(inventory, now),
        durations=form.DURATIONS,
        typed=typed,
        errors=errors,
        call=call,
    )


@router.post("/rules/blocks")
async def block_source(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed, _ = await typed_in(request)
    try:
        network = _network(typed)
        await gateway.config.put("blocks", network, form.block_document(typed), terms(session))
    except Invalid as error:
        return _rules_page(request, session, gateway, typed, form.placed_block(error.errors))
    return go(_RULES, f"{network} is blocked.")


@router.post("/rules/blocks/delete")
async def let_source_in(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed, _ = await typed_in(request)
    try:
        network = _network(typed)
    except Invalid:
        raise NotFound("block", typed.get("network", "")) from None
    written = await gateway.config.delete("blocks", network, terms(session))
    over = "is let in again." if written.impact.blocked_removed else "is off the list."
    return go(_RULES, f"{network} {over}")


def _network(typed: Typed) -> str:
    """Raises Invalid."""
    try:
        return network_of(typed.get("network", ""))
    except ValueError as error:
        raise Invalid([FieldError("/network", "invalid-network", str(error))]) from None


def _shunt(gateway: Gateway, name: str) -> ShuntObject:
    found = gateway.config.inventory.shunts.get(name)
    if found is None:
        raise NotFound("shunt", name)
    return found


def _shunt_page(
    request: Request,
    session: Session,
    base: ShuntObject | None,
    typed: Typed,
    errors: Errors,
    etag: str = "",
) -> Response:
    body = form.shunt_document(typed, base, {})
    name = base.name if base else ""
    shown = {key: value for key, value in body.items() if key != "name"}
    return page(
        request,
        "shunt.html",
        422 if errors else 200,
        title=name or "New shunt",
        user=session.admin,
        name=name,
        typed=typed,
        errors=errors,
        etag=etag,
        action=f"/rules/shunts/{name}" if name else "/rules/shunts/new",
        call=api_call(request, "PUT", f"/shunts/{name or body.get('name') or 'NAME'}", shown),
    )


@router.get("/rules/shunts/new")
async def new_shunt(request: Request, session: SignedIn) -> Response:
    return _shunt_page(request, session, None, form.NEW_SHUNT, {})


@router.post("/rules/shunts/new")
async def make_shunt(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed, _ = await typed_in(request)
    errors: Errors = {}
    document = form.shunt_document(typed, None, errors)
    name = str(document["name"])
    try:
        await gateway.config.put("shunts", name, document, terms(session, dry_run=bool(errors), create=True))
    except Invalid as error:
        errors = form.placed_shunt(error.errors) | errors
    except PreconditionFailed:
        errors["name"] = "There is one of this name already."
    if errors:
        return _shunt_page(request, session, None, typed, errors)
    return go(_RULES, f"{name} is saved and in force.")


@router.get("/rules/shunts/{name}")
async def show_shunt(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    shunt = _shunt(gateway, name)
    return _shunt_page(request, session, shunt, form.typed_of_shunt(shunt), {}, gateway.config.etag("shunts", name))


@router.post("/rules/shunts/{name}")
async def change_shunt(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    typed, _ = await typed_in(request)
    shunt, etag, errors = _shunt(gateway, name), typed.get("etag", ""), Errors()
    document = form.shunt_document(typed, shunt, errors)
    try:
        written = await gateway.config.put("shunts", name, document, terms(session, etag, dry_run=bool(errors)))
    except Invalid as error:
        errors = form.placed_shunt(error.errors) | errors
    except PreconditionFailed as error:
        errors[""], etag = CHANGED_MEANWHILE, error.etag or ""
    if errors:
        return _shunt_page(request, session, shunt, typed, errors, etag)
    return go(_RULES, _saved(name, written))


def _saved(name: str, written: Written) -> str:
    return f"{name} is saved. {impact(written.impact, done=True)}" if written.changed else "Nothing was different."


@router.get("/rules/shunts/{name}/delete")
async def ask_delete_shunt(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    shunt = _shunt(gateway, name)
    then = "no longer let past" if shunt.action == "pass" else "no longer dropped"
    return page(
        request,
        "delete.html",
        title=f"Delete {name}",
        user=session.admin,
        what="shunt",
        name=name,
        back=f"/rules/shunts/{name}",
        action=f"/rules/shunts/{name}/delete",
        consequence=f"Its traffic is {then}: tunnels and routes decide again.",
        blockers=(),
        refused=False,
        confirm=False,
        offer_key="",
        call=api_call(request, "DELETE", f"/shunts/{name}"),
    )


@router.post("/rules/shunts/{name}/delete")
async def delete_shunt(session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    await gateway.config.delete("shunts", name, terms(session))
    return go(_RULES, f"{name} is deleted.")


@router.get("/settings")
async def show_settings(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed = form.typed_of_settings(gateway.config.inventory.settings)
    return _settings_page(request, session, gateway, typed, {}, gateway.config.etag(*SETTINGS))


def _settings_page(
    request: Request, session: Session, gateway: Gateway, typed: Typed, errors: Errors, etag: str
) -> Response:
    body = form.settings_document(typed, gateway.config.inventory.settings, {})
    return page(
        request,
        "settings.html",
        422 if errors else 200,
        title="Settings",
        user=session.admin,
        typed=typed,
        errors=errors,
        etag=etag,
        call=api_call(request, "PUT", "/settings", body),
    )


@router.post("/settings")
async def change_settings(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed, _ = await typed_in(request)
    etag, errors = typed.get("etag", ""), Errors()
    document = form.settings_document(typed, gateway.config.inventory.settings, errors)
    try:
        written = await gateway.config.put(*SETTINGS, document, terms(session, etag, dry_run=bool(errors)))
    except Invalid as error:
        errors = form.placed_settings(error.errors) | errors
    except PreconditionFailed as error:
        errors[""], etag = CHANGED_MEANWHILE, error.etag or ""
    if errors:
        return _settings_page(request, session, gateway, typed, errors, etag)
    return go(
        "/settings", "Saved; the gateway goes by it from now on." if written.changed else "Nothing was different."
    )
