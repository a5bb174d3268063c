"""Columns of the host's own on our tables: who fills them, and what happens where nobody does."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import BASE_URL, SECRET, Site
from flask import Flask, current_app
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_mailtrack import Mailtrack
from flask_mailtrack.columns import key_of
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.models import AuditMixin, EventMixin, LinkMixin, MessageMixin, OptOutMixin
from flask_mailtrack.testing import Reader

HTML = '<a href="https://example.com/">go</a>'
MakeHost = Callable[..., Site]


def models(db: SQLAlchemy, column: Callable[[], Any], *names: str) -> dict[str, Any]:
    """Some of the five models, by default all, each with a column ``tenant_id``."""
    mixins = {
        "message_model": MessageMixin,
        "event_model": EventMixin,
        "optout_model": OptOutMixin,
        "link_model": LinkMixin,
        "audit_model": AuditMixin,
    }
    return {
        key: type(f"Own{key}", (mixin, db.Model), {"tenant_id": column(), "__module__": __name__})
        for key, mixin in mixins.items()
        if key in (names or mixins)
    }


def needed() -> Any:
    """NOT NULL, without a default."""
    return mapped_column(sa.Integer, nullable=False)


@pytest.fixture(name="make_host")
def _make_host(tmp_path: Path, database_url: str) -> Any:
    """Make a host with models of its own on each kind of database."""
    made: list[tuple[Site, Any]] = []

    def make(bring: Callable[[SQLAlchemy], dict[str, Any]], base: Any = None, **given: Any) -> Site:
        app = Flask("host", instance_path=str(tmp_path / "instance"))
        app.config.update(TESTING=True, SECRET_KEY=SECRET, MAILTRACK_BASE_URL=BASE_URL)
        app.config.update(SQLALCHEMY_DATABASE_URI=database_url, MAIL_DEFAULT_SENDER="a@example.org")
        db = SQLAlchemy(app, model_class=base) if base else SQLAlchemy(app)
        mail = Mail(app)
        site = Site(app, db, mail, Mailtrack(app, mail=mail, db=db, **bring(db), **given))
        context = app.app_context()
        context.push()
        made.append((site, context))
        db.create_all()
        return site

    yield make
    for site, context in made:
        site.db.session.remove()
        site.db.engine.dispose()
        context.pop()


def test_a_base_class_with_a_key_of_its_own_works(make_host: MakeHost) -> None:
    """A base class that gives every model an ``id`` costs no row, and the same opt-out twice is one."""

    class Base(DeclarativeBase):
        id: Mapped[int] = mapped_column(primary_key=True, sort_order=-1)

    site = make_host(lambda db: {}, Base)
    sent = site.send(HTML, list_id="news")
    Reader(site.client, sent).click("go")
    for _ in range(2):
        Reader(site.client, sent).unsubscribe()
        site.mailtrack.suppress("ada@example.com", "news")
    site.send(HTML, to="bob@example.com")
    site.mailtrack.flush()
    assert site.mailtrack.health().bad == 0
    assert [len(site.rows(name)) for name in ("Message", "OptOut", "Link")] == [2, 1, 1]
    assert sorted(row.type for row in site.rows("Event")) == ["clicked", "unsubscribed"]
    assert site.mailtrack.reports.totals().sent == 2


def by_number() -> Any:
    """A key of the host's that counts the rows."""
    return mapped_column(sa.Integer, primary_key=True)


def by_tenant() -> Any:
    """A part of a key, which many rows share."""
    return mapped_column(sa.Integer, primary_key=True, default=3)


@pytest.mark.parametrize("key", [None, by_number, by_tenant])
def test_the_database_itself_tells_our_rows_apart(make_host: MakeHost, key: Callable[[], Any] | None) -> None:
    """Whatever the host makes of the key: the columns that our inserts name are unique, and several rows fit in."""
    site = make_host(lambda db: models(db, key, "optout_model", "link_model") if key else {})
    looked = sa.inspect(site.db.engine)
    for name in ("OptOut", "Link"):
        table = getattr(site.mailtrack.models, name).__table__
        unique = [looked.get_pk_constraint(table.name)["constrained_columns"]]
        unique += [each["column_names"] for each in looked.get_unique_constraints(table.name)]
        assert set(key_of(table)) in map(set, unique)
    for address in ("ada@example.com", "bob@example.com"):
        Reader(site.client, site.send(HTML.replace("com/", f"com/{address[0]}"), to=address)).click("go")
        site.mailtrack.suppress(address, "news")
        site.mailtrack.suppress(address, "news")
    site.mailtrack.flush()
    assert site.mailtrack.health().bad == 0
    assert [len(site.rows(name)) for name in ("OptOut", "Link")] == [2, 2]


def test_a_key_that_hides_ours_stops_the_start(tmp_path: Path) -> None:
    """A model whose base class comes before the mixin has the wrong ``id``: the cure is told at start-up."""

    class Base(DeclarativeBase):
        id: Mapped[int] = mapped_column(primary_key=True)

    db = SQLAlchemy(model_class=Base)
    mailing = type("Mailing", (db.Model, MessageMixin), {"__module__": __name__, "__tablename__": "mailing"})
    with pytest.raises(ConfigError, match=r"E180.*before the base class"):
        Mailtrack(mail=Mail(), db=db, message_model=mailing)


