"""What a Sparkplug host remembers of edge nodes: births, aliases, sequence numbers (Sparkplug
3.0.0, sections 5 and 6). No I/O: what should be asked of a node is told, not sent."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.errors import DecodeError

_MOST_NODES = 1_000
_MOST_NAMES = 200_000  # metrics of all nodes
_WHOLE = 256
"""Sequence numbers are counted modulo this."""


class Born(NamedTuple):
    """A metric as a birth told it. datatype: Sparkplug's number, 0 where unknown."""

    name: str
    datatype: int


@dataclass(slots=True)
class Node:
    """An edge node. seq: of its last message; None before a birth was seen. bd_seq: which of its
    sessions it is in. heard: when it was (ns). gaps: how often messages were missing. aliases,
    types: by device, "" for the node itself."""

    seq: int | None = None
    bd_seq: int | None = None
    online: bool = False
    heard: int = 0
    gaps: int = 0
    aliases: dict[str, dict[int, Born]] = field(default_factory=dict)
    types: dict[str, dict[str, int]] = field(default_factory=dict)

    def follows(self, seq: int) -> bool:
        """Whether a message comes right behind the last one; if not, it is counted. The same
        number again is a message that was sent twice."""
        before, self.seq = self.seq, seq
        if before is None:
            return False
        if seq in (before, (before + 1) % _WHOLE):
            return True
        self.gaps += 1
        return False

    @property
    def size(self) -> int:
        """How many names it takes to remember it."""
        return sum(map(len, self.aliases.values())) + sum(map(len, self.types.values()))


class Nodes:
    """Every edge node that was heard of, by group and name."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[str, str], Node] = {}
        self._names = 0

    def of(self, group: str, edge: str) -> Node:
        """A node; a new one if there is room. Raises DecodeError with reason too_many."""
        node = self._nodes.get((group, edge))
        if node is None:
            if len(self._nodes) >= _MOST_NODES:
                raise DecodeError(f"more than {_MOST_NODES} edge nodes", reason="too_many")
            node = self._nodes[group, edge] = Node()
        return node

    def born(self, node: Node, seq: int, bd_seq: int | None) -> None:
        """A node is born: whatever was known of it and its devices is void."""
        self._names -= node.size
        node.aliases, node.types = {}, {}
        node.seq, node.bd_seq, node.online = seq, bd_seq, True

    def told(self, node: Node, device: str, metrics: Iterable[tuple[Born, int | None]]) -> None:
        """The metrics in a birth of the node ("") or of a device, with their aliases. Raises
        DecodeError with reason too_many or metric."""
        aliases: dict[int, Born] = {}
        types: dict[str, int] = {}
        for born, alias in metrics:
            if not born.name:
                raise DecodeError("a birth has a metric without a name", reason="metric")
            types[born.name] = born.datatype
            if alias is not None:
                aliases[alias] = born
        before = len(node.aliases.get(device, ())) + len(node.types.get(device, ()))
        grown = len(aliases) + len(types) - before
        if self._names + grown > _MOST_NAMES:
            raise DecodeError("too many metrics of all edge nodes", reason="too_many")
        self._names += grown
        node.aliases[device], node.types[device] = aliases, types

    @staticmethod
    def dies(node: Node, bd_seq: int | None) -> bool:
        """A node's death; False for that of an earlier session, which comes late."""
        if None not in (bd_seq, node.bd_seq) and bd_seq != node.bd_seq:
            return False
        node.online, node.seq = False, None
        return True
