"""How each end proves who it is."""
