"""What a person loads into a device so that it can come in: one file for each platform.

A file for a person with a password holds no secret: the device asks for it. One for a device with a certificate holds
its private key.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.service.profiles import android, apple, bundles, linux, windows
from gateway.service.profiles.joining import DeviceKey, Joining

__all__ = ["KEYED", "PLATFORMS", "DeviceKey", "Joining", "Platform"]


@dataclass(frozen=True, slots=True)
class Platform:
    """One kind of device: how its file is made, named and served. `make` raises Unfit."""

    name: str
    make: Callable[[Joining], bytes]
    media_type: str
    suffix: str


_APPLE = Platform("apple", apple.profile, "application/x-apple-aspen-config", ".mobileconfig")
_ANDROID = Platform("android", android.profile, "application/vnd.strongswan.profile", ".sswan")
_WINDOWS = Platform("windows", windows.script, "text/plain; charset=utf-8", ".ps1")
PLATFORMS = {
    platform.name: platform
    for platform in (
        _APPLE,
        _ANDROID,
        _WINDOWS,
        Platform("networkmanager", linux.network_manager, "text/plain; charset=utf-8", ".nmconnection"),
        Platform("swanctl", linux.swanctl, "text/plain; charset=utf-8", ".conf"),
    )
}
KEYED = {
    platform.name: platform
    for platform in (
        _APPLE,
        _ANDROID,
        _WINDOWS,
        Platform("networkmanager", bundles.network_manager, "application/gzip", ".tar.gz"),
        Platform("swanctl", bundles.swanctl, "application/gzip", ".tar.gz"),
    )
}
"""The same with a device's certificate and its private key inside."""
