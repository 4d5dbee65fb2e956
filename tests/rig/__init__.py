"""Real sockets on loopback for tests of the egress plane."""
