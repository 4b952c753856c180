"""The web application: the REST API, the console, and what every request passes."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import gateway as product
from gateway.service.documents import Document
from gateway.service.gateway import Gateway
from web.api import (
    access_profiles,
    actions,
    attempts,
    auth,
    authorities,
    blocks,
    certificates,
    config,
    devices,
    events,
    invites,
    peers,
    pools,
    ppks,
    proposals,
    psks,
    radius,
    settings,
    shunts,
    state,
    system,
    users,
)
from web.console import console_routes
from web.problems import Failures, Problem, answer_problems
from web.security import BodyLimit, CrossSiteGuard, RequestIds, SecurityHeaders

API = "/api/v1"
BODY_LIMITS = {f"{API}/config": config.DOCUMENT_LIMIT, "": 1024 * 1024}  # octets; the path named beats the rest
_RESOURCES = (
    peers,
    proposals,
    psks,
    ppks,
    authorities,
    certificates,
    pools,
    access_profiles,
    users,
    devices,
    invites,
    radius,
    shunts,
    blocks,
    settings,
    actions,
    state,
    attempts,
    events,
    config,
    system,
    auth,
)
_DESCRIPTION = (
    "Errors are problem documents (RFC 9457). Objects have entity tags: send `If-Match` to change only what you have "
    "seen, `If-None-Match: *` to create only. PUT is create-or-replace; the same content makes no new revision. Every "
    "write takes `dry_run=true`. Secrets go in and never come out."
)


def create_app(gateway: Gateway) -> FastAPI:
    """The application for one gateway; it runs on the event loop that the gateway was made on."""
    app = FastAPI(
        title="ikegate",
        version=product.__version__,
        description=_DESCRIPTION,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=True,
        generate_unique_id_function=_operation_id,
    )
    app.state.gateway = gateway
    answer_problems(app)
    for resource in _RESOURCES:
        app.include_router(resource.router, prefix=API)
    app.include_router(system.probes)
    console_routes(app)
    _describe_also(app, (Problem, Document))
    # The last one added is the first one passed.
    app.add_middleware(BodyLimit, limits=BODY_LIMITS)
    app.add_middleware(Failures)
    app.add_middleware(CrossSiteGuard)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestIds)
    return app


def _operation_id(route: APIRoute) -> str:
    """Generated clients get the functions' own names."""
    return route.name


def _describe_also(app: FastAPI, models: tuple[type[BaseModel], ...]) -> None:
    """Put models that operations refer to by hand into the description's components."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = described()
            _, more = models_json_schema(
                [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
            )
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            for name, definition in more.get("$defs", {}).items():
                components.setdefault(name, definition)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
