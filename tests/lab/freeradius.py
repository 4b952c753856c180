"""Runs Debian's FreeRADIUS from its unpacked package on loopback, with a configuration of the test's own."""

import os
import subprocess
import time
from pathlib import Path

from tests.lab.namespaces import Namespace, stop
from tests.lab.ports import free_ports

ROOT = Path(__file__).parents[2] / ".venv" / "lab" / "freeradius"
"""Where `install-packages` unpacks it."""

_CONFIGURATION = """
prefix = {root}/usr
libdir = {root}/usr/lib/freeradius
raddbdir = {folder}
logdir = {folder}
run_dir = {folder}
pidfile = {folder}/pid
max_request_time = 30
hostname_lookups = no
log {{
  destination = stdout
  auth = yes
}}
security {{
  allow_core_dumps = no
  reject_delay = 0
}}
modules {{
  files {{
    usersfile = {folder}/users
  }}
  detail {{
    filename = {folder}/detail
    permissions = 0600
  }}
  pap {{
  }}
  mschap {{
  }}
  eap {{
    default_eap_type = {method}
    timer_expire = 60
    md5 {{
    }}
    mschapv2 {{
    }}
    {tls}
  }}
}}
client here {{
  ipaddr = 127.0.0.1
  secret = "{secret}"
  require_message_authenticator = yes
}}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  listen {{
    type = acct
    ipaddr = 127.0.0.1
    port = {accounting_port}
  }}
  authorize {{
    files
    eap {{
      ok = return
    }}
    mschap
    pap
  }}
  authenticate {{
    Auth-Type MS-CHAP {{
      mschap
    }}
    eap
  }}
  accounting {{
    detail
  }}
}}
server inner {{
  authorize {{
    files
    eap {{
      ok = return
    }}
    mschap
    pap
  }}
  authenticate {{
    Auth-Type MS-CHAP {{
      mschap
    }}
    eap
  }}
}}
"""
_TLS = """
    tls-config common {{
      private_key_file = {folder}/server.key
      certificate_file = {folder}/server.pem
      ca_file = {folder}/root.pem
      tls_min_version = "1.2"
      tls_max_version = "1.2"
      ecdh_curve = "prime256v1"
    }}
    tls {{
      tls = common
    }}
    ttls {{
      tls = common
      default_eap_type = md5
      virtual_server = "inner"
    }}
    peap {{
      tls = common
      default_eap_type = mschapv2
      virtual_server = "inner"
    }}
"""
"""With `server.key`, `server.pem` and `root.pem` in the server's folder."""


class FreeRadiusError(Exception):
    """It did not start; the text ends with what it printed."""


def unpacked() -> str:
    """Why FreeRADIUS cannot run here, or ""."""
    return "" if (ROOT / "usr/sbin/freeradius").exists() else "no FreeRADIUS (tests/lab/install-packages unpacks it)"


class FreeRadius:
    """One server; `with FreeRadius(…) as radius` starts and stops it. `users` are lines of its users file.

    It runs in the namespace `ns`, where one is given. A folder with certificates in it makes it speak TLS too.
    """

    def __init__(
        self,
        folder: Path,
        users: str,
        *,
        secret: str = "a secret of two",
        method: str = "mschapv2",
        ns: Namespace | None = None,
    ) -> None:
        self.folder = folder
        self._ns = ns
        self.secret = secret.encode()
        self.port, self.accounting_port = free_ports(2)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "users").write_text(users)
        (folder / "radiusd.conf").write_text(
            _CONFIGURATION.format(
                root=ROOT,
                folder=folder,
                secret=secret,
                method=method,
                port=self.port,
                accounting_port=self.accounting_port,
                tls=_TLS.format(folder=folder) if (folder / "root.pem").exists() else "",
            )
        )
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "FreeRadius":
        words = ["-f", "-X", "-d", str(self.folder), "-n", "radiusd", "-D", str(ROOT / "usr/share/freeradius")]
        program = [str(ROOT / "usr/sbin/freeradius"), *words]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *(self._ns.command(*program) if self._ns else program)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_environment(),
            )
        deadline = time.monotonic() + 30
        while "Ready to process requests" not in self.log():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise FreeRadiusError(self.log()[-2000:])
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            stop(self.process)
            self.process = None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def accounted(self) -> list[dict[str, str]]:
        """The accounting records that it wrote down to their end, with its own names of the attributes."""
        path = self.folder / "detail"
        records = path.read_text().split("\n\n")[:-1] if path.exists() else []
        return [
            dict(line.strip().replace('"', "").split(" = ", 1) for line in record.splitlines() if " = " in line)
            for record in records
            if record.strip()
        ]


def radclient(where: str, code: str, secret: str, *attributes: str, ns: Namespace | None = None) -> str:
    """Send a request with FreeRADIUS's own client, from 127.0.0.1 (of `ns`); what it printed about the answer."""
    words = [
        "-D",
        str(ROOT / "usr/share/freeradius"),
        "-d",
        "/nowhere",
        "-x",
        "-r",
        "2",
        "-t",
        "2",
        where,
        code,
        secret,
    ]
    program = [str(ROOT / "usr/bin/radclient"), *words]
    done = subprocess.run(
        ns.command(*program) if ns else program,
        input="\n".join(attributes),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=_environment(),
    )
    return done.stdout + done.stderr


def _environment() -> dict[str, str]:
    libraries = (ROOT / part for part in ("usr/lib/freeradius", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"))
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
