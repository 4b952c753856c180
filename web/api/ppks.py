"""Post-quantum pre-shared keys, whose secrets go in and never come out: /ppks, /ppks/{name}; and random ones."""

import base64
import secrets

from fastapi import APIRouter
from pydantic import BaseModel, Field

from gateway.service.documents import Secret
from gateway.storage.fields import Name, Named
from gateway.storage.post_quantum import LEAST_OCTETS, PpkFields, PpkObject
from web.api.common import WriteConfig
from web.api.resource import Kind, ReadOnly, routes

router = APIRouter(tags=["ppks"])


class PpkAnswer(PpkFields, Named):
    """A post-quantum pre-shared key without its secret."""

    secret_set: bool = Field(True, json_schema_extra={"readOnly": True})


class PpkBody(PpkFields):
    """A key as it comes in, of 32 octets or more; without `secret` the stored one stays."""

    name: Name | None = None
    secret: Secret | None = None
    secret_set: ReadOnly = None


class RandomKey(BaseModel):
    """A key that is stored nowhere: write it at both ends."""

    random: str = Field(description="256 random bits, as base64 after 0s")


def random_ppk() -> str:
    """256 random bits, as base64 after 0s."""
    return "0s" + base64.b64encode(secrets.token_bytes(LEAST_OCTETS)).decode()


@router.post("/ppks/actions/generate")
async def generate_ppk(_: WriteConfig) -> RandomKey:
    """A new key of 256 bits. It is shown this once and not kept."""
    return RandomKey(random=random_ppk())


routes(
    router,
    Kind(
        "ppks",
        "ppk",
        stored=PpkObject,
        body=PpkBody,
        shown=PpkAnswer,
        show=lambda _, ppk: PpkAnswer(**ppk.model_dump()),
        searched=lambda ppk: (ppk.description, ppk.identity),
    ),
)
