"""The places where the rows of an app wait for the database: directories of its own and, if the host wants, Redis."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from .config import Settings
from .errors import ConfigError
from .storage.journal import backlog, directory
from .storage.journal.directory import Lease, Occupied, Tenant, anything, move_in, proved, tenant_of
from .storage.journal.journal import Journal
from .storage.journal.spool import Spool
from .storage.redis import Stream
from .storage.tables.database import Database
from .tokens import Signer

log: logging.Logger = logging.getLogger("flask_mailtrack")

_NAMED = re.compile(r"(?:mailtrack-(?:\d+-)?)?[0-9a-f]{12}(?:-second)?")
"""The folder of one app, by the name from any version."""

_SEARCH_PATH = re.compile(r"search_path=(\S+)")
"""The schema in the options of PostgreSQL. Another schema counts as another database."""


@dataclass(frozen=True)
class Places:
    """The directories of one app."""

    first: Path
    second: Path
    older: tuple[Path, ...] = ()
    """Folders of earlier versions, or of this app under another name."""
    doubtful: tuple[Path, ...] = ()
    """Folders of an unknown owner. Nobody empties them."""
    lease: Lease | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Owner:
    """The owner of the rows.

    :param name: ``MAILTRACK_APP_ID``, else Flask's name of the app: its import name.
    :param instance: the app's instance folder.
    """

    name: str
    instance: Path
    settings: Settings
    signer: Signer
    database: Database

    @property
    def called(self) -> str:
        """The name of folder and stream. It depends neither on the database nor on the key."""
        return _digest(f"app {self.settings.app_id or self.name}/{self.database.message.fullname}")

    @property
    def tenant(self) -> Tenant:
        """The entry about the owner in the folder."""
        return Tenant(self.settings.app_id or self.name, identity(self.database.engine.url), self.signer.marks())

    @property
    def formerly(self) -> str:
        """The name of the folder in earlier versions, if the database has not moved."""
        url = self.database.engine.url.set(password=None).render_as_string()
        return _digest(f"{self.settings.app_id}/{url}/{self.database.message.fullname}")

    def wrote(self, body: dict[str, Any]) -> bool | None:
        """Say whether a record is of this app, by marks that only its keys could make; ``None`` if it has no mark."""
        kind = body.get("k")
        if kind == "link":
            return body["ref"] in self.signer.link_refs(body["url"], body.get("name", ""), body.get("part", "html"))
        if kind == "suppression" and body.get("refs"):
            return not set(body["refs"]).isdisjoint(self.signer.recipient_refs(body["recipient"]))
        if kind == "hit" and body.get("url"):  # the reference covers the name of the link, which the hit does not hold
            refs = {ref for part in ("html", "text") for ref in self.signer.link_refs(body["url"], "", part)}
            return True if body.get("ref") in refs else None
        return None


def mailbox(name: str, instance: Path) -> Path:
    """Return the folder for the mails that the mailbox of an app keeps. Nobody has made it yet."""
    return instance / f"mailtrack-mailbox-{_digest(f'mailbox {name}')}"


def passing() -> Places:
    """Return private directories for an app whose rows need not outlive it.

    :raises ConfigError: there is no temporary folder.
    """
    try:
        place = Path(tempfile.mkdtemp("-mailtrack"))
    except OSError as error:
        raise _nowhere(str(error)) from None
    return Places(place / "spool", place / "fallback")


def lasting(owner: Owner, own: bool) -> Places:
    """Return the directories of an app. Apps may share the folder around them, but never their rows.

    :param own: whether the host has named the first directory.
    :raises ConfigError: others can write to a directory, or own it, or there is no directory.
    """
    settings = owner.settings
    named = Path(settings.spool_dir)
    first = named / owner.called if own else named.with_name(f"{named.name}-{owner.called}")
    if own:
        directory.require_around("MAILTRACK_SPOOL_DIR", named)
    directory.require("MAILTRACK_SPOOL_DIR", first)
    second = _second(owner, first)
    if _would_lock_out(first):  # this command writes to a place of its own, and drains it itself
        first, second = second, second.with_name(f"{second.name}-second")
    lease = _moved_in(owner, first, second)
    if weakness := backlog.weakness(first):
        log.warning("the spool %s is on %s", first, weakness)
    around = [named if own else named.parent, owner.instance]
    older, doubtful = _inherited(owner, around, [second.parent], {first, second})
    if own and directory.intrusion(named) is None:
        older = [named, *older]
    for each in doubtful:
        log.warning("%s holds rows, and nothing says of which app: flask mailtrack check", each)
    return Places(first, second, tuple(older), tuple(doubtful), lease)


def journals(places: Places, sync: str, to: Stream | None) -> tuple[Journal, Journal]:
    """Return the journal of events and the journal of opt-outs.

    :param places: the result of :func:`passing` or :func:`lasting`.
    :param to: the stream in which other machines look for opt-outs.
    """
    made = []
    for stream in ("events", "optouts"):
        spools = [Spool(place, stream, sync) for place in (places.first, places.second, *places.older)]
        # An opt-out that is only in a log must not be confirmed, because the next send of any machine has to know it.
        events = stream == "events"
        made.append(Journal(spools[0], spools[1], spools[2:], last_resort=events, copies=None if events else to))
        made[-1].doubtful, made[-1].lease = places.doubtful, places.lease
    return made[0], made[1]


def meeting(owner: Owner) -> Stream | None:
    """Return the Redis stream for the rows of many machines, if the host uses one.

    :raises ConfigError: the stream cannot be used as configured.
    """
    settings, database = owner.settings, owner.database
    if not settings.sink:
        return None
    former = _digest(f"{settings.app_id}/{database.engine.url.database}/{database.message.fullname}")
    return Stream(
        settings.sink,
        owner.called,
        settings.sink_max,
        settings.sink_volatile,
        former=former,
        marks=owner.signer.marks(),
        database=database.engine.url.database or "",
    )


def identity(url: Any) -> str:
    """Return the identity of the database behind a URL, without user, driver and options of the client.

    :param url: as SQLAlchemy has it.
    """
    kind = url.get_backend_name().replace("mariadb", "mysql")
    options = {key: value if isinstance(value, str) else ",".join(value) for key, value in url.query.items()}
    if kind == "sqlite":
        path = (url.database or "").removeprefix("file:").partition("?")[0]
        return f"sqlite {os.path.realpath(path) if path not in ('', ':memory:') else ':memory:'}"
    host = (url.host or options.get("host") or options.get("unix_socket") or "").lower()
    local = host in ("", "localhost", "127.0.0.1", "::1") or host.startswith("/")
    port = url.port or options.get("port") or {"postgresql": 5432, "mysql": 3306}.get(kind, 0)
    schema = _SEARCH_PATH.search(options.get("options", ""))
    return f"{kind} {'localhost' if local else host}:{port}/{url.database or ''}{f' {schema[1]}' if schema else ''}"


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _second(owner: Owner, first: Path) -> Path:
    """Return the second directory, for records that the first cannot take. Two apps never share one."""
    fallback, name = owner.settings.spool_fallback_dir, _digest(f"second {first.absolute()}/{owner.called}")
    if fallback:
        second = Path(fallback) / name
        directory.require_around("MAILTRACK_SPOOL_FALLBACK_DIR", second.parent)
        directory.require("MAILTRACK_SPOOL_FALLBACK_DIR", second)
        return second
    try:
        second = Path(tempfile.gettempdir(), f"mailtrack-{os.geteuid()}-{name}")
    except OSError:  # the system is read-only, and the named directory is enough
        return first.with_name(f"{first.name}-second")
    # Anybody can make a directory in a temporary folder, and must not be able to stop the app.
    if trouble := directory.intrusion(second):
        log.error("%s %s Until then there is no second spool.", second, " ".join(trouble))
    return second


def _moved_in(owner: Owner, first: Path, second: Path) -> Lease | None:
    try:
        return move_in(first, owner.tenant, [second])
    except Occupied as error:
        raise _occupied(first, error, owner.tenant) from None
    except OSError as error:
        if not _works(second):
            raise _nowhere(f"{first} cannot be used ({error.strerror or error}), nor can {second}") from None
        log.error("the spool %s cannot be used: %s", first, error)
        return None


def _would_lock_out(first: Path) -> bool:
    """Say whether this command runs as root and would make *first*, which would shut out the app's own user."""
    if os.geteuid() != 0 or not _is_command() or not (other := directory.owner_of_nearest(first)):
        return False
    text = "%s is not there yet: made by this command it would be root's, and stop the app of user %d."
    log.error(f"{text} Run the command as that user: sudo -u '#%d' flask ...", first, other, other)
    return True


