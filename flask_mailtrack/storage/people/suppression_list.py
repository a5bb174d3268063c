"""Lists of suppressions: imports CSV files of other services into the database, in small transactions.

The files of SendGrid, Mailgun, Postmark, Amazon SES, Mailchimp, SparkPost and of our own export are known by their
headers. A file of bare addresses works, too. A file is read line by line, in little memory, however long it is.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TextIO

from flask_mailtrack.events import OptOutKind, Suppression, now
from flask_mailtrack.lists import folded
from flask_mailtrack.privacy import clean, normalise
from flask_mailtrack.storage.records import batched
from flask_mailtrack.storage.tables import register

from .people import People, unmailable

_NAMES = {
    "address": ("email", "emailaddress", "address", "recipient", "mail", "subscriber", "subscriberemail"),
    "reason": ("reason", "suppressionreason", "unsubreason", "description", "error", "type", "code"),
    "created": ("created", "createdat", "timestamp", "date", "unsubtime", "lastupdatetime", "updated", "addedat"),
    "list_id": ("listid",),
    "kind": ("kind",),
}
_DELIMITERS = ",;\t|"
_MANY_LINES = 20
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file that names a person."""

    line: int
    address: str
    """Normalised."""
    reason: str = ""
    created_at: datetime | None = None
    list_id: str | None = None
    """The time; ``None`` if the file does not tell."""
    kind: OptOutKind = OptOutKind.UNSUBSCRIBE


@dataclass(frozen=True, slots=True)
class BadRow:
    """One line that cannot be used."""

    line: int
    problem: str
    fields: tuple[str, ...]


class SuppressionFile:
    """One file.

    :raises OSError: the file cannot be read.
    :raises ValueError: the file has no column with addresses.
    """

    def __init__(self, path: str | Path) -> None:
        self.path: Path = Path(path)
        self.encoding: str = _encoding(self.path)
        with self._open() as file:
            first = file.readline()
        self._delimiter = max(_DELIMITERS, key=first.count)
        self.header: list[str] = next(csv.reader([first], delimiter=self._delimiter), [])
        self.columns: dict[str, int] = _columns(self.header)
        self.headless: bool = "address" not in self.columns
        if self.headless:
            self.columns = {"address": _first_address(self.header)}

    def rows(self, from_line: int = 1) -> Iterator[Row | BadRow]:
        """Yield the rows that begin at *from_line* or later.

        :param from_line: counted from 1, with the header.
        """
        for line, fields in self._fields():
            if line >= from_line and (line > 1 or self.headless) and any(fields):
                yield self._row(line, fields)

    def lines(self) -> int:
        """Return the approximate number of lines."""
        with open(self.path, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))

    def _open(self) -> TextIO:
        return open(self.path, encoding=self.encoding, newline="")

    def _fields(self) -> Iterator[tuple[int, Sequence[str]]]:
        """Yield number and fields of each row.

        An unclosed quote swallows the following lines. Such lines are then read one by one.
        """
        with self._open() as file:
            seen: list[str] = []
            reader = csv.reader(_noting(file, seen), delimiter=self._delimiter, strict=True)
            number = 1
            while True:
                seen.clear()
                fields: list[str] = []
                try:
                    fields = next(reader)
                    whole = len(seen) <= _MANY_LINES
                except StopIteration:
                    return
                except csv.Error:
                    whole = False
                if whole:
                    yield number, fields
                else:
                    yield from ((number + offset, self._line(text)) for offset, text in enumerate(seen))
                number += len(seen)

    def _line(self, text: str) -> Sequence[str]:
        text = text.rstrip("\r\n")
        try:
            return next(csv.reader([text], delimiter=self._delimiter), [])
        except csv.Error:
            return [text]

    def _row(self, line: int, fields: Sequence[str]) -> Row | BadRow:
        said = {name: fields[at].strip() for name, at in self.columns.items() if at < len(fields)}
        # Our own export puts this mark before a cell that a spreadsheet would take for a formula.
        address = normalise(said.get("address", "").removeprefix("'"))
        if problem := unmailable(address):
            return BadRow(line, problem, tuple(fields))
        kind = said.get("kind", "") or OptOutKind.UNSUBSCRIBE
        if kind not in list(OptOutKind):
            return BadRow(line, f"has the unknown kind {kind!r}", tuple(fields))
        list_id = said.get("list_id")
        if list_id is not None and (len(folded(list_id)) > 255 or not list_id.isprintable()):
            return BadRow(line, "has a list id that cannot be stored", tuple(fields))
        reason = clean(said.get("reason", ""), 32)
        return Row(line, clean(address, 320), reason, _moment(said.get("created", "")), list_id, OptOutKind(kind))


