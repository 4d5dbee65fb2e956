"""Keys and values as TOML text, written by tomlkit (imported when something is written: reading a policy does not need it)."""

from __future__ import annotations


def key_text(key: str) -> str:
    """A key, in quotes where it has to be."""
    import tomlkit

    return tomlkit.key(key).as_string()


def value_text(value: str | bool | int) -> str:
    """A value: a basic string on one line, a boolean or a number."""
    import tomlkit

    return tomlkit.item(value).as_string()
