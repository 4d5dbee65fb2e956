"""The proxy port before the first byte: cheap, because most connections become tunnels at once."""

from __future__ import annotations

from kap.egress import replies
from kap.egress.connection import ClientSide
from kap.egress.forward import Forward
from kap.egress.tunnel import Tunnel


class Entrance(ClientSide):
    """Waits for the first bytes and hands the connection to what can read them. Keeps and parses nothing itself."""

    __slots__ = ()

    def accepted(self) -> None:
        """The first head is due."""
        self.deadline = self.started + self.plane.limits.head_seconds

    def overload_answer(self) -> bytes:
        """See `ClientSide`."""
        return replies.reply("egress.limit-connections")

    def data_received(self, data: bytes) -> None:
        """The first bytes."""
        try:
            target = self.plane.known_connects.get(data)
            if target is not None:
                Tunnel(self.plane, before=self).begin_connect(target, b"")
            else:
                Forward(self.plane, before=self).begin(data)
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)

    def expire(self) -> None:
        """Nothing came."""
        self.finish(b"")
