"""How the command on the same machine gets in: files in the data folder that only its owner may read."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

CLI_TOKEN = "cli-token"  # noqa: S105  a file's name
SETUP_LINK = "setup-link"
CERTIFICATE = Path("tls", "certificate.pem")
PLACES = (Path("var"), Path("/var/lib/ikegate"))


class NoDoor(Exception):
    """No local gateway can be reached through the data folder; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where the gateway of a data folder answers, and the token that it takes from its owner."""

    url: str
    token: str = field(repr=False)
    certificate: Path


def data_folder(environment: dict[str, str] | os._Environ[str]) -> Path:
    """IKEGATE_DATA, else `var` here, else the usual place of an installed gateway."""
    if named := environment.get("IKEGATE_DATA"):
        return Path(named)
    return next((place for place in PLACES if _exists(place / CLI_TOKEN)), PLACES[0])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # it may be there; reading it will say what is wrong


def write_door(data: Path, url: str, token: str) -> None:
    write_private(data / CLI_TOKEN, json.dumps({"url": url, "token": token}) + "\n")


def read_door(data: Path) -> Door:
    """Raises NoDoor."""
    path = data / CLI_TOKEN
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Door(str(found["url"]), str(found["token"]), data / CERTIFICATE)
    except FileNotFoundError:
        raise NoDoor(
            f"No gateway has run with the data folder {data} (there is no {path}). Start `ikegate serve`, name the "
            "folder in IKEGATE_DATA, or name a gateway by IKEGATE_URL and IKEGATE_TOKEN."
        ) from None
    except PermissionError:
        raise NoDoor(
            f"Only the owner of {data} may use its gateway without a token: run this as that user (sudo), or set "
            "IKEGATE_TOKEN to a token made in the console."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoDoor(f"{path} is damaged ({error}); the gateway writes it anew when it starts.") from None


def read_setup_link(data: Path) -> str | None:
    """The one-time link for the first administrator, while there is one. Raises NoDoor."""
    try:
        return (data / SETUP_LINK).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NoDoor(f"{data / SETUP_LINK} cannot be read: {error.strerror}.") from None


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and for the owner only."""
    new = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        new.unlink()
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
