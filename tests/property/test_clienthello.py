"""Whatever bytes come, and however they are cut: the ClientHello reader refuses with a code or says the same as for the whole."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from kap.egress.clienthello import BadHello, Hello, HelloReader

_spec = importlib.util.spec_from_file_location("hellos", Path(__file__).parents[1] / "unit" / "egress" / "hellos.py")
assert _spec is not None and _spec.loader is not None
hellos = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hellos)

extensions = st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=12)), max_size=5)


def read(pieces: list[bytes]) -> Hello | str | None:
    reader = HelloReader(4096)
    try:
        for piece in pieces:
            found = reader.feed(piece)
            if found is not None:
                return found
    except BadHello as error:
        assert error.code in ("egress.not-tls", "egress.bad-hello")
        return error.code
    return None


@settings(max_examples=300, deadline=None)
@given(
    extensions,
    st.binary(max_size=40),
    st.lists(st.integers(1, 200), max_size=6),
    st.lists(st.integers(0, 3000), max_size=6),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=3),
)
def test_cuts_and_mutations(
    extensions: list[tuple[int, bytes]],
    session_id: bytes,
    sizes: list[int],
    cuts: list[int],
    mutations: list[tuple[int, int]],
) -> None:
    message = hellos.message(hellos.sni(b"example.com"), *extensions, session_id=session_id)
    data = bytearray(hellos.records(message, sizes))
    for place, value in mutations:
        data[place % len(data)] = value
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    pieces = [bytes(data[a:b]) for a, b in itertools.pairwise(places)]
    whole = read([bytes(data)])
    assert read(pieces) == whole
    assert read([bytes([byte]) for byte in data]) == whole


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_noise_never_tunnels(data: bytes) -> None:
    assert not isinstance(read([data]), Hello)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=1, max_size=30))
def test_a_name_taken_is_a_host_name(name: bytes) -> None:
    found = read([hellos.hello(name)])
    if isinstance(found, Hello):
        assert found.sni == name.decode("ascii").lower().rstrip(".")
        assert found.sni is not None and all(c.isalnum() or c in "-_." for c in found.sni)
