"""Fixtures: a small app, a real SMTP server, real databases."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from flask import Flask
from flask.testing import FlaskClient
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from hypothesis import settings
from mariadb_server import is_there as mariadb_is_there
from mariadb_server import mariadb_server
from postgresql_server import postgresql_server, programs

from flask_mailtrack import Mailtrack
from flask_mailtrack.outgoing.placeholders import Placeholders
from flask_mailtrack.tokens import Signer

# A busy machine is no failure; and CI, which stands between a change and its landing, draws the same cases each time.
settings.register_profile("patient", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "patient")

BASE_URL = "https://links.example.com"
SECRET = "a secret that is long enough for anybody"
PLACEHOLDERS = Placeholders(Signer([SECRET]).labels)
"""As they come out of the templates of a :class:`Site` with this key."""
UNSUBSCRIBE, PREFERENCES = PLACEHOLDERS.urls["unsubscribe"], PLACEHOLDERS.urls["preferences"]
URLS = {
    "postgresql": os.environ.get("MAILTRACK_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres"),
    "mariadb": os.environ.get("MAILTRACK_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/"),
}


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def missing(what: str) -> None:
    """A newcomer without a service is told so; in CI that is a failure."""
    if os.environ.get("MAILTRACK_REQUIRE_SERVICES"):
        pytest.fail(f"{what} is required here (MAILTRACK_REQUIRE_SERVICES is set)")
    pytest.skip(f"{what} is not there")


@dataclass
class Site:
    """A host app with everything it needs."""

    app: Flask
    db: SQLAlchemy
    mail: Mail
    mailtrack: Mailtrack

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def send(self, html: str | None = "<p>Hello</p>", to: str | list[str] = "ada@example.com", **options: Any) -> Any:
        """Send one message with tracking *options* and return what went out: one copy, or a list of them."""
        recipients = [to] if isinstance(to, str) else to
        keys = ("subject", "body", "cc", "bcc", "sender", "extra_headers", "attachments", "charset", "reply_to", "alts")
        parts = {key: options.pop(key) for key in keys if key in options}
        parts.setdefault("subject", "Hello")
        message = Message(recipients=recipients, html=html, **parts)
        with self.mail.record_messages() as outbox:
            self.mail.send(self.mailtrack.track(message, **options) if options else message)
        return outbox[0] if isinstance(to, str) and outbox else outbox

    def rows(self, name: str) -> list[Any]:
        """All rows of a model, by the time of their ids."""
        model = getattr(self.mailtrack.models, name)
        self.db.session.rollback()
        return list(self.db.session.execute(sa.select(model).order_by(*model.__table__.primary_key.columns)).scalars())


MakeSite = Callable[..., Site]


@dataclass
class Told:
    """What a host is told by its ``Announcer``, and what the host does on hearing of a record."""

    hears: Callable[[Any], object] = id
    """Called with each record."""
    records: list[Any] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    changes: list[Any] = field(default_factory=list)

    def announce(self, record: Any) -> None:
        """Hear of a record that has been committed."""
        self.records.append(record)
        self.hears(record)

    def failed(self, reason: str, error: Exception) -> None:
        self.failures.append(error)

    def changed(self, change: Any) -> None:
        self.changes.append(change)


@pytest.fixture(name="prepared", scope="session")
def _prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with our tables in it, for tests to copy: making the tables takes longer than most tests."""
    path = tmp_path_factory.mktemp("prepared") / "empty.sqlite3"
    app = Flask("prepared")
    app.config.update(SECRET_KEY=SECRET, SQLALCHEMY_DATABASE_URI=f"sqlite:///{path}", MAILTRACK_BASE_URL=BASE_URL)
    app.testing = True
    db, mail = SQLAlchemy(app), Mail(app)
    Mailtrack(app, mail=mail, db=db)
    with app.app_context():
        db.create_all()
        db.engine.dispose()
    return path


