"""The app that the chaos run serves: Mailtrack over PostgreSQL, a point at which it can be made to die, and sabotage.

Everything comes from the environment, because each worker builds its own: ``CHAOS_DATABASE`` (a URL),
``CHAOS_FOLDER`` (where the spool is), ``CHAOS_SYNC``, ``CHAOS_CLOCK`` (by how many seconds this machine's clock is
ahead), ``CHAOS_PAUSE`` (seconds between its drains) and ``CHAOS_SABOTAGE`` (a guard to switch off).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from chaos.client import LIST
from flask import Flask, g
from flask.typing import ResponseReturnValue
from flask_mail import Mail, Message, email_dispatched
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack, events
from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.events import EventType, Hit, new_id
from flask_mailtrack.storage.drain import recovery
from flask_mailtrack.storage.journal import spool
from flask_mailtrack.storage.journal.journal import Journal
from flask_mailtrack.storage.journal.segment import Segment
from flask_mailtrack.storage.journal.spool import Spool
from flask_mailtrack.storage.records import Record
from flask_mailtrack.storage.tables import writer
from flask_mailtrack.storage.tables.batch import Batch
from flask_mailtrack.storage.tables.optouts import held
from flask_mailtrack.storage.tables.refused import OPT_OUTS

AIM = "aim"
"""The name of a file: as long as it is there, the next process that has committed a segment dies."""
BASE_URL = "https://links.example.com"
db, mail = SQLAlchemy(), Mail()
mailtrack = Mailtrack(mail=mail, db=db)


def create_app(place: str = "") -> Flask:
    """Return the app of one process.

    :param place: the folder of the machine, where the environment does not say.
    """
    folder = Path(place or os.environ["CHAOS_FOLDER"])
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
        MAILTRACK_DRAIN_SECONDS=float(os.environ.get("CHAOS_PAUSE", "0.2")),
    )
    for extension in (db, mail, mailtrack):
        extension.init_app(app)
    app.post("/letters/<person>")(letter)
    die_before_delete(folder / AIM)
    shift_clock(float(os.environ.get("CHAOS_CLOCK", "0")))
    SABOTAGES[os.environ.get("CHAOS_SABOTAGE", "")]()
    return app


def letter(person: str) -> ResponseReturnValue:
    """Send somebody a mail of the list, and say how they may leave it; 204: they have left, 503: nobody can say now."""
    g.mailed = []
    try:
        mail.send(mailtrack.track(Message("Letter", recipients=[person], html="<p>Letter</p>"), list_id=LIST))
    except OptOutsUnavailable:
        return "", 503
    return str(g.mailed[0].extra_headers["List-Unsubscribe"]).strip("<>") if g.mailed else ("", 204)


@email_dispatched.connect
def note(app: Flask, message: Message) -> None:
    """Keep what this request has mailed."""
    if "mailed" in g:
        g.mailed.append(message)


def shift_clock(seconds: float) -> None:
    """Have this process live in the future; one module tells it all moments that are written down, and makes ids."""
    if not seconds:
        return

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=seconds)

    ahead = SimpleNamespace(time_ns=lambda: time.time_ns() + int(seconds * 1e9))
    vars(events).update(datetime=Ahead, time=ahead)


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
    spool.seal = lambda *_, **__: True


def compare_clocks() -> None:
    """Have the moment decide between a refusal and an undo, by the clock of the machine that was told of each."""
    enter = Batch._opt

    def by_time(self: Batch, hit: Hit, message: Any, asked: str) -> bool:
        optout, audit = self._database.optout, self._database.audit
        if not OPT_OUTS[hit.type][1]:
            older = sa.select(optout).where(optout.c.ref == hit.ref, optout.c.created_at <= hit.occurred_at)
            lifts = {*hit.lifts, *(name for row in self._connection.execute(older) for name in held(row))}
            return enter(self, hit._replace(lifts=tuple(lifts)), message, asked)
        undone = (audit.c.change == EventType.SUBSCRIBED.value, audit.c.occurred_at > hit.occurred_at)
        newer = self._connection.execute(sa.select(audit.c.id).where(audit.c.ref == hit.ref, *undone)).first()
        return newer is not None or enter(self, hit, message, asked)

    Batch._opt = by_time  # type: ignore[method-assign]


def ask_no_journal() -> None:
    """Ask the database alone before a send: what waits in the journal is not in it yet."""
    recovery.waiting = lambda *_, **__: []
    Journal.pending = lambda self: False  # type: ignore[method-assign]


SABOTAGES = {
    "": lambda: None,
    "spool": write_later,
    "dedupe": forget_ids,
    "seal": do_not_seal,
    "clocks": compare_clocks,
    "journal": ask_no_journal,
}
