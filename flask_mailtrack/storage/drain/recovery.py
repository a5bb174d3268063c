"""Finds records that wait in the journal or were put aside, without draining them.

A send looks for waiting choices, and an erasure looks for a person. Records that could not be stored come back from a
log, or from the quarantine.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from flask_mailtrack.errors import StreamError
from flask_mailtrack.events import Hit, Suppression
from flask_mailtrack.storage.journal.directory import BAD, SUFFIX, bad_files, foreign_segments, open_safely
from flask_mailtrack.storage.journal.journal import Found, Journal, find
from flask_mailtrack.storage.journal.segment import election, to_disk
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import decode, encode, from_json
from flask_mailtrack.storage.redis import Stream
from flask_mailtrack.storage.tables.refused import OPT_OUTS, refuses

from .drain import Drain

Bare = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
"""Returns the part of a record that may stay when a person is forgotten."""


class PendingChoices:
    """The choices that are not in the database yet, with those of other machines.

    :param choices: the journal of this machine.
    :param stream: holds the choices of other machines.
    :param drain: moves the choices before a send, if that is possible at once; if not, they are read in place.
    :param hurried: for the drain: skip choices of other machines while Redis does not answer, and segments of
        another user.
    :param apart: for a page: return choices of other machines in :meth:`elsewhere` only.
    """

    def __init__(
        self,
        choices: Journal,
        stream: Stream | None,
        drain: Drain | None = None,
        *,
        hurried: bool = False,
        apart: bool = False,
    ) -> None:
        self._choices = choices
        self._stream = stream
        self._drain = drain
        self._hurried = hurried
        self._apart = apart

    def read(self) -> list[Hit | Suppression]:
        """Return the choices, each once.

        :raises OSError: a spool cannot be read.
        :raises StreamError: Redis cannot be asked.
        """
        others: list[Hit | Suppression] = []
        if self._stream is not None and not self._apart:
            with suppress(StreamError) if self._hurried else nullcontext():
                others = told(self._stream, self._hurried)
        mine = waiting(self._choices.spools, strict=not self._hurried)
        return list({change.id: change for change in (*others, *mine)}.values())

    def elsewhere(self) -> list[Hit | Suppression]:
        """Return the choices that only other machines have. The wait for Redis is short enough for a page.

        :raises StreamError: Redis cannot be asked.
        """
        return told(self._stream, hurried=True) if self._stream is not None else []

    def catch_up(self) -> None:
        """Move the choices, if that is possible at once. Never raises."""
        if self._drain is not None and self._choices.pending():
            self._drain.try_run(patient=False)


def waiting(spools: Sequence[Spool], strict: bool = True) -> list[Hit | Suppression]:
    """Return the choices in *spools*, and the refusals in their quarantine, which hold until they are stored.

    A line that is no record is left to the drain.

    :param strict: ``False``: ignore segments of another user, which may hold more choices.
    :raises OSError: a spool cannot be read.
    """
    foreign = [path for spool in spools for path in foreign_segments(spool.directory, spool.stream)] if strict else []
    if foreign:
        raise PermissionError(f"{foreign[0]} belongs to another user: chown it to {os.geteuid()}")
    kept = [change for spool in spools for path in bad_files(spool.directory, spool.stream) for change in _kept(path)]
    return kept + _choices(body for spool in spools for path in sorted(spool.files()) for body in _bodies(path))


def told(stream: Stream, hurried: bool = False) -> list[Hit | Suppression]:
    """Return the choices in *stream*, also those of this machine, and the refusals that no database took.

    :raises StreamError: Redis cannot be asked.
    """
    told, refused = stream.choices(hurried)
    return [*filter(refuses, _choices(_decoded(refused))), *_choices(_decoded(told))]


def forget(spools: Sequence[Spool], words: Iterable[str], bare: Bare, stream: Stream | None = None) -> int:
    """Take the lines with one of *words* out of the quarantine, and return their number.

    :param words: addresses, references and ids.
    :param bare: returns the part of a record that stays, if any. A refusal holds until it is stored.
    :param stream: holds bad lines, too, and copies of opt-outs.
    """

    def left(line: bytes) -> bytes:
        try:
            kept = bare(decode(line))
        except ValueError:
            return b""
        return encode(kept) if kept is not None else b""

    named = mention({spelling for word in words for spelling in (word, json.dumps(word)[1:-1], _twice(word))})
    gone = 0
    for directory in sorted({spool.directory for spool in spools}):
        with election(directory, True):  # nobody may add to the quarantine meanwhile
            bad = [p for p in sorted(directory.glob("bad-*.jsonl")) if p.is_file() and not p.is_symlink()]
            gone += sum(_without(path, named, left) for path in bad)
    return gone + (stream.forget(named, left) if stream else 0)


def mention(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for *words* in text, in any case, but not for ``b@example.com`` in ``bob@example.com``.

    Before a word may stand a character that an address cannot hold, or an escape of a URL or of JSON.
    """
    either = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    before = r"(?:(?<![a-z0-9._+-])|(?<=%[0-9a-f]{2})|(?<=\\[nrt]))"
    return re.compile(rf"{before}(?:{either})(?![a-z0-9-]|\.[a-z0-9])", re.IGNORECASE)


