"""All of the console's routes, for the app to include."""

from fastapi import APIRouter

from web.console import changing, credentials, entry, watching

router = APIRouter()
for part in (entry, changing, credentials, watching):  # changing first: /tunnels/new is no tunnel's name
    router.include_router(part.router)
