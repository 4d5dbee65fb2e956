"""SSH identifications: the verdict depends on the bytes, never on how they were cut; what passes is what came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kap.egress.wires import NotSsh, SshBanner


def outcome(pieces: list[bytes], is_server: bool) -> tuple[bytes, bool] | None:
    """What passed and whether it is complete; None where it was refused."""
    banner = SshBanner(is_server=is_server)
    passed = b""
    try:
        for piece in pieces:
            passed += banner.feed(piece)
    except NotSsh:
        return None
    return passed, banner.done


LINES = st.sampled_from(
    [b"SSH-2.0-x\r\n", b"SSH-1.99-y z\n", b"SSH-1.5-z\r\n", b"hello\r\n", b"SSH-", b"S", b"\n", b"\x00", b"kex"]
)


@given(st.lists(LINES | st.binary(max_size=20), max_size=8), st.booleans(), st.data())
def test_cutting_changes_nothing(lines: list[bytes], is_server: bool, data: st.DataObject) -> None:
    whole = b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    one, many = outcome([whole], is_server), outcome([bytes([byte]) for byte in whole], is_server)
    assert outcome(pieces, is_server) == one == many
    if one is not None and one[1]:
        assert one[0] == whole
    elif one is not None:
        assert one[0] == b""
