"""The app that the chaos run serves: Mailtrack over PostgreSQL, a point at which it can be made to die, and sabotage.

Everything comes from the environment, because each worker builds its own: ``CHAOS_DATABASE`` (a URL),
``CHAOS_FOLDER`` (where the spool is), ``CHAOS_SYNC`` and ``CHAOS_SABOTAGE`` (a guard to switch off).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack
from flask_mailtrack.events import new_id
from flask_mailtrack.storage.journal import spool
from flask_mailtrack.storage.journal.segment import Segment
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import Record
from flask_mailtrack.storage.tables import writer

AIM = "aim"
"""The name of a file: as long as it is there, the next process that has committed a segment dies."""
BASE_URL = "https://links.example.com"
db, mail = SQLAlchemy(), Mail()
mailtrack = Mailtrack(mail=mail, db=db)


def create_app() -> Flask:
    """Return the app of one process."""
    folder = Path(os.environ["CHAOS_FOLDER"])
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(
        SECRET_KEY="a secret that is long enough for anybody",
        SQLALCHEMY_DATABASE_URI=os.environ["CHAOS_DATABASE"],
        MAIL_SUPPRESS_SEND=True,
        MAIL_DEFAULT_SENDER="news@example.org",
        MAILTRACK_BASE_URL=BASE_URL,
        MAILTRACK_SPOOL_DIR=str(folder / "spool"),
        # On the disk that fills up, too, so that the log is all that is left.
        MAILTRACK_SPOOL_FALLBACK_DIR=str(folder / "spool" / "second"),
        MAILTRACK_SPOOL_SYNC=os.environ.get("CHAOS_SYNC", "group"),
        MAILTRACK_DRAIN=os.environ.get("CHAOS_DRAIN", "thread"),
        MAILTRACK_DRAIN_SECONDS=0.2,
    )
    for extension in (db, mail, mailtrack):
        extension.init_app(app)
    die_before_delete(folder / AIM)
    SABOTAGES[os.environ.get("CHAOS_SABOTAGE", "")]()
    return app


def die_before_delete(aim: Path) -> None:
    """Kill whoever has committed a segment and not deleted it yet, once for each time that *aim* is made."""
    delete = Segment.delete

    def deadly(segment: Segment) -> None:
        try:
            aim.unlink()
        except FileNotFoundError:
            delete(segment)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    Segment.delete = deadly  # type: ignore[method-assign]


def write_later() -> None:
    """Answer before the record is on disk: kept in memory for a second."""
    append = Spool.append

    def later(self: Spool, *records: Mapping[str, Any], sync: bool = False) -> None:
        def write() -> None:
            time.sleep(1)
            append(self, *records, sync=sync)

        threading.Thread(target=write, daemon=True).start()

    Spool.append = later  # type: ignore[method-assign]


def forget_ids() -> None:
    """Give what is read from the spool an id of its own each time, so that a replay is a second row."""
    from_json = writer.from_json

    def forgetful(body: dict[str, Any], *options: Any) -> Record:
        return from_json(body | {"id": str(new_id())} if body["k"] == "hit" else body, *options)

    writer.from_json = forgetful


def do_not_seal() -> None:
    """Read and delete segments that their writers go on writing to."""
    spool.seal = lambda path, sync: None


SABOTAGES = {"": lambda: None, "spool": write_later, "dedupe": forget_ids, "seal": do_not_seal}
