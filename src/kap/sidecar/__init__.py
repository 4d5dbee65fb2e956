"""Composition root inside the sidecar: planes, reload, health."""