def _is_command() -> bool:
    """Say whether this process is a command that ends, and not a server."""
    import click

    context = click.get_current_context(silent=True)
    return context is not None and context.info_name != "run"


def _works(second: Path) -> bool:
    with suppress(OSError):
        directory.make(second)
        with tempfile.TemporaryFile(dir=second):
            return True
    return False


def _inherited(owner: Owner, around: list[Path], shared: list[Path], ours: set[Path]) -> tuple[list[Path], list[Path]]:
    """Return the folders with rows of the app under another name, and the folders of an unknown owner.

    :param around: directories with the folders of this app, and of a few other apps at most.
    :param shared: directories with folders of any app. There, a folder counts as ours only with proof.
    """
    found: dict[Path, bool | None] = {}
    for place in dict.fromkeys([*around, *shared]):
        found |= {each: _is_ours(owner, each) for each in _folders(place, ours)}
    near = {each: whose for each, whose in found.items() if each.parent in around}
    mine = [each for each, whose in found.items() if whose]
    anybodys = [each for each, whose in near.items() if whose is None]
    # If no other app is there, no other app can have left the folder.
    return (mine, anybodys) if False in near.values() else ([*mine, *anybodys], [])


def _folders(place: Path, ours: set[Path]) -> Iterator[Path]:
    with suppress(OSError):
        for each in sorted(place.iterdir()):
            if each in ours or not _NAMED.fullmatch(each.name) or not directory.is_ours(each):
                continue
            if tenant_of(each) or anything(each):
                yield each


