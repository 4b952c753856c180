"""The two ways in which both ends carry ESP, as parameters of the fixture `plane`."""

import pytest

MACS = "xcbc cmac"  # plugins for AES-XCBC and AES-CMAC, which the lab's charon does not load by itself
CHARON_PLUGINS = {"userspace": f"{MACS} kernel-libipsec kernel-netlink", "kernel": f"{MACS} kernel-netlink"}

USERSPACE = pytest.param(
    "userspace", marks=[pytest.mark.interop, pytest.mark.requires("root", "netns", "tun", "charon", "ping")]
)
KERNEL = pytest.param(
    "kernel", marks=[pytest.mark.in_kernel, pytest.mark.requires("root", "netns", "esp", "charon", "ping")]
)

# For what IKE alone decides: the kernel's ESP adds nothing to it.
userspace_only = pytest.mark.parametrize("plane", [USERSPACE], indirect=True, scope="module")
# For what only the kernel's ESP does.
kernel_only = pytest.mark.parametrize("plane", [KERNEL], indirect=True, scope="module")
roles = pytest.mark.parametrize("initiator", ["ours", "theirs"])
