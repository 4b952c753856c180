"""Drivers that carry ESP: the kernel's XFRM, our own userspace ESP, and a memory one."""