def _is_ours(owner: Owner, folder: Path) -> bool | None:
    if (tenant := tenant_of(folder)) is not None:
        return tenant.database == owner.tenant.database and not set(tenant.keys).isdisjoint(owner.tenant.keys)
    return True if folder.name.endswith(owner.formerly) else proved(folder, owner.wrote)


_ANOTHER = (
    "If this is another app, set MAILTRACK_APP_ID to a name of its own, or, if it has links out that it "
    "would no more read, MAILTRACK_SPOOL_DIR to a folder of its own."
)


def _occupied(first: Path, error: Occupied, mine: Tenant) -> ConfigError:
    theirs = error.tenant
    if error.living:
        problem = f"{first} is in use by a running process of {theirs.app} that writes to {theirs.database}"
        cure = f"{_ANOTHER} If it is the same, end that process first."
        return ConfigError("E175", "MAILTRACK_APP_ID", f"{problem}, and this one to {mine.database}.", cure)
    problem = f"{first} holds rows for {theirs.database} of another key, and this app writes to {mine.database}."
    cure = f"{_ANOTHER} If it is the same, put the former key last into the list of keys."
    return ConfigError("E176", "MAILTRACK_APP_ID", problem, cure)


def _nowhere(problem: str) -> ConfigError:
    cure = "Set it to a directory on a volume to which this user can write."
    return ConfigError("E177", "MAILTRACK_SPOOL_DIR", f"there is no place for the journal: {problem}.", cure)
