"""A Docker engine and an internet for tests, alone in network namespaces of their own (see `engine.Lab`)."""
