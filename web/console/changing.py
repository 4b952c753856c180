"""The pages that make, change and delete tunnels, and the buttons that act on them."""

from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response

from gateway.service.access import Session
from gateway.service.done import Done
from gateway.service.gateway import Gateway
from gateway.service.manage import FieldError, Invalid, PreconditionFailed
from web.console.forms import advanced, proofs
from web.console.forms import tunnel as form
from web.console.forms.fields import Errors, Typed, api_call, impact, random_secret, remark_on, typed_in
from web.console.objects import UNCHANGED, store
from web.console.render import go, page
from web.console.session import PageRoute, SignedIn, ThisGateway, terms
from web.console.views import certificates, keys
from web.console.watching import tunnel_view
from web.console.words import sentence, tunnel

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_ACTION_WAIT = 2.0  # seconds that a button's answer waits for the outcome, so that the page shows it


@router.get("/tunnels/new")
async def new_tunnel(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed = {**form.NEW, "secret": random_secret(), **_from_attempt(gateway, request.query_params.get("from", ""))}
    return _new_page(request, session, gateway, typed, {})


def _from_attempt(gateway: Gateway, number: str) -> Typed:
    """What a stranger's attempt already tells about the tunnel that it wants."""
    attempt = gateway.attempt(int(number)) if number.isdecimal() and len(number) < 10 else None
    if attempt is None:
        return {}
    address = attempt.remote.rpartition(":")[0] if attempt.remote.count(":") == 1 else attempt.remote
    return {"address": address.strip("[]"), "remote_id": attempt.remote_id}


def _new_page(
    request: Request, session: Session, gateway: Gateway, typed: Typed, errors: Errors, status: int = 200
) -> Response:
    inventory = gateway.config.inventory
    body = form.document_of(typed, None, {})
    name = str(body.pop("name")) or "NAME"
    return page(
        request,
        "tunnel_new.html",
        status,
        title="New tunnel",
        user=session.admin,
        typed=typed,
        errors=errors,
        children=form.child_numbers(typed),
        child_options=advanced.CHILD_FIELDS,
        peer_options=advanced.PEER_FIELDS,
        psks=keys.key_names(inventory),
        **certificates.proof_options(inventory, typed),
        policy_options=form.policy_options(inventory),
        ike_options=keys.proposal_options(inventory, "ike", tuple(typed.get("ike", "").split(","))),
        esp_options=keys.proposal_options(inventory, "esp", tuple(typed.get("esp", "").split(","))),
        call=api_call(request, "PUT", f"/peers/{name}", body),
    )


@router.post("/tunnels/new")
async def make_tunnel(request: Request, session: SignedIn, gateway: ThisGateway) -> Response:
    typed, _ = await typed_in(request)
    if (changed := _other_blocks(typed)) is not None:
        return _new_page(request, session, gateway, changed, {})
    inventory = gateway.config.inventory
    errors: Errors = {}
    name = typed.get("name", "").strip()
    if name in inventory.peers:
        errors["name"] = "There is a tunnel of this name already."
    stored = inventory.psks.get(typed.get("psk", "")) if typed.get("key") == "stored" else None
    if typed.get("key") == "stored" and stored is None:
        errors["psk"] = "Choose a stored key."
    document = form.new_document(typed, keys.suggested_key_name(inventory, name), stored, errors)
    # Mistakes of the form and of the configuration are shown together. The revision keeps the names free until then.
    known = terms(session, f'"{inventory.revision}"', dry_run=bool(errors))
    try:
        await gateway.config.apply(document, known)
    except Invalid as error:
        more = form.second_look(document["peers"][0], inventory, "/peers/0")
        errors = form.placed(error.errors + more, typed, root="/peers/0") | errors
    except PreconditionFailed:
        errors[""] = "The configuration changed at the same moment. Press the button again."
    if errors:
        return _new_page(request, session, gateway, typed, errors, 422)
    return go(tunnel(name), f"{name} is saved." + ("" if stored else remark_on(typed.get("secret", ""))))


def _other_blocks(typed: Typed) -> Typed | None:
    """The form with one block of networks more or less, when that is what was asked."""
    action = typed.get("action", "")
    if action == "add":
        return form.with_another_child(typed)
    if action.startswith("drop-") and len(form.child_numbers(typed)) > 1:
        return form.without_child(typed, action.removeprefix("drop-"))
    return None


@router.get("/tunnels/{name}/settings")
async def tunnel_settings(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    peer = gateway.config.peer(name)
    return _settings_page(request, session, gateway, name, form.typed_of(peer), {}, gateway.config.etag("peers", name))


def _settings_page(
    request: Request,
    session: Session,
    gateway: Gateway,
    name: str,
    typed: Typed,
    errors: Errors,
    etag: str,
    **more: Any,
) -> Response:
    config = gateway.config
    peer = config.peer(name)
    body = form.document_of(typed, peer, {})
    body.pop("name", None)
    compiled = config.snapshot().peers.get(name)
    esp = [("", "as each has it now")] if not typed.get("esp") else []
    context = {
        "title": f"{name}: settings",
        "user": session.admin,
        "view": tunnel_view(gateway, name),
        "typed": typed,
        "errors": errors,
        "etag": etag,
        "children": form.child_numbers(typed),
        "child_options": advanced.CHILD_FIELDS,
        "peer_options": advanced.PEER_FIELDS,
        "policy_options": form.policy_options(config.inventory),
        "ike_options": keys.proposal_options(config.inventory, "ike", tuple(typed.get("ike", "").split(","))),
        "esp_options": esp + keys.proposal_options(config.inventory, "esp", tuple(typed.get("esp", "").split(","))),
        "keys": keys.keys_of_peer(config.snapshot(), compiled) if compiled else (),
        "by_key": proofs.needs_key(typed),
        **certificates.proof_options(config.inventory, typed),
        "impact": "",
        "call": api_call(request, "PUT", f"/peers/{name}", body),
    }
    return page(request, "tunnel_settings.html", 422 if errors else 200, **(context | more))


@router.post("/tunnels/{name}/settings")
async def change_tunnel(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    typed, _ = await typed_in(request)
    peer = gateway.config.peer(name)
    etag = typed.get("etag", "")
    if (changed := _other_blocks(typed)) is not None:
        return _settings_page(request, session, gateway, name, changed, {}, etag)
    errors: Errors = {}
    document = form.document_of(typed, peer, errors)
    only_try = typed.get("action") == "try" or bool(errors)
    known = terms(session, etag, dry_run=only_try)

    def placed(found: list[FieldError]) -> Errors:
        more = form.second_look({**document, "name": name}, gateway.config.inventory)
        return form.placed(found + more, typed)

    written, now = await store(gateway.config.put("peers", name, document, known), errors, placed)
    etag = etag if now is None else now
    if errors or written is None:
        return _settings_page(request, session, gateway, name, typed, errors, etag)
    if only_try:
        told = impact(written.impact, done=False) if written.changed else "change nothing."
        return _settings_page(request, session, gateway, name, typed, {}, etag, impact=told)
    return go(tunnel(name), f"Saved. {impact(written.impact, done=True)}" if written.changed else UNCHANGED)


@router.get("/tunnels/{name}/delete")
async def ask_delete_tunnel(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    return _delete_page(request, session, gateway, name, {}, {})


def _own_key(gateway: Gateway, name: str) -> str:
    """The stored key that this tunnel alone uses."""
    snapshot = gateway.config.snapshot()
    compiled = snapshot.peers.get(name)
    found = keys.keys_of_peer(snapshot, compiled) if compiled else ()
    return next((key for key in found if keys.peers_of_key(snapshot, key) == (name,)), "")


def _delete_page(
    request: Request, session: Session, gateway: Gateway, name: str, typed: Typed, errors: Errors
) -> Response:
    view = tunnel_view(gateway, name)
    drops = (
        "Its session is up: the networks behind it lose each other at once."
        if view.busy
        else "It is not up, so no session drops."
    )
    return page(
        request,
        "delete.html",
        422 if errors else 200,
        title=f"Delete {name}",
        user=session.admin,
        what="tunnel",
        name=name,
        back=tunnel(name),
        action=f"{tunnel(name)}/delete",
        consequence=f"{drops} Its settings are forgotten.",
        warnings=(),
        blockers=(),
        refused=False,
        confirm=view.busy,
        offer_key=_own_key(gateway, name),
        typed=typed,
        errors=errors,
        call=api_call(request, "DELETE", f"/peers/{name}"),
    )


@router.post("/tunnels/{name}/delete")
async def delete_tunnel(request: Request, session: SignedIn, gateway: ThisGateway, name: str) -> Response:
    typed, _ = await typed_in(request)
    if tunnel_view(gateway, name).busy and typed.get("confirm", "").strip() != name:
        return _delete_page(request, session, gateway, name, typed, {"confirm": f"Type {name} exactly to delete it."})
    key = _own_key(gateway, name) if typed.get("with_key") else ""
    await gateway.config.delete("peers", name, terms(session))
    if key:
        await gateway.config.delete("psks", key, terms(session))
    return go("/tunnels", f"{name} is deleted." + (f" So is its key {key}." if key else ""))


def _told(done: Done) -> str:
    return sentence(done.text)


@router.post("/tunnels/{name}/{verb}")
async def act_on_tunnel(session: SignedIn, gateway: ThisGateway, name: str, verb: str) -> Response:
    actions = gateway.actions
    acts = {"connect": actions.connect, "disconnect": actions.disconnect, "rekey": actions.rekey}
    if verb not in acts:
        raise HTTPException(404)
    return go(tunnel(name), _told(await acts[verb](name, wait=_ACTION_WAIT)))


@router.post("/sessions/{number}/{verb}")
async def act_on_session(session: SignedIn, gateway: ThisGateway, number: int, verb: str) -> Response:
    acts = {"terminate": gateway.actions.terminate, "rekey": gateway.actions.rekey_ike_sa}
    if verb not in acts:
        raise HTTPException(404)
    return go("/sessions", _told(await acts[verb](number, wait=_ACTION_WAIT)))
