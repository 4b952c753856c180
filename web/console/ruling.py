"""The pages of network rules (shunts and blocked sources) and of the gateway's settings."""

import time

from fastapi import APIRouter, Request, Response

from gateway.service.access import Session
from gateway.service.gateway import Gateway
from gateway.service.manage import FieldError, Invalid, NotFound
from gateway.storage.fields import network_of
from gateway.storage.objects import SETTINGS
from gateway.storage.rules import ShuntObject
from web.console.forms import rules as form
from web.console.forms.fields import Errors, Typed, api_call, typed_in
from web.console.objects import UNCHANGED, Deletion, Pages, Sheet, object_pages, store
from web.console.render import go, page
from web.console.session import PageRoute, SignedIn, ThisGateway, terms
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


def _draw_shunt(sheet: Sheet[ShuntObject]) -> Response:
    body = form.shunt_document(sheet.typed, sheet.base, {})
    return sheet.form_page(
        "shunt.html",
        "/rules/shunts",
        "shunts",
        body,
        new="New shunt",
    )


def _delete_shunt(gateway: Gateway, name: str) -> Deletion:
    then = "no longer let past" if gateway.config.inventory.shunts[name].action == "pass" else "no longer dropped"
    return Deletion("shunt", f"Its traffic is {then}: tunnels and routes decide again.")


object_pages(
    router,
    Pages(
        "shunts",
        path="/rules/shunts",
        list_path=_RULES,
        typed_of=form.typed_of_shunt,
        document=form.shunt_document,
        placed=form.placed_shunt,
        draw=_draw_shunt,
        blank=lambda: form.NEW_SHUNT,
        deletion=_delete_shunt,
        made="is saved and in force.",
    ),
)


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
    known = terms(session, etag, dry_run=bool(errors))
    written, now = await store(gateway.config.put(*SETTINGS, document, known), errors, form.placed_settings)
    if errors or written is None:
        etag = etag if now is None else now
        return _settings_page(request, session, gateway, typed, errors, etag)
    return go("/settings", "Saved; the gateway goes by it from now on." if written.changed else UNCHANGED)
