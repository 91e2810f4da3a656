"""Which commands wait for an answer, and whose edges carry which sequence number."""

from __future__ import annotations

from collections.abc import Sequence

ANSWER_NS = 50_000_000
"""An on-command without an answer for this long is lost."""

OFF_AGAIN_NS = 5_000_000
"""An ``off`` without an answer is sent again after this long…"""

OFF_GIVES_UP_NS = 1_000_000_000
"""…and for this long."""

TICKETS = 4096
"""Newest commands whose edges are still recognised."""


class Sent:
    """A command that waits for its answer."""

    __slots__ = ("again_ns", "frame", "ticket", "written_ns")

    def __init__(self, ticket: int, written_ns: int, frame: bytes) -> None:
        self.ticket = ticket
        """0 = the driver's own, nobody wants to hear of it."""
        self.written_ns = written_ns
        self.frame = frame
        self.again_ns = written_ns + OFF_AGAIN_NS


class Ledger:
    """Commands by sequence number. Every command leaves it once: answered, or given up."""

    def __init__(self) -> None:
        self._ons: dict[int, Sent] = {}
        self.offs: dict[int, Sent] = {}
        self._tickets: dict[int, int] = {}

    def add_on(self, seq: int, ticket: int, written_ns: int, frame: bytes) -> None:
        """Note an on-command; it is sent once."""
        self._note(seq, ticket)
        self._ons[seq] = Sent(ticket, written_ns, frame)

    def add_off(self, seq: int, ticket: int, written_ns: int, frame: bytes) -> None:
        """Note an ``off``; it is sent again until it is acknowledged."""
        self._note(seq, ticket)
        self.offs[seq] = Sent(ticket, written_ns, frame)

    def take(self, seq: int) -> Sent | None:
        """Remove the command that an answer belongs to; None = it was given up, or there never was one."""
        return self._ons.pop(seq, None) or self.offs.pop(seq, None)

    def take_overdue(self, now_ns: int) -> Sequence[Sent]:
        """Remove the on-commands that have waited too long."""
        overdue = [seq for seq, sent in self._ons.items() if now_ns - sent.written_ns > ANSWER_NS]
        return [self._ons.pop(seq) for seq in overdue]

    def take_hopeless(self, now_ns: int) -> Sequence[Sent]:
        """Remove the ``off`` commands that were repeated for too long."""
        hopeless = [seq for seq, sent in self.offs.items() if now_ns - sent.written_ns > OFF_GIVES_UP_NS]
        return [self.offs.pop(seq) for seq in hopeless]

    def take_all(self) -> Sequence[Sent]:
        """Remove everything: no answer can come any more."""
        everything = [*self._ons.values(), *self.offs.values()]
        self._ons.clear()
        self.offs.clear()
        return everything

    def due_again(self, now_ns: int) -> Sequence[Sent]:
        """The ``off`` commands that are to be sent again now."""
        due = [sent for sent in self.offs.values() if now_ns >= sent.again_ns]
        for sent in due:
            sent.again_ns = now_ns + OFF_AGAIN_NS
        return due

    def ticket(self, seq: int) -> int:
        """Ticket of the command that caused an edge; 0 = none did, or it is not among the newest `TICKETS`."""
        return self._tickets.get(seq, 0)

    def _note(self, seq: int, ticket: int) -> None:
        self._tickets.pop(seq, None)
        if ticket:
            self._tickets[seq] = ticket
            if len(self._tickets) > TICKETS:
                del self._tickets[next(iter(self._tickets))]
