"""What the send side writes down: each copy before it goes to SMTP, and its fate afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

from flask_mailtrack.events import LinkTarget, SentMessage, Status, now
from flask_mailtrack.storage.disk.journal import Journal
from flask_mailtrack.storage.records import to_json

log = logging.getLogger("flask_mailtrack.send")

_REMEMBERED = 10_000


class Ledger:
    """Writes rows to the journal. A mail never fails because a row could not be written.

    :param failed: told when a row could not be written.
    :param written: told when rows are in the spool and the database may have them.
    :param noted: told of links that are in the journal, and lead nowhere without their row.
    """

    def __init__(
        self,
        spool: Journal,
        failed: Callable[[str, Exception], None],
        written: Callable[[], object],
        noted: Callable[[Iterable[LinkTarget]], object],
    ) -> None:
        self._spool = spool
        self._failed = failed
        self._written = written
        self._noted = noted
        self._known: set[str] = set()

    def page(self, common: Iterable[LinkTarget | SentMessage], suppressed: Iterable[SentMessage]) -> Page:
        """Open the page of one send call: with who is left out, and links and counters that are new to this process."""
        known = self._known
        fresh = [record for record in common if _key(record) not in known]
        if self.write(to_json(record) for records in (fresh, suppressed) for record in records):
            if len(known) > _REMEMBERED:  # one step, because threads send at the same time
                known = self._known = set()
            known.update(map(_key, fresh))
        return Page(self.write)

    def keep(self, links: Iterable[LinkTarget]) -> bool:
        """Write down where *links* lead, which do not carry it themselves, and say whether that is on disk."""
        fresh = [link for link in links if _key(link) not in self._known]
        if not self.write(map(to_json, fresh), sync=True):
            return False
        self._known.update(map(_key, fresh))
        self._noted(fresh)
        return True

    def write(self, lines: Iterable[Mapping[str, Any]], sync: bool = False) -> bool:
        """Append *lines* to the spool, and say whether that went well."""
        try:
            if made := list(lines):
                self._spool.append(*made, sync=sync)
        except Exception as error:
            log.exception("message rows could not be written")
            self._failed("spool", error)
            return False
        return True

    def close(self) -> None:
        """The send call is over: its rows may go to the database."""
        try:
            self._written()
        except Exception:  # no thread to be had, for instance; the rows are in the spool
            log.exception("rows wait in the spool")


def _key(record: LinkTarget | SentMessage) -> str:
    return record.ref if isinstance(record, LinkTarget) else str(record.id)


class Page:
    """The part of the ledger that one send call fills.

    The fate of a copy is written together with the beginning of the next one, so each copy costs one
    write. The process may die between the two; then the row says "sending", as it does if the process
    dies before the server has answered.

    :param write: appends to the ledger.
    """

    def __init__(self, write: Callable[[Iterable[Mapping[str, Any]]], object]) -> None:
        self._write = write
        self._begun: dict[UUID, Mapping[str, Any]] = {}
        self._fates: list[Mapping[str, Any]] = []

    def begin(self, rows: Iterable[SentMessage]) -> None:
        """Write down what is about to be sent: it is in the spool when this returns, or never will be."""
        self._begun = {}
        self._write(self._lines(rows))

    def fate(self, rows: Iterable[SentMessage], status: Status, error: str = "") -> None:
        """Note what became of *rows*, which have been begun last.

        A fate repeats the whole row: it may reach the database first, or alone.
        """
        told: dict[str, Any] = {"status": status}
        if error:
            told["error"] = error
        if status in (Status.SENT, Status.UNKNOWN):
            told["sent_at"] = now().isoformat()
        self._fates.extend({**self._begun[row.id], **told} for row in rows if row.id in self._begun)

    def close(self) -> None:
        """Write the fates of the last copy."""
        self.begin(())

    def _lines(self, rows: Iterable[SentMessage]) -> Iterator[Mapping[str, Any]]:
        fates, self._fates = self._fates, []
        yield from fates
        for row in rows:
            self._begun[row.id] = to_json(row)
            yield self._begun[row.id]