def _bodies(path: Path) -> Iterator[dict[str, Any]]:
    # A missing file was drained meanwhile, so its records are in the database.
    with suppress(FileNotFoundError), open(open_safely(path, os.O_RDONLY), "rb") as lines:
        yield from _decoded(lines)


def _kept(path: Path) -> list[Hit | Suppression]:
    """Return the refusals that the database did not take. They hold all the same."""
    state = path.stat()
    return _kept_in(path, state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(16)
def _kept_in(path: Path, *version: int) -> list[Hit | Suppression]:
    """Read each version of a file once. The file stays until somebody corrects the table, and each send asks for it."""
    with open(open_safely(path, os.O_RDONLY), "rb") as lines:
        return list(filter(refuses, _choices(found.body for found in find(lines) if found.body is not None)))


def _decoded(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with suppress(ValueError):
            yield decode(line)


def _choices(bodies: Iterable[dict[str, Any]]) -> list[Hit | Suppression]:
    found: list[Hit | Suppression] = []
    for body in bodies:
        with suppress(ValueError):
            record = from_json(body)
            if isinstance(record, Suppression) or (isinstance(record, Hit) and record.type in OPT_OUTS):
                found.append(record)
    return found


def _without(path: Path, named: re.Pattern[str], left: Callable[[bytes], bytes]) -> int:
    with open(open_safely(path, os.O_RDONLY), encoding="utf-8", errors="backslashreplace") as file:
        lines = file.read().splitlines(keepends=True)
    after = [_left_of(line, left) if named.search(line) else line for line in lines]
    if after != lines:
        new = path.with_suffix(".new")
        with open(open_safely(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="utf-8") as file:
            file.writelines(after)
            file.flush()
            to_disk(file.fileno())
        new.replace(path)
    return sum(old != new for old, new in zip(lines, after, strict=True))


def _left_of(line: str, left: Callable[[bytes], bytes]) -> str:
    """Return the part of a line of the quarantine that stays. The reason is removed, because it may name the person."""
    found = next(find([line.encode()]), None)
    kept = left(encode(found.body)) if found is not None and found.body is not None else b""
    return json.dumps({"reason": "", "line": kept.decode()}) + "\n" if kept else ""


def _twice(word: str) -> str:
    """Return *word* as it stands in JSON inside JSON."""
    return json.dumps(json.dumps(word)[1:-1])[1:-1]


_BATCH = 500


@dataclass
class Recovered:
    """The fate of the records of a file, by the numbers of their lines, from 1."""

    stored: list[int] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    """Lines that are cut off, or whose checksum does not fit."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Lines that the database still refuses, with the reasons."""


def recover(drain: Drain, lines: Iterable[bytes], progress: Callable[[Recovered], object]) -> Recovered:
    """Store the records among *lines*. Rows that are in the database already stay as they are.

    :param progress: called after each batch.
    :raises SQLAlchemyError: the database does not take anything now; the call can be repeated.
    """
    result = Recovered()
    found = find(lines)
    while batch := list(islice(found, _BATCH)):
        _store(drain, batch, result)
        progress(result)
    return result


def recover_quarantine(drain: Drain, path: Path, progress: Callable[[Recovered], object]) -> Recovered:
    """Store the records of a file of the quarantine, and take stored records out of the file.

    :raises OSError: the file cannot be read, or not be written again.
    """
    with election(path.parent, wait=True):  # only the elected drainer writes to the quarantine
        with open(open_safely(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            lines = file.readlines()
        result = recover(drain, lines, progress)
        stored = set(result.stored)
        _rewrite(path, [line for number, line in enumerate(lines, 1) if number not in stored])
    return result


def recover_stream(drain: Drain, stream: Stream, progress: Callable[[Recovered], object]) -> Recovered:
    """Store the records that were put aside in *stream*, and delete the stored records there.

    :raises StreamError: Redis is away.
    """
    entries = stream.bad()
    result = recover(drain, (line if stream.is_ours(line) else b"" for _, line in entries), progress)
    result.refused += [(n, "of another key") for n, (_, line) in enumerate(entries, 1) if not stream.is_ours(line)]
    stream.drop([entries[number - 1] for number in result.stored])
    return result


def _store(drain: Drain, batch: list[Found], result: Recovered) -> None:
    result.damaged += [each.number for each in batch if each.body is None]
    numbers = {id(each.body): each.number for each in batch if each.body is not None}
    refused: dict[int, str] = {}

    def refuse(body: Mapping[str, Any], reason: str) -> None:
        refused[numbers[id(body)]] = reason

    drain.store([each.body for each in batch if each.body is not None], refuse)
    result.refused += refused.items()
    result.stored += [number for number in numbers.values() if number not in refused]
    stored = [each.body for each in batch if each.body is not None and each.number not in refused]
    drain.stored_after_all([uuid.UUID(body["id"]) for body in stored if "id" in body])


def _rewrite(path: Path, lines: list[bytes]) -> None:
    if not lines:
        path.unlink()
        return
    fresh = path.with_name(f"{BAD}-left-{time.time_ns():020}-{os.getpid()}{SUFFIX}")
    fd = open_safely(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    with open(fd, "wb") as file:
        file.writelines(lines)
        file.flush()
        to_disk(fd)
    fresh.replace(path)
