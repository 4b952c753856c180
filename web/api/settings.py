"""Limits and times of the whole gateway: /settings."""

from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from gateway.storage.objects import SETTINGS
from gateway.storage.rules import SettingsObject
from web.api.common import LIST, WRITE, ReadConfig, WriteAnswer, WriteConfig, write_answer
from web.api.resource import AskedTerms, Patch
from web.dependencies import current_gateway

router = APIRouter(tags=["settings"])


@router.get("/settings", responses=LIST)
async def get_settings(request: Request, response: Response, _: ReadConfig) -> SettingsObject:
    config = current_gateway(request).config
    response.headers["etag"] = config.etag(*SETTINGS)
    return config.inventory.settings


@router.put("/settings", responses=WRITE)
async def put_settings(
    request: Request, response: Response, caller: WriteConfig, body: SettingsObject, terms: AskedTerms
) -> WriteAnswer[SettingsObject]:
    """Set all; what is not sent is what it was at the beginning."""
    config = current_gateway(request).config
    document = body.model_dump(exclude_unset=True)
    written = await config.put(*SETTINGS, document, replace(terms, author=caller.name))
    return write_answer(written, response, _shown(written.document))


@router.patch("/settings", responses=WRITE)
async def patch_settings(
    request: Request, response: Response, caller: WriteConfig, patch: Patch, terms: AskedTerms
) -> WriteAnswer[SettingsObject]:
    config = current_gateway(request).config
    written = await config.patch(*SETTINGS, patch, replace(terms, author=caller.name))
    return write_answer(written, response, _shown(written.document))


def _shown(document: dict[str, Any] | None) -> SettingsObject | None:
    return SettingsObject.model_validate(document) if document else None
