"""`Edit`: what to change in a document, by route. Data only; `edits.apply` carries it out."""

from __future__ import annotations

from typing import Literal

import msgspec

from kap.document.route import Route


class Edit(msgspec.Struct, frozen=True):
    """A symbolic edit: what to do at `route`. ``append`` adds `value` to the array there (made where it is missing), ``replace``
    puts `value` in place of the value, ``remove`` takes the entry out, ``rename`` makes `value` the key's name.
    """

    op: Literal["append", "replace", "remove", "rename"]
    route: Route
    value: str | bool | int = ""
