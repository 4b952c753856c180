"""Hears from the kernel when this host's addresses, links or routes change, and tells it once things have settled."""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable
from typing import Any

from pyroute2 import AsyncIPRoute
from pyroute2.netlink import rtnl
from pyroute2.netlink.exceptions import NetlinkError

log = logging.getLogger("ikegate")

_GROUPS = (
    rtnl.RTMGRP_LINK
    | rtnl.RTMGRP_IPV4_IFADDR
    | rtnl.RTMGRP_IPV6_IFADDR
    | rtnl.RTMGRP_IPV4_ROUTE
    | rtnl.RTMGRP_IPV6_ROUTE
)
_SETTLED = 0.5
_AGAIN = 5.0
_RUNNING = 0x1 | 0x10000  # IFF_UP, IFF_LOWER_UP
_UNUSABLE = 0x08 | 0x40  # IFA_F_DADFAILED, IFA_F_TENTATIVE
_MAIN_TABLE = 254  # our own routes lie in tables of their own
_KERNEL_MADE = 2  # RTPROT_KERNEL: the routes that come and go with addresses and links

Changed = Callable[[tuple[str, ...]], None]
Learn = Callable[[dict[str, int]], None]


class NetworkWatch:
    """Gives `changed` this host's addresses at the start, and after every change half a second later."""

    def __init__(self, changed: Changed, learn: Learn = lambda devices: None) -> None:
        """`learn` hears before it of which interface every address is, also those that no peer can reach."""
        self._changed = changed
        self._learn = learn
        self._links: dict[int, bool] = {}
        self._task: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()

    def start(self) -> None:
        """Begin to listen, on the running loop and in the network namespace of this thread."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._due:
            self._due.cancel()
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        """Listen for ever; what the kernel could not tell us because it was too much counts as a change."""
        while True:
            try:
                async with AsyncIPRoute() as kernel, asyncio.TaskGroup() as tasks:
                    await kernel.bind(_GROUPS)
                    await self._learn_links()
                    tasks.create_task(self._report())
                    self._moved.set()
                    while True:
                        async for message in kernel.get():
                            self._hear(message)
            except* (OSError, NetlinkError) as problem:
                log.warning("changes of the network are not heard for a moment: %s", problem.exceptions[0])
            await asyncio.sleep(_AGAIN)

    def _hear(self, message: Any) -> None:
        if self._matters(message) and self._due is None:
            self._due = asyncio.get_running_loop().call_later(_SETTLED, self._settled)

    def _settled(self) -> None:
        self._due = None
        self._moved.set()

    def _matters(self, message: Any) -> bool:
        """Links say a lot that is no change for us; routes of other tables are our own, or policy routing's."""
        match message.get("event"):
            case "RTM_NEWLINK" | "RTM_DELLINK" as event:
                running = event == "RTM_NEWLINK" and _runs(message)
                was = self._links.get(message["index"], False)
                self._links[message["index"]] = running
                if event == "RTM_DELLINK":
                    self._links.pop(message["index"], None)
                return running is not was
            case "RTM_NEWADDR" | "RTM_DELADDR":
                return bool(_address(message))
            case "RTM_NEWROUTE" | "RTM_DELROUTE":
                return bool(message["table"] == _MAIN_TABLE and message["proto"] != _KERNEL_MADE)
            case _:
                return False

    async def _learn_links(self) -> None:
        async with AsyncIPRoute() as kernel:
            self._links = {message["index"]: _runs(message) async for message in await kernel.get_links()}

    async def _report(self) -> None:
        """The addresses are read by another socket, so that answers and news do not get mixed up."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            async with AsyncIPRoute() as kernel:
                messages = [message async for message in await kernel.get_addr()]
            self._learn({text: message["index"] for message in messages if (text := _text(message))})
            found = [address for message in messages if (address := _usable(message))]
            self._changed(tuple(sorted(set(found))))


def _runs(link: Any) -> bool:
    return bool(link["flags"] & _RUNNING == _RUNNING)


def _text(message: Any) -> str:
    return str(message.get("local") or message.get("address") or "")


def _usable(message: Any) -> str:
    """The address, if it can be used now."""
    return "" if (message.get("flags") or 0) & _UNUSABLE else _address(message)


def _address(message: Any) -> str:
    """The address at which a peer can reach us, or nothing."""
    text = _text(message)
    address = ipaddress.ip_address(text) if text else None
    return "" if address is None or address.is_loopback or address.is_link_local else str(address)