def test_what_a_mail_brings_stands_on_all_its_rows(make_host: MakeHost) -> None:
    """The tenant said with a message is on its event, opt-out and audit row, and the function gives the rest."""
    asked: list[str] = []

    def fill(model_name: str, record: Any) -> dict[str, Any]:
        assert current_app
        asked.append(model_name)
        return {"tenant_id": 1, "id": 5}

    site = make_host(lambda db: models(db, needed), fill=fill)
    sent = site.send(HTML, list_id="news", columns={"tenant_id": 7})
    Reader(site.client, sent).click("go")
    Reader(site.client, sent).unsubscribe()
    site.mailtrack.suppress("bob@example.com")
    site.mailtrack.flush()
    assert site.mailtrack.health().bad == 0
    found = {name: sorted(row.tenant_id for row in site.rows(name)) for name in ("Message", "Event", "Link")}
    assert found == {"Message": [7], "Event": [7, 7], "Link": [1]}
    assert [sorted(row.tenant_id for row in site.rows(name)) for name in ("OptOut", "Audit")] == [[1, 7], [1, 7]]
    assert sorted(set(asked)) == ["Audit", "Link", "OptOut"]


def test_values_of_each_kind_come_back(make_host: MakeHost) -> None:
    """Text, numbers, UUID, date, datetime and Decimal go through the journal as they are."""
    kinds: dict[str, tuple[Any, Any]] = {
        "text": (sa.String(20), "ö"),
        "flag": (sa.Boolean, True),
        "key": (sa.Uuid, uuid.uuid4()),
        "day": (sa.Date, date(2026, 11, 27)),
        "moment": (sa.DateTime, datetime(2026, 11, 27, 5, 0)),
        "price": (sa.Numeric(10, 2), Decimal("12.50")),
    }

    def bring(db: SQLAlchemy) -> dict[str, Any]:
        body = {name: mapped_column(kind, nullable=True) for name, (kind, _) in kinds.items()}
        return {"message_model": type("Mailing", (MessageMixin, db.Model), {"__module__": __name__, **body})}

    site = make_host(bring)
    site.send(columns={name: value for name, (_, value) in kinds.items()})
    site.send()
    site.mailtrack.flush()
    first, second = site.rows("Message")
    assert {name: getattr(first, name) for name in kinds} == {name: value for name, (_, value) in kinds.items()}
    assert {getattr(second, name) for name in kinds} == {None}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"tenant": 7}, ValueError),
        ({"recipient": "x"}, ValueError),
        ({"tenant_id": "seven"}, TypeError),
        ({"tenant_id": datetime.now(UTC)}, TypeError),
        ({"tenant_id": None}, ValueError),
        ({"tenant_id": [7]}, TypeError),
    ],
)
def test_a_column_is_checked_against_the_model(
    make_host: MakeHost, columns: dict[str, Any], error: type[Exception]
) -> None:
    """A column that is not the host's, or a value that it does not take, is an error at the call."""
    site = make_host(lambda db: models(db, needed))
    with pytest.raises(error, match="columns"):
        site.send(columns=columns)
    with pytest.raises(error, match="columns"), site.mailtrack.options(columns=columns):
        pass


def test_a_column_that_nobody_fills_is_named_and_the_opt_out_honoured(
    make_host: MakeHost, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the function the opt-out is put aside, the log names the column, and its person is not mailed."""

    def bring(db: SQLAlchemy) -> dict[str, Any]:
        return models(db, needed, "optout_model")

    site = make_host(bring)
    Reader(site.client, site.send(list_id="news")).unsubscribe()
    site.mailtrack.flush()
    assert not site.send(list_id="news")
    assert not site.mailtrack.health().ok
    assert "tenant_id" in caplog.text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_check_names_columns_that_nobody_fills(make_host: MakeHost, caplog: pytest.LogCaptureFixture) -> None:
    """At the start and in ``check``: table, column and cure, before anybody has left a list in vain."""
    site = make_host(lambda db: models(db, needed, "optout_model", "link_model"))
    cure = "give the column a default or a server_default, or name it in Mailtrack(..., fill=function)"
    start = f"mailtrack_optout.tenant_id: NOT NULL, and filled by nobody, so no row is stored: {cure}"
    assert start in caplog.messages
    checked = site.app.test_cli_runner().invoke(args=["mailtrack", "check"])
    assert checked.exit_code == 1
    assert (
        "error   C31  mailtrack_optout.tenant_id, mailtrack_link.tenant_id: NOT NULL, and filled by" in checked.output
    )
    assert cure in checked.output


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_check_names_columns_that_only_a_mail_brings(make_host: MakeHost, caplog: pytest.LogCaptureFixture) -> None:
    """A column that ``track(columns=...)`` may bring is a warning: what comes without a mail is not stored."""
    site = make_host(lambda db: models(db, needed, "message_model", "optout_model"))
    checked = site.app.test_cli_runner().invoke(args=["mailtrack", "check"])
    assert "C31" not in checked.output
    assert "warning C32  mailtrack_message.tenant_id, mailtrack_optout.tenant_id: NOT NULL, and filled only by" in (
        checked.output
    )
    assert "NOT NULL" not in caplog.text


FILLED: list[tuple[Callable[[], Any], dict[str, Any]]] = [
    (lambda: mapped_column(sa.Integer, nullable=False, default=1), {}),
    (lambda: mapped_column(sa.Integer, nullable=False, server_default="1"), {}),
    (lambda: mapped_column(sa.Integer), {}),
    (needed, {"fill": lambda model_name, record: {"tenant_id": 1}}),
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("column", "given"), FILLED)
def test_check_says_nothing_of_columns_that_are_filled(
    make_host: MakeHost, column: Callable[[], Any], given: dict[str, Any]
) -> None:
    """A default, the database's, no need of a value, or the host's function: all is well."""
    site = make_host(lambda db: models(db, column), **given)
    output = site.app.test_cli_runner().invoke(args=["mailtrack", "check"]).output
    assert "C31" not in output
    assert "C32" not in output
