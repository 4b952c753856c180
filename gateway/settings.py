"""Process settings from the environment: where data lies, which ports, which data plane."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ANY_HOST = "0.0.0.0"  # noqa: S104  the console is for the network; it speaks TLS only

_INTERFACE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")  # the kernel takes more; what looks like a mistyped address is one


class InvalidSetting(ValueError):
    """An environment variable has no usable value; the message says which and what would do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One process's settings; each field is read from `IKEGATE_<NAME>`."""

    data: Path = Path("var")
    web_host: str = ANY_HOST
    web_port: int = 8443
    http_host: str = ANY_HOST
    http_port: int = 0
    """Where anybody may read by plain HTTP what our authorities revoked; 0 for nowhere."""
    ike_port: int = 500
    nat_port: int = 4500
    plane: str = "auto"
    public_name: str = ""
    kek_file: Path | None = None
    key_log: Path | None = None
    log_level: str = "info"
    listen: tuple[str, ...] = ()
    """Addresses and interfaces at which IKE is served; empty means all."""
    fetch_loopback: bool = False
    """Whether lists of revoked certificates and OCSP answers are fetched from this machine itself, too."""
    crash_tokens: bool = True
    """Whether peers get tokens by which we prove a restart (RFC 6290); several gateways behind one address must not."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Raises InvalidSetting."""
        source = os.environ if environment is None else environment
        plane = source.get("IKEGATE_PLANE", "auto")
        if plane not in ("auto", "kernel", "userspace", "memory"):
            raise InvalidSetting(f"IKEGATE_PLANE={plane}: use auto, kernel, userspace or memory")
        return cls(
            data=Path(source.get("IKEGATE_DATA", "var")),
            web_host=source.get("IKEGATE_WEB_HOST", ANY_HOST),
            web_port=_port(source, "IKEGATE_WEB_PORT", 8443),
            http_host=source.get("IKEGATE_HTTP_HOST", ANY_HOST),
            http_port=_port(source, "IKEGATE_HTTP_PORT", 0),
            ike_port=_port(source, "IKEGATE_IKE_PORT", 500),
            nat_port=_port(source, "IKEGATE_NAT_PORT", 4500),
            plane=plane,
            public_name=source.get("IKEGATE_PUBLIC_NAME", ""),
            kek_file=_path(source, "IKEGATE_KEK_FILE"),
            key_log=_path(source, "IKEGATE_KEY_LOG"),
            log_level=source.get("IKEGATE_LOG_LEVEL", "info"),
            listen=_places(source, "IKEGATE_LISTEN"),
            fetch_loopback=_switch(source, "IKEGATE_FETCH_LOOPBACK", "off"),
            crash_tokens=_switch(source, "IKEGATE_CRASH_TOKENS", "on"),
        )


def _port(source: Mapping[str, str], name: str, default: int) -> int:
    text = source.get(name, str(default))
    if not text.isdecimal() or int(text) > 65535:
        raise InvalidSetting(f"{name}={text}: a port is a number from 0 to 65535")
    return int(text)


def _places(source: Mapping[str, str], name: str) -> tuple[str, ...]:
    places = tuple(place.strip() for place in source.get(name, "").split(",") if place.strip())
    for place in places:
        if not _is_address(place) and not _INTERFACE.fullmatch(place):
            raise InvalidSetting(f"{name}: {place!r} is neither an address nor the name of an interface")
    return places


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _switch(source: Mapping[str, str], name: str, default: str) -> bool:
    text = source.get(name, default)
    if text not in ("on", "off"):
        raise InvalidSetting(f"{name}={text}: use on or off")
    return text == "on"


def _path(source: Mapping[str, str], name: str) -> Path | None:
    return Path(source[name]) if source.get(name) else None
