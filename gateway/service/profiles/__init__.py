"""What a person loads into a device so that it can come in: one file for each platform.

No file holds a secret: the device asks for the password.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.service.profiles import android, apple, linux, windows
from gateway.service.profiles.joining import Joining

__all__ = ["PLATFORMS", "Joining", "Platform"]


@dataclass(frozen=True, slots=True)
class Platform:
    """One kind of device: how its file is made, named and served. `make` raises Unfit."""

    name: str
    make: Callable[[Joining], bytes]
    media_type: str
    suffix: str


PLATFORMS = {
    platform.name: platform
    for platform in (
        Platform("apple", apple.profile, "application/x-apple-aspen-config", ".mobileconfig"),
        Platform("android", android.profile, "application/vnd.strongswan.profile", ".sswan"),
        Platform("windows", windows.script, "text/plain; charset=utf-8", ".ps1"),
        Platform("networkmanager", linux.network_manager, "text/plain; charset=utf-8", ".nmconnection"),
        Platform("swanctl", linux.swanctl, "text/plain; charset=utf-8", ".conf"),
    )
}
