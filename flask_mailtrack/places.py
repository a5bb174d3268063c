"""Where the rows of an app wait on their way to the database: directories of its own and, if the host wants, Redis."""

from __future__ import annotations

import logging
import os
import tempfile
from hashlib import blake2b
from pathlib import Path

from .config import Settings
from .storage.database import Database
from .storage.disk import directory, mounts
from .storage.disk.journal import Journal
from .storage.disk.spool import Spool
from .storage.sink.relay import Express
from .storage.sink.stream import Stream

log = logging.getLogger("flask_mailtrack")


def passing() -> list[Path]:
    """Return directories that nobody else has, for an app whose rows need not outlive it."""
    place = Path(tempfile.mkdtemp("-mailtrack"))
    return [place / "spool", place / "fallback"]


def lasting(settings: Settings, database: Database, own: bool) -> list[Path]:
    """Return the directories of an app that share a folder, but not each other's rows, with other apps.

    :param own: the host has named the first.
    :return: the first, the second, and the one in which an earlier version kept its journal, if any.
    :raises ConfigError: others can write to one of them.
    """
    named, fingerprint = Path(settings.spool_dir), _fingerprint(settings, database)
    first = named / fingerprint if own else named.with_name(f"{named.name}-{fingerprint}")
    older = [named] if own else []
    for each in (*older, first):
        directory.require("MAILTRACK_SPOOL_DIR", each)
    if weakness := mounts.weakness(first):
        log.warning("the spool %s is on %s", first, weakness)
    if settings.spool_fallback_dir:
        second = Path(settings.spool_fallback_dir) / fingerprint
        for each in (second.parent, second):
            directory.require("MAILTRACK_SPOOL_FALLBACK_DIR", each)
    else:
        second = Path(tempfile.gettempdir(), f"mailtrack-{os.geteuid()}-{fingerprint}")
        # Anybody can make a directory there, and must not be able to keep the app from starting.
        if trouble := directory.intrusion(second):
            log.error("%s %s Until then there is no second spool.", second, " ".join(trouble))
    return [first, second, *older]


def journals(places: list[Path], sync: str, to: Stream | None) -> tuple[Journal, Journal]:
    """Return the journal of events and that of opt-outs.

    :param places: as :func:`passing` or :func:`lasting` return them.
    :param to: where other machines look for opt-outs.
    """
    first, second, *older = places
    made = []
    for stream in ("events", "optouts"):
        spools = [Spool(place, stream, sync) for place in (first, second, *older)]
        if to is not None and stream == "optouts":
            spools[:2] = [Express(place, stream, sync, to) for place in (first, second)]
        # Nobody may be told of an opt-out that is only in a log.
        made.append(Journal(spools[0], spools[1], spools[2:], last_resort=stream == "events"))
    return made[0], made[1]


def _fingerprint(settings: Settings, database: Database) -> str:
    """Tell the databases apart that the apps of one instance folder write to."""
    url = database.engine.url.set(password=None).render_as_string()
    return blake2b(f"{settings.app_id}/{url}/{database.message.fullname}".encode(), digest_size=6).hexdigest()


def meeting(settings: Settings, database: Database) -> Stream | None:
    """Return where the rows of many machines meet, if the host wants that.

    :raises ConfigError: it cannot be used as configured.
    """
    if not settings.sink:
        return None
    # By the name of the database alone: machines may reach it under different addresses.
    about = f"{settings.app_id}/{database.engine.url.database}/{database.message.fullname}"
    name = blake2b(about.encode(), digest_size=6).hexdigest()
    return Stream(settings.sink, name, settings.sink_max, settings.sink_volatile)
