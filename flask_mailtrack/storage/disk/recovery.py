"""The way back of what could not be stored: from a log, or from the quarantine."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from flask_mailtrack.storage.drain import Drain
from flask_mailtrack.storage.sink.stream import Stream

from .directory import BAD, SUFFIX
from .durability import to_disk
from .election import election
from .lost import Found, find

_BATCH = 500


@dataclass
class Recovered:
    """What became of the records of a file, by the numbers of their lines, from 1."""

    stored: list[int] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    """Cut off, or the checksum does not fit."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """The database still refuses them, and why."""


def recover(drain: Drain, lines: Iterable[bytes], progress: Callable[[Recovered], object]) -> Recovered:
    """Store the records among *lines*; what is in the database already is left as it is.

    :param progress: called after each batch.
    :raises SQLAlchemyError: the database does not take anything now; all can be tried again.
    """
    result = Recovered()
    found = find(lines)
    while batch := list(islice(found, _BATCH)):
        _store(drain, batch, result)
        progress(result)
    return result


def recover_quarantine(drain: Drain, path: Path, progress: Callable[[Recovered], object]) -> Recovered:
    """Store what is kept in a file of the quarantine, and take out of the file what is stored.

    :raises OSError: the file cannot be read, or written anew.
    """
    with election(path.parent, wait=True):  # only who drains writes to the quarantine
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            lines = file.readlines()
        result = recover(drain, lines, progress)
        stored = set(result.stored)
        _rewrite(path, [line for number, line in enumerate(lines, 1) if number not in stored])
    return result


def recover_stream(drain: Drain, stream: Stream, progress: Callable[[Recovered], object]) -> Recovered:
    """Store what was put aside in *stream*, and delete there what is stored.

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
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.writelines(lines)
        file.flush()
        to_disk(fd)
    fresh.replace(path)
