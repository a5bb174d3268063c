"""The folder of kept mails, which all processes of an app share and which outlives a restart.

Mails hold addresses, and links that reset passwords. So the folder is private, or it is not used. Each mail to each
recipient is a file of its own, named by its time, and is complete as soon as it has its name.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flask import Flask

from flask_mailtrack import app_folders
from flask_mailtrack.outgoing.dispatched import Dispatched
from flask_mailtrack.phrases import NOTHING, Phrase
from flask_mailtrack.storage.journal import directory

from .kept import LABEL_BYTES, KeptMail, MailLabel, label_of, newest_first

log: logging.Logger = logging.getLogger("flask_mailtrack.mailbox")

KEPT = 200
"""The mails that are kept; older ones are deleted."""
KEPT_BYTES = 256_000_000
_SUFFIX = ".mail"
_OURS = re.compile(rf"\.?([0-9a-f]{{32}}){re.escape(_SUFFIX)}")
"""A file of ours, by its name; with a full stop at the start while it is written."""


class Letterbox:
    """Keeps the latest mails of one app.

    :param folder: made when the first mail comes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, app: Flask) -> Letterbox:
        """Return the letterbox of *app*. The mails of tests do not outlive them, nor mix with those of a developer."""
        if not app.testing:
            return cls(app_folders.mailbox(app.config.get("MAILTRACK_APP_ID") or app.name, Path(app.instance_path)))
        passing = Path(tempfile.mkdtemp("-mailtrack-mailbox"))
        made = cls(passing / "mails")
        weakref.finalize(made, shutil.rmtree, passing, ignore_errors=True)
        return made

    @property
    def trouble(self) -> Phrase:
        """Why the folder is not used, in sentences; empty: it can be used."""
        if not (found := directory.intrusion(self.folder)):
            return NOTHING
        problem, cure = found
        return Phrase("%(path)s %(problem)s %(cure)s", path=str(self.folder), problem=problem, cure=cure)

    def keep(self, mail: Dispatched) -> None:
        """Keep a mail, once for each recipient of its envelope, and delete what is too old.

        :raises OSError: the folder cannot be used.
        """
        directory.make(self.folder)
        for recipient, row in list(mail.rows.items())[:KEPT]:
            kept = KeptMail.of(mail.content, recipient, row, mail.sender, mail.subject, mail.written)
            self._write(kept)
        self._forget()

    def labels(self) -> list[MailLabel]:
        """Return the labels of all mails, newest first."""
        return newest_first(self._labels())

    def find(self, key: uuid.UUID) -> KeptMail | None:
        """Return a mail; ``None``: it is not kept, or not any more."""
        path = self.folder / f"{key.hex}{_SUFFIX}"
        try:
            return KeptMail.read(self._read(path))
        except (OSError, ValueError):
            return None

    def empty(self) -> None:
        """Delete all mails."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _write(self, kept: KeptMail) -> None:
        path = self.folder / f"{kept.label.id.hex}{_SUFFIX}"
        fresh = path.with_name(f".{path.name}")
        try:
            with open(directory.open_safely(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
                file.write(kept.file())
            fresh.rename(path)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise

    def _forget(self) -> None:
        """Delete the oldest files, down to what may be kept. The newest mail stays, however large it is."""
        size = 0
        for number, path in enumerate(self._files()):
            with suppress(FileNotFoundError):  # another worker has been faster
                size += path.lstat().st_size
                if number and (number >= KEPT or size > KEPT_BYTES):
                    path.unlink()

    def _files(self) -> list[Path]:
        """Return our files, newest first, also those that a killed process has left half written."""
        if not directory.is_ours(self.folder):
            return []
        found = {match[1]: path for path in self.folder.iterdir() if (match := _OURS.fullmatch(path.name))}
        return [found[key] for key in sorted(found, reverse=True)]

    def _labels(self) -> Iterator[MailLabel]:
        for path in self._files():
            with suppress(OSError, ValueError):  # deleted meanwhile, or not ours
                if not path.name.startswith("."):
                    yield label_of(self._read(path, LABEL_BYTES).partition(b"\n")[0])

    def _read(self, path: Path, size: int = -1) -> bytes:
        if not directory.is_ours(self.folder):
            raise PermissionError(self.trouble or "there is no mail yet")
        with open(directory.open_safely(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            return file.read(size)