def _noting(lines: Iterable[str], seen: list[str]) -> Iterator[str]:
    for line in lines:
        seen.append(line)
        yield line


def _encoding(path: Path) -> str:
    """Return the encoding of a file: by its mark, else UTF-8 if the file is valid, else Latin-1, which always fits."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open(path, "rb") as file:
        start = file.read(4)
        for mark, name in _BOMS:
            if start.startswith(mark):
                return name
        try:
            decoder.decode(start)
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "latin-1"
    return "utf-8"


def _columns(header: Sequence[str]) -> dict[str, int]:
    plain = ["".join(c for c in cell.lower() if c.isalpha()) for cell in header]
    return {
        meaning: plain.index(name)
        for meaning, names in _NAMES.items()
        if (name := next((n for n in names if n in plain), ""))
    }


def _first_address(fields: Sequence[str]) -> int:
    for at, field in enumerate(fields):
        if not unmailable(normalise(field)):
            return at
    known = "email, address, recipient"
    raise ValueError(f"has no column with addresses; its first line is {list(fields)!r:.200}. Known: {known}")


def _moment(text: str) -> datetime | None:
    """Return a time in the spelling of any of the services; ``None`` if it is no time, or cannot be true."""
    moment: datetime | None = None
    with suppress(ValueError, OverflowError, OSError):
        if text.replace(".", "", 1).isdigit():
            seconds = float(text)
            moment = datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)
        else:
            moment = _written(text.removesuffix(" UTC").strip())
    if moment is None:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment if datetime(1990, 1, 1, tzinfo=UTC) < moment <= now() else None


def _written(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return parsedate_to_datetime(text)


BATCH = 5_000


@dataclass(slots=True)
class ImportProgress:
    """The progress of an import."""

    line: int = 0
    """The last line whose row is in the database, or rejected."""
    rows: int = 0
    added: int = 0
    bad: int = 0

    @property
    def known(self) -> int:
        """Rows that were in the database already."""
        return self.rows - self.added - self.bad


class Rejected:
    """The unusable rows, in a file beside the import. They can be corrected and imported from there."""

    def __init__(self, file: SuppressionFile, resumed: bool) -> None:
        self.path: Path = Path(f"{file.path}.rejected.csv")
        self._header = [] if file.headless else file.header
        self._mode = "a" if resumed else "w"
        self._stack = ExitStack()
        self._writer: Any = None
        if not resumed:
            self.path.unlink(missing_ok=True)

    def add(self, row: BadRow) -> None:
        """Keep one."""
        if self._writer is None:
            new = self._mode == "w" or not self.path.exists()
            file = self._stack.enter_context(self.path.open(self._mode, encoding="utf-8", newline=""))
            self._writer = csv.writer(file)
            if new and self._header:
                self._writer.writerow(["line", "problem", *self._header])
        self._writer.writerow([row.line, row.problem, *row.fields] if self._header else row.fields)

    def __enter__(self) -> Rejected:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def load(
    people: People,
    file: SuppressionFile,
    *,
    list_id: str = "",
    reason: str = "",
    from_line: int = 1,
    by: str = "",
    told: Callable[[ImportProgress, list[BadRow]], object] = lambda progress, bad: None,
) -> ImportProgress:
    """Import *file*. Standing opt-outs stay as they are, so an import can be repeated at any time.

    :param list_id: the list for rows that name none; empty: everything.
    :param reason: the reason for rows that give none.
    :param from_line: the first line, to continue an import that was broken off.
    :param by: the operator, for the audit.
    :param told: called after each transaction, with the bad rows since the last one.
    :raises SQLAlchemyError: the database could not take a batch; earlier batches stay.
    :raises OSError: a file cannot be read or written.
    """
    progress = ImportProgress(line=from_line - 1)
    with Rejected(file, from_line > 1) as rejected:
        for rows in batched(file.rows(from_line), BATCH):
            bad = [row for row in rows if isinstance(row, BadRow)]
            changes = [_change(people, file, row, list_id, reason, by) for row in rows if isinstance(row, Row)]
            with people.database.transaction() as connection:
                news = register.write(people.database, connection, changes, fresh=True)
            for row in bad:
                rejected.add(row)
            progress.line, progress.rows = rows[-1].line, progress.rows + len(rows)
            progress.added, progress.bad = progress.added + len(news), progress.bad + len(bad)
            told(progress, bad)
    return progress


def _change(people: People, file: SuppressionFile, row: Row, list_id: str, reason: str, by: str) -> Suppression:
    return people.suppression(
        row.address,
        method="import",
        list_id=list_id if row.list_id is None else row.list_id,
        reason=row.reason or reason,
        kind=row.kind,
        source=f"import:{file.path.name}:{row.line}",
        created_at=row.created_at,
        by=by,
    )
