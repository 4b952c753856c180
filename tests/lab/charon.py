"""Runs strongSwan's charon (Debian's charon-systemd) in a namespace, all its files in a folder of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.lab.namespaces import CommandFailedError, Namespace, run, stop
from tests.lab.vici import Section, Vici, ViciError

DAEMON, SWANCTL = "/usr/sbin/charon-systemd", "/usr/sbin/swanctl"

# Named one by one: Debian's default set loads plugins that ask the machine for TPMs, DHCP and the like.
KEY_PLUGINS = (
    "random nonce drbg openssl gmp curve25519 sha1 sha2 md5 hmac kdf pem pkcs1 pkcs8 pkcs12 pubkey x509 constraints "
    "revocation"
)
PLUGINS = (
    "random nonce drbg openssl aesni gmp curve25519 chapoly ccm ctr sha1 sha2 md5 mgf1 hmac kdf pem pkcs1 pkcs8 pkcs12 "
    "pubkey x509 revocation constraints attr {kernel} socket-default vici updown eap-identity eap-md5 eap-mschapv2 "
    "eap-tls eap-ttls eap-radius resolve"
)
KEY_FOLDERS = "x509 x509ca x509aa x509ac x509crl x509ocsp private pubkey rsa ecdsa bliss pkcs8 pkcs12"

_CONFIGURATION = """
charon-systemd {{
  load = {plugins}
  plugins {{
    vici {{
      socket = unix://{socket}
    }}
    resolve {{
      file = {folder}/resolv.conf
    }}
  }}
  filelog {{
    lab {{
      path = {folder}/charon.log
      time_format = %H:%M:%S
      flush_line = yes
      default = 1
      ike = 2
      cfg = 2
      knl = 2
    }}
  }}
  journal {{
    default = -1
  }}
  {settings}
}}
swanctl {{
  load = {key_plugins}
}}
"""


class CharonError(Exception):
    """Charon did not start or refused something; the text ends with its log."""


class Charon:
    """One charon in a namespace; `with Charon(…) as charon` starts and stops it.

    `kernel` names its kernel plugins: "kernel-libipsec kernel-netlink" does ESP in userspace (TUN, tunnel mode, always
    in UDP on port 4500, and no selector equal to the peer's own address); "kernel-netlink" uses the kernel's.
    `settings` are further lines of strongswan.conf's charon section, one setting a line.
    """

    def __init__(
        self, ns: Namespace, workdir: Path, kernel: str = "kernel-libipsec kernel-netlink", *, settings: str = ""
    ) -> None:
        self.ns = ns
        self.folder = workdir
        self.process: subprocess.Popen[bytes] | None = None
        self.swanctl_folder = workdir / "swanctl"
        for name in KEY_FOLDERS.split():
            (self.swanctl_folder / name).mkdir(parents=True, exist_ok=True)
        # A socket's path has 107 octets at most, and pytest's folders have long names.
        self.socket_folder = Path(tempfile.mkdtemp(prefix="vici-"))
        self.socket = self.socket_folder / "vici"
        self.configuration = workdir / "strongswan.conf"
        text = _CONFIGURATION.format(
            plugins=PLUGINS.format(kernel=kernel),
            key_plugins=KEY_PLUGINS,
            socket=self.socket,
            folder=workdir,
            settings=settings,
        )
        self.configuration.write_text(text)

    def __enter__(self) -> "Charon":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, timeout: float = 30.0) -> None:
        """Start the daemon and wait until its control socket answers; raises CharonError after `timeout` seconds."""
        environment = {"STRONGSWAN_CONF": str(self.configuration)}
        self.process = self.ns.start(self._unconfined(DAEMON), output=self.folder / "stdout", env=environment)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.request("version")
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise CharonError(f"charon did not start\n{(self.folder / 'stdout').read_text()}{self.log()}")

    def _unconfined(self, program: str) -> str:
        """A copy of a strongSwan program: AppArmor knows it by its path, and keeps it from the files of a test."""
        copy = self.folder / "bin" / Path(program).name
        if not copy.exists():
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(program, copy)
        return str(copy)

    def stop(self) -> None:
        """End the daemon (it sends deletes for its SAs) and remove its socket; the log stays. Safe to call twice."""
        if self.process is not None:
            stop(self.process)
            self.process = None
        shutil.rmtree(self.socket_folder, ignore_errors=True)

    def kill(self) -> None:
        """End the daemon as a power failure would: nobody is told. `start` brings it back, without a configuration."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None
        self.socket.unlink(missing_ok=True)
        run("ip", "-n", self.ns.name, "xfrm", "state", "flush", check=False)
        run("ip", "-n", self.ns.name, "xfrm", "policy", "flush", check=False)

    def certificate(self, certificate: Path, key: Path | None = None, *, authority: bool = False) -> None:
        """Hand charon a certificate file, with its private key or as an authority; effective with the next `load`."""
        shutil.copy(certificate, self.swanctl_folder / ("x509ca" if authority else "x509"))
        if key is not None:
            shutil.copy(key, self.swanctl_folder / "private")

    def configure(self, section: str) -> None:
        """Add a section to charon's part of strongswan.conf (one setting a line); its plugins read it at once."""
        text = self.configuration.read_text()
        self.configuration.write_text(f"{text}\ncharon-systemd {{\n{section}\n}}\n")
        self.request("reload-settings")

    def load(self, swanctl_conf: str) -> None:
        """Replace connections, pools and secrets by those of a swanctl.conf text (one setting a line)."""
        (self.swanctl_folder / "swanctl.conf").write_text(swanctl_conf)
        environment = {"STRONGSWAN_CONF": str(self.configuration), "SWANCTL_DIR": str(self.swanctl_folder)}
        try:
            run(
                self._unconfined(SWANCTL),
                "--load-all",
                "--clear",
                "--noprompt",
                "--uri",
                f"unix://{self.socket}",
                env=environment,
            )
        except CommandFailedError as failure:
            raise CharonError(f"{failure}\n{self.tail()}") from failure

    def request(
        self, command: str, arguments: Mapping[str, str | list[str]] | None = None, *, wait: float = 30.0
    ) -> Section:
        """A VICI command with its arguments and its answer; raises CharonError when charon refuses."""
        with Vici(self.socket, wait) as vici:
            try:
                return vici.request(command, arguments)
            except ViciError as failure:
                raise CharonError(f"{failure}\n{self.tail()}") from failure

    def initiate(self, child: str, timeout: float = 10.0) -> None:
        """Bring a child SA up, and its IKE SA where there is none; raises CharonError after `timeout` seconds."""
        self.request("initiate", {"child": child, "timeout": str(int(timeout * 1000))}, wait=timeout + 5)

    def terminate(self, ike: str, timeout: float = 10.0) -> None:
        """Delete the IKE SAs of a connection, with their children."""
        self.request("terminate", {"ike": ike, "timeout": str(int(timeout * 1000))}, wait=timeout + 5)

    def rekey(self, *, ike: str = "", child: str = "") -> None:
        """Start rekeying the IKE SAs of a connection or the SAs of a child; does not wait for the end."""
        self.request("rekey", {"ike": ike} if ike else {"child": child})

    def list_sas(self) -> list[Section]:
        """The IKE SAs: each VICI's fields ("state", "initiator-spi", …), its "name", its children in "child-sas"."""
        with Vici(self.socket) as vici:
            events = vici.stream("list-sas", "list-sa")
        found: list[Section] = []
        for event in events:
            for name, fields in event.items():
                assert isinstance(fields, dict)
                found.append({"name": name, **fields})
        return found

    def children(self, child: str = "") -> list[Section]:
        """The child SAs of all IKE SAs (or those of one name), as VICI's fields ("state", "bytes-in", "spi-in", …)."""
        found: list[Section] = []
        for sa in self.list_sas():
            inner = sa["child-sas"]
            assert isinstance(inner, dict)
            found.extend(
                fields for fields in inner.values() if isinstance(fields, dict) and child in ("", fields["name"])
            )
        return found

    def log(self) -> str:
        """All that charon logged."""
        path = self.folder / "charon.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tail(self, lines: int = 25) -> str:
        """The end of the log without our own questions, for a message about a failure."""
        told = [line for line in self.log().splitlines() if "[CFG] vici client" not in line]
        return os.linesep.join(told[-lines:])
