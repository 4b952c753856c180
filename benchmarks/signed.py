"""IKE handshakes a CPU-second where both ends prove themselves by certificates, beside strongSwan's charon in one run.

`python -m benchmarks.signed [--quick]` as root. ECDSA P-256 and RSA-3072; as in `benchmarks.handshakes`, our initiator
calls each responder in alternating rounds. A chain is a certificate and its root. Nothing is asserted.
"""

import argparse
import contextlib
import datetime as dt
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.end import CLIENTS, ESP, IKE, NETS
from benchmarks.targets import SETTINGS, WHOLE, OurEnd, Target, alternate, middle, ours, print_ratios, side_by_side
from tests.lab.charon import Charon
from tests.lab.namespaces import Network, two_sites
from tests.lab.userspace import first_missing, missing

KINDS = ("ECDSA P-256", "RSA-3072")
_YEAR = dt.timedelta(days=365)
_CONNECTION = """
connections {{
  lab {{
    version = 2
    proposals = {ike}
    local_addrs = 192.0.2.2
    remote_addrs = %any
    unique = never
    send_cert = always
    local {{
      auth = pubkey
      certs = responder.pem
      id = gw.example
    }}
    remote {{
      auth = pubkey
      id = c.example
    }}
    children {{
      net {{
        local_ts = {local}
        remote_ts = {remote}
        esp_proposals = {esp}
      }}
    }}
  }}
}}
"""


def write_keys(folder: Path, kind: str) -> None:
    """A root, and a certificate with its key for each role."""
    begins = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)

    def made() -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
        return ec.generate_private_key(ec.SECP256R1()) if kind == KINDS[0] else rsa.generate_private_key(65537, 3072)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    root = made()
    for role, dns in (("root", ""), ("responder", "gw.example"), ("initiator", "c.example")):
        key = root if role == "root" else made()
        serial = x509.random_serial_number()
        builder = x509.CertificateBuilder(name("root"), name(role), key.public_key(), serial, begins, begins + _YEAR)
        builder = builder.add_extension(x509.BasicConstraints(role == "root", None), critical=True)
        if dns:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(dns)]), critical=False)
        certificate = builder.sign(root, hashes.SHA256())
        (folder / f"{role}.der").write_bytes(certificate.public_bytes(Encoding.DER))
        (folder / f"{role}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{role}.key").write_bytes(octets)


@contextlib.contextmanager
def charons(clients: int, folder: Path, keys: Path) -> Iterator[Target]:
    """ikegate calls charon."""
    with Network() as network, contextlib.ExitStack() as stack:
        left, right = two_sites(network)
        charon = Charon(right, folder / "charon", settings=SETTINGS)
        shutil.copy(keys / "root.pem", charon.swanctl_folder / "x509ca")
        shutil.copy(keys / "responder.pem", charon.swanctl_folder / "x509")
        shutil.copy(keys / "responder.key", charon.swanctl_folder / "private")
        stack.enter_context(charon)
        charon.load(_CONNECTION.format(ike=IKE, esp=ESP, local=NETS, remote=CLIENTS))
        end = OurEnd(left, "initiator", clients, folder / "caller", IKE, keys=keys)
        initiator = stack.enter_context(contextlib.closing(end))
        assert charon.process is not None
        yield Target(WHOLE, charon.process.pid, initiator, lambda: None)


def measure(kind: str, rounds: int, count: int) -> None:
    """Print one kind of key."""
    with tempfile.TemporaryDirectory() as scratch:
        keys, clients = Path(scratch), count * (rounds + 1)
        write_keys(keys, kind)
        with side_by_side(
            lambda folder: ours(clients, folder, keys=keys),
            lambda folder: charons(clients, folder, keys),
            first_missing("root", "tun", "netns") or missing("charon"),
        ) as targets:
            alternate(targets, rounds, count)
            print(f"{kind}, both ends: handshakes a CPU-second of the responder, median (lowest-highest) of the rounds")
            for target in targets:
                print(f"  {target.name:36} {middle(target.rates(), '6.0f')}")
            print_ratios(targets)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three small rounds")
    quick = parser.parse_args().quick
    if needs := first_missing("root", "netns"):
        print(f"cannot measure handshakes: {needs}", file=sys.stderr)
        return 2
    started = time.monotonic()
    for kind in KINDS:
        measure(kind, *((3, 30) if quick else (8, 100)))
    print(f"in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
