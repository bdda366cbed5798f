"""No framing: bytes as they come, for a protocol whose frames end where what was asked for says."""

from gateway.io.serial.framing import Piece


class Unframed:
    """See gateway.io.serial.framing.Framing."""

    waiting = False

    def feed(self, data: bytes) -> list[Piece]:
        """See Framing."""
        return [Piece(data)]

    def midway(self) -> None:
        """See Framing."""

    def idle(self) -> list[Piece]:
        """See Framing."""
        return []

    def lost(self) -> list[Piece]:
        """See Framing."""
        return []
