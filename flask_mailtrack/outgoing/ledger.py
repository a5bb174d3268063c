"""What the send side writes down: each copy before it goes to SMTP, and its fate afterwards."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable

from flask_mailtrack.events import LinkTarget, SentMessage, Status, now
from flask_mailtrack.storage.journal import Journal
from flask_mailtrack.storage.records import to_json

log = logging.getLogger("flask_mailtrack.send")

_REMEMBERED = 10_000


class Ledger:
    """Writes rows to the journal. A mail never fails because a row could not be written.

    :param failed: told when a row could not be written.
    :param written: told when rows are in the spool and the database may have them.
    """

    def __init__(self, spool: Journal, failed: Callable[[str, Exception], None], written: Callable[[], object]) -> None:
        self._spool = spool
        self._failed = failed
        self._written = written
        self._links: set[str] = set()

    def begin(self, rows: Iterable[SentMessage], targets: Iterable[LinkTarget]) -> None:
        """Write down what is about to be sent, and links that no mail of this process has carried yet."""
        known = self._links
        fresh = [target for target in targets if target.ref not in known]
        if self._write([*fresh, *rows]):
            if len(known) > _REMEMBERED:  # one step, because threads send at the same time
                known = self._links = set()
            known.update(target.ref for target in fresh)

    def fate(self, rows: Iterable[SentMessage], status: Status, error: str = "") -> None:
        """Write down what became of *rows*."""
        sent_at = now() if status in (Status.SENT, Status.UNKNOWN) else None
        self._write(
            [dataclasses.replace(row, status=status, error=error or row.error, sent_at=sent_at) for row in rows]
        )

    def close(self) -> None:
        """The send call is over: its rows may go to the database."""
        try:
            self._written()
        except Exception:  # no thread to be had, for instance; the rows are in the spool
            log.exception("rows wait in the spool")

    def _write(self, records: list[LinkTarget | SentMessage]) -> bool:
        if not records:
            return True
        try:
            self._spool.append(*map(to_json, records))
        except Exception as error:
            log.exception("message rows could not be written")
            self._failed("spool", error)
            return False
        return True
