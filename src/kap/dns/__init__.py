"""The name server: a strict codec (sans-io) and the server."""
