"""Composition root on the host: the capsule of `kap run`, project state, status."""
