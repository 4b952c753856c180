"""Real peers, network namespaces and a kernel with ESP, for tests that need them."""
