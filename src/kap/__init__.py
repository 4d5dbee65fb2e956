"""kap runs AI coding agents in secure capsules.

The rooms and the direction between them are described in ARCHITECTURE.md; import-linter holds the code to them.
"""

__version__ = "0.1.0"