@pytest.fixture(name="make_site")
def _make_site(tmp_path: Path, prepared: Path) -> Iterator[MakeSite]:
    """Make apps; ``tables=False`` leaves the tables out, other keywords are configuration."""
    sites: list[tuple[Site, Any]] = []

    def make(tables: bool = True, mailtrack: dict[str, Any] | None = None, **config: Any) -> Site:
        app = Flask("host", instance_path=str(tmp_path / f"instance{len(sites)}"))
        app.config.update(
            TESTING=True,
            SECRET_KEY=SECRET,
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / f'app{len(sites)}.sqlite3'}",
            MAILTRACK_BASE_URL=BASE_URL,
            MAIL_DEFAULT_SENDER="news@example.org",
        )
        app.config.update(config)
        db, mail = SQLAlchemy(app), Mail(app)
        site = Site(app, db, mail, Mailtrack(app, mail=mail, db=db, **(mailtrack or {})))
        context = app.app_context()
        context.push()
        sites.append((site, context))
        usual = not mailtrack and "SQLALCHEMY_DATABASE_URI" not in config and "SQLALCHEMY_BINDS" not in config
        if tables and usual:
            shutil.copyfile(prepared, tmp_path / f"app{len(sites) - 1}.sqlite3")
        elif tables:
            db.create_all()
        return site

    yield make
    for site, context in reversed(sites):
        site.db.session.remove()
        for engine in site.db.engines.values():
            engine.dispose()
        context.pop()


@pytest.fixture(name="lasting")
def _lasting(make_site: MakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeSite:
    """Make apps as they run in production, with a temporary folder of their own."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    given = {
        "TESTING": False,
        "MAIL_SUPPRESS_SEND": True,
        "MAILTRACK_DRAIN": "manual",
        "MAILTRACK_THRESHOLDS": {"instant": 0},
    }
    return lambda **config: make_site(**(given | config))


def places(site: Site) -> list[Path]:
    """The directories of an app's journal: first, second, older."""
    return [spool.directory for spool in site.mailtrack._state_of(site.app).journals[0].spools]


@pytest.fixture(name="site")
def _site(make_site: MakeSite) -> Site:
    """A host app on an SQLite file, under TESTING, with its context pushed."""
    return make_site()


OWN_SERVERS = bool(os.environ.get("MAILTRACK_OWN_SERVERS"))
"""Whether each worker starts servers of its own, which trust the system to write to the disk: several times as fast."""


@pytest.fixture(name="postgresql_url", scope="session")
def _postgresql_url() -> Iterator[str]:
    """Where PostgreSQL is."""
    binaries = programs() if OWN_SERVERS else None
    if binaries is None:
        yield URLS["postgresql"]
        return
    with postgresql_server(binaries) as server:
        yield server.url


@pytest.fixture(name="mariadb_url", scope="session")
def _mariadb_url() -> Iterator[str]:
    """Where MariaDB is."""
    if not (OWN_SERVERS and mariadb_is_there()):
        yield URLS["mariadb"]
        return
    quick = ("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--skip-innodb-doublewrite")
    with mariadb_server(*quick, "--max-allowed-packet=16777216") as url:
        yield url


@pytest.fixture(name="database_url", params=["sqlite", "postgresql", "mariadb"])
def _database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind, gone afterwards."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'each.sqlite3'}"
        return
    url = sa.make_url(request.getfixturevalue(f"{request.param}_url"))
    name = f"mailtrack_{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with server.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    except sa.exc.OperationalError:
        server.dispose()
        missing(f"a {request.param} server at {url.host}:{url.port}")
    yield url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        if request.param == "mariadb":  # a test that leaves a transaction open fails, rather than waits for itself
            connection.execute(sa.text("SET lock_wait_timeout = 10"))
        force = " WITH (FORCE)" if request.param == "postgresql" else ""
        connection.execute(sa.text(f"DROP DATABASE {name}{force}"))
    server.dispose()


@dataclass
class Envelope:
    """What an SMTP server was given."""

    sender: str
    recipients: list[str]
    content: bytes


@dataclass
class Inbox:
    """A real SMTP server on loopback that keeps what it gets."""

    envelopes: list[Envelope] = field(default_factory=list)
    port: int = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.envelopes.append(Envelope(envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
        return "250 OK"


@pytest.fixture(name="smtp")
def _smtp() -> Iterator[Inbox]:
    """A running :class:`Inbox`."""
    inbox = Inbox(port=free_port())
    controller = Controller(inbox, hostname="127.0.0.1", port=inbox.port)
    controller.start()
    yield inbox
    controller.stop()
