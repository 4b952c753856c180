"""What the fields of all objects are made of: names, lines, counts, times, networks."""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"

Name = Annotated[
    str,
    StringConstraints(pattern=NAME_PATTERN),
    Field(description="1 to 63 of a-z, 0-9, dot, underscore and hyphen; begins with a letter or a digit"),
]
Reference = Annotated[str, StringConstraints(pattern=rf"^({NAME_PATTERN.strip('^$')})?$")]  # a name, or empty
Description = Annotated[str, StringConstraints(max_length=1000), Field(description="For people; changes nothing")]
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True)]
Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False)]
LARGEST_COUNT = 2**53  # what JSON's numbers hold exactly
LATEST = 32_503_680_000  # the year 3000 as Unix time: every calendar can show it


def network_of(text: str) -> str:
    """A network, or one address as a network, in its one spelling. Raises ValueError."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
        exact = ipaddress.ip_address(text.strip().partition("/")[0])
    except ValueError:
        raise ValueError(f"{text!r} is no network such as 192.0.2.0/24 or 2001:db8::/64") from None
    if network.network_address != exact:
        raise ValueError(f"{text!r} has bits beyond its prefix; did you mean {network}?")
    return str(network)


Network = Annotated[
    str,
    StringConstraints(max_length=64),
    AfterValidator(network_of),
    Field(description="A network; an address alone is taken as one", examples=["198.51.100.0/24"]),
]


class Described(BaseModel):
    """What every object has: no unknown fields, and never changed in place."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: Description = ""


class Named(BaseModel):
    """The name stands first in a document: pydantic takes the fields of the last base first."""

    name: Name


class NamedByNetwork(BaseModel):
    """The network stands first in a document, and is the object's name."""

    network: Network

    @property
    def name(self) -> str:
        return self.network
