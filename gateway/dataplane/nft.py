"""The command `nft`: tables of our own, each written whole."""

import os
import shutil
import subprocess

_SECONDS = 10
_BESIDE = "/usr/sbin:/sbin"


class Nft:
    """Runs scripts in the network namespace in which the object is made."""

    def __init__(self) -> None:
        self._program = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:{_BESIDE}")
        self._namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def replace(self, table: str, content: str) -> str:
        """Put a table of the family inet, with what is between its braces, in place of the one of that name.

        Why that cannot be, "" when it was done.
        """
        return self._run(f"add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n{content}\n}}\n")

    def remove(self, table: str) -> str:
        """Remove a table, if it is there. Why that cannot be, "" when it was done."""
        return self._run(f"add table inet {table}\ndelete table inet {table}\n")

    def close(self) -> None:
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1

    def _run(self, script: str) -> str:
        if self._program is None:
            return "the command nft is not installed here"
        command = [self._program, "-f", "-"]
        if not os.path.samestat(os.fstat(self._namespace), os.stat("/proc/thread-self/ns/net")):
            command = ["nsenter", f"--net=/proc/self/fd/{self._namespace}", *command]
        try:
            done = subprocess.run(
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
        if not done.returncode:
            return ""
        said = (done.stderr.strip() or f"status {done.returncode}").splitlines()[0]
        return f"nft says {said.removeprefix('/dev/stdin:').lstrip('0123456789-: ')}"
