"""The command `nft`: tables of our own."""

import ipaddress
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from gateway.policy.selectors import ANY_PORT, Selector

WORDS = {4: "ip", 6: "ip6"}
"""An IP version in rules."""
LAID = "chain laid { accept; }"
"""In a table of ours: it is gone, or empty, when another program removed the table or flushed it."""
_ICMP = (1, 58)
_SECONDS = 10
_BESIDE = "/usr/sbin:/sbin"


class Count(NamedTuple):
    """What an element of a set met."""

    packets: int
    octets: int


class Nft:
    """Runs scripts in the network namespace in which the object is made."""

    def __init__(self) -> None:
        self._program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_BESIDE}")
        self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def replace(self, table: str, content: str, then: Iterable[str] = ()) -> str:
        """Put a table of the family inet, with what is between its braces, in place of the one of that name.

        `then` are commands for the same step. Why that cannot be, "" when it was done.
        """
        anew = f"add table inet {table}", f"delete table inet {table}", f"table inet {table} {{", content, "}"
        return self.run("\n".join([*anew, *then, ""]))

    def remove(self, table: str) -> str:
        """Remove a table, if it is there. Why that cannot be, "" when it was done."""
        return self.run(f"add table inet {table}\ndelete table inet {table}\n")

    def counts(self, table: str, names: Iterable[str]) -> dict[str, dict[str, Count]] | None:
        """What the elements of these sets of the table counted, by set and element; None where one is not there.

        One at a time: while a long list is read from JSON no other thread runs.
        """
        found = {}
        for name in names:
            sets = self._listed("set", "set", "inet", table, name)
            if not sets:
                return None
            found[name] = dict(_counted(sets[0].get("elem", ())))
        return found

    def tables(self) -> list[str]:
        """The names of all tables of the family inet, whoever made them; none where nft does not say."""
        return [one["name"] for one in self._listed("table", "tables", "inet") or ()]

    def lies(self, table: str) -> bool | None:
        """Whether a table with LAID in it lies there untouched; None where nft does not say."""
        done = self._call(["-j", "list", "chain", "inet", table, "laid"])
        if isinstance(done, str):
            return None
        return not done.returncode and any("rule" in one for one in json.loads(done.stdout)["nftables"])

    def close(self) -> None:
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1

    def run(self, script: str) -> str:
        """Do all that the script says, or nothing. Why that cannot be, "" when it was done."""
        done = self._call(["-f", "-"], script)
        if isinstance(done, str):
            return done
        if not done.returncode:
            return ""
        said = (done.stderr.strip() or f"status {done.returncode}").splitlines()[0]
        return f"nft says {said.removeprefix('/dev/stdin:').lstrip('0123456789-: ')}"

    def _listed(self, kind: str, *what: str) -> list[Any] | None:
        """All of one kind in what is to be listed; None for no answer."""
        done = self._call(["-j", "list", *what])
        if isinstance(done, str) or done.returncode:
            return None
        return [one[kind] for one in json.loads(done.stdout)["nftables"] if kind in one]

    def _call(self, words: list[str], script: str = "") -> subprocess.CompletedProcess[str] | str:
        """What came of it, or why it does not run."""
        if self._program is None:
            return "the command nft is not installed here"
        command = [self._program, *words]
        if not os.path.samestat(os.fstat(self._namespace), os.stat("/proc/thread-self/ns/net")):
            command = ["nsenter", f"--net=/proc/self/fd/{self._namespace}", *command]
        try:
            return subprocess.run(
                command,
                input=script,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
                pass_fds=(self._namespace,),
            )
        except (OSError, subprocess.TimeoutExpired) as failure:
            return f"nft does not run: {failure}"


def addresses(version: int, start: int, end: int) -> str:
    """A range of addresses in rules."""
    texts = (str(ipaddress.IPv4Address(one) if version == 4 else ipaddress.IPv6Address(one)) for one in (start, end))
    return "-".join(dict.fromkeys(texts))


def ports(selector: Selector, protocol: int, way: str) -> list[str]:
    """What a rule says of ports, `way` is sport or dport; nothing of all ports, and none can say it of opaque ones."""
    if (selector.start_port, selector.end_port) == ANY_PORT:
        return []
    # of ICMP it is type and code, where others have their source port
    return [f"{'@th,0,16' if protocol in _ICMP else f'th {way}'} {selector.start_port}-{selector.end_port}"]


def _counted(elements: Iterable[Any]) -> Iterator[tuple[str, Count]]:
    for element in elements:
        if isinstance(element, dict) and "counter" in (counting := element.get("elem", {})):
            yield counting["val"], Count(counting["counter"]["packets"], counting["counter"]["bytes"])
