"""Tells systemd how the gateway is (sd_notify): ready, stopping, and alive while its watchdog asks."""

import asyncio
import os
import socket


def notify(state: str) -> None:
    """Send `READY=1` and the like to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


async def keep_alive() -> None:
    """Answer the watchdog from the very loop that IKE runs on, twice in each period; at once when there is none."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()) or not microseconds.isdecimal():
        return
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(int(microseconds) / 2e6)
