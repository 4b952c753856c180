"""DNS servers, and the domains whose names are asked of them alone (RFC 8598)."""

import re
from dataclasses import dataclass

_DOMAIN = re.compile(r"(?=.{1,253}$)([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_-]{1,63}")


def domain_of(text: str) -> str | None:
    """A domain in its one spelling: in small letters, without the last dot; None where it is none."""
    name = text.rstrip(".")
    return name.lower() if _DOMAIN.fullmatch(name) else None


@dataclass(frozen=True, slots=True)
class NameService:
    """What a peer told of DNS: `dns` are servers' addresses, for names in `domains` alone; none: for all names."""

    dns: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """A clause for people; empty without servers."""
        if not self.dns:
            return ""
        return f"DNS servers {', '.join(self.dns)} for {', '.join(self.domains) or 'all names'}"


NO_NAMES = NameService()
