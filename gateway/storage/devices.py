"""Devices of users, as they are written."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from gateway.storage.fields import NAME_PATTERN, Described, Reference
from gateway.storage.identity import Pem

_PART = NAME_PATTERN.strip("^$")
DeviceName = Annotated[
    str,
    StringConstraints(pattern=f"^{_PART}/{_PART}$"),
    Field(description="The user's name, a slash, and the device's own", examples=["anna/phone"]),
]


class DeviceFields(Described):
    """What a user comes in with, known by a certificate of its own that an authority of ours issued.

    Its private key is on the device alone. A certificate that is no longer any device's is revoked.
    """

    platform: Annotated[
        Literal["", "apple", "android", "windows", "networkmanager", "swanctl"],
        Field(description="For what its file was made; empty: it has none yet"),
    ] = ""
    authority: Annotated[Reference, Field(description="Which authority of ours issued its certificate")] = ""
    certificate: Annotated[Pem, Field(description="PEM. Not sent or empty: the stored one stays")] = ""
    previous_authority: Annotated[Reference, Field(description="Which authority of ours issued the one before")] = ""
    previous_certificate: Annotated[
        Pem, Field(description="PEM. The one before, which is good until the device comes in by the new one")
    ] = ""


class DeviceNamed(BaseModel):
    """The name stands first in a document."""

    name: DeviceName


class DeviceObject(DeviceFields, DeviceNamed):
    """A device with its name."""

    @property
    def user(self) -> str:
        """The name of the user whose it is."""
        return self.name.partition("/")[0]

    @property
    def certificates(self) -> tuple[tuple[str, str], ...]:
        """Those that are good for it, each with its authority, the newest first."""
        both = (self.authority, self.certificate), (self.previous_authority, self.previous_certificate)
        return tuple(one for one in both if one[1])
