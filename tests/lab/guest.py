"""PID 1 of a User-Mode-Linux guest: lays a scratch layer over the machine's files and runs one command.

`tests.lab.kernel` copies this file into a folder of its own, puts a `#!` line before it, and boots a kernel with it as
init. It must therefore import nothing but the standard library and run without site-packages.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from typing import Any

MS_BIND, MNT_DETACH = 4096, 2
POWER_OFF = 0x4321FEDC
UML_MODULES = "/usr/lib/uml/modules"

# What IPsec tests need of a modular kernel (Debian's). There is no modprobe in the guest unless the machine has kmod,
# so nothing loads by itself; a module that this kernel does not have is passed over: the test that needs it says so.
# drbg comes first: without a default random generator no ESP transform that makes IVs can be set up.
MODULES = """
    jitterentropy_rng drbg
    xfrm_user xfrm_algo esp4 esp6 ah4 ah6 ipcomp ipcomp6 xfrm4_tunnel xfrm6_tunnel xfrm_interface ip_vti ip6_vti af_key
    gcm ccm ctr cbc ecb seqiv echainiv authenc authencesn ghash-generic chacha20poly1305 chacha_generic poly1305_generic
    aes_generic sha1_generic sha256_generic sha512_generic hmac xcbc cmac md5 des_generic camellia_generic crypto_null
    deflate algif_hash algif_skcipher algif_aead veth tun dummy vrf udp_tunnel sch_netem
    nf_tables nf_conntrack_netlink nft_chain_nat nft_nat nft_masq nft_ct nft_xfrm nft_reject nft_queue nfnetlink_queue
    ip_tables iptable_nat iptable_filter xt_MASQUERADE xt_policy xt_conntrack xt_tcpudp
""".split()

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    os.makedirs(target, exist_ok=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}")


def load_modules(names: list[str]) -> None:
    """Load modules and what they depend on, by the kernel's own list; without that list the kernel has all built in."""
    folder = f"{UML_MODULES}/{os.uname().release}"
    if not os.path.isdir(folder):
        return
    paths: dict[str, list[str]] = {}
    with open(f"{folder}/modules.dep") as dependencies:
        for line in dependencies:
            path, _, needs = line.partition(":")
            paths[module_name(path)] = [path, *needs.split()]
    loaded: set[str] = set()

    def load(name: str) -> None:
        if name in loaded or name not in paths:
            return
        loaded.add(name)
        path, *needs = paths[name]
        for need in needs:
            load(module_name(need))
        descriptor = os.open(f"{folder}/{path}", os.O_RDONLY)
        if libc.syscall(313, descriptor, b"", 0):  # finit_module, which the C library does not offer
            os.write(2, f"guest: {name}: {os.strerror(ctypes.get_errno())}\n".encode())
        os.close(descriptor)

    for name in names:
        load(name.replace("-", "_"))


def module_name(path: str) -> str:
    return os.path.basename(path).partition(".ko")[0].replace("-", "_")


def enter_scratch_root() -> None:
    """Make / a copy-on-write view of the machine's files: the guest may write anywhere, and nothing of it survives."""
    mount("proc", "/proc", "proc")
    load_modules(["overlay"])
    mount("scratch", "/mnt", "tmpfs", data="mode=755,size=80%")
    for name in ("up", "work", "root"):
        os.mkdir(f"/mnt/{name}")
    mount("overlay", "/mnt/root", "overlay", data="lowerdir=/,upperdir=/mnt/up,workdir=/mnt/work")
    os.chdir("/mnt/root")
    if libc.pivot_root(b".", b"mnt"):
        raise OSError(ctypes.get_errno(), "pivot_root")
    os.chroot(".")
    os.chdir("/")
    libc.umount2(b"/mnt", MNT_DETACH)


def furnish(writable: list[str]) -> None:
    """Mount what a running system has, and the host's folders that the guest may write to."""
    mount("proc", "/proc", "proc")
    mount("sys", "/sys", "sysfs")
    mount("dev", "/dev", "devtmpfs")
    mount("pts", "/dev/pts", "devpts", data="ptmxmode=666")
    mount("shm", "/dev/shm", "tmpfs")
    mount("run", "/run", "tmpfs", data="mode=755")
    for folder in ("/run/lock", "/run/netns", "/dev/net"):
        os.makedirs(folder, exist_ok=True)
    if not os.path.exists("/dev/fd"):
        os.symlink("/proc/self/fd", "/dev/fd")
    load_modules(MODULES)
    if not os.path.exists("/dev/net/tun"):
        os.mknod("/dev/net/tun", 0o666 | 0o020000, os.makedev(10, 200))
    if os.path.isdir(UML_MODULES):
        mount(UML_MODULES, "/lib/modules", flags=MS_BIND)
    for folder in writable:
        mount("none", folder, "hostfs", data=folder)


def run_command(order: dict[str, Any], folder: str) -> int:
    """Run the ordered command to its end or deadline, reaping orphans; answers its status, 124 for too late."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    child = os.fork()
    if not child:
        become_command(order, folder)
    deadline = time.monotonic() + order["timeout"]
    while (left := deadline - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, left)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == child:
                return os.waitstatus_to_exitcode(status)
            if not pid:
                break
    return 124


def become_command(order: dict[str, Any], folder: str) -> None:
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.chdir(order["cwd"])
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        # O_SYNC: what was printed before a kernel panic is not lost in the guest's page cache.
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_SYNC), descriptor)
        os.execvpe(order["command"][0], order["command"], order["env"])
    except OSError as failure:
        os.write(2, f"guest: {failure}\n".encode())
    finally:
        os._exit(127)


def loopback_up() -> None:
    import fcntl
    import socket
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        fcntl.ioctl(device, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def main() -> None:
    folder = os.path.dirname(os.path.abspath(sys.argv[0]))
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    with open(f"{folder}/order.json") as file:
        order = json.load(file)
    enter_scratch_root()
    furnish([folder, *order["writable"]])
    loopback_up()
    status = run_command(order, folder)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)  # daemons that the command left; PID 1 itself is spared
    with open(f"{folder}/status", "w") as file:
        file.write(str(status))
    os.sync()
    for mounted in order["writable"]:
        libc.umount2(mounted.encode(), 0)
    libc.umount2(folder.encode(), 0)
    libc.reboot(POWER_OFF)


if __name__ == "__main__":
    main()
