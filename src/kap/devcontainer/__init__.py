"""A project's dev container: identity, overlay, gate."""
