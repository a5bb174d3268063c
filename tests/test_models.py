"""The models: on every kind of declarative base that Flask-SQLAlchemy knows, and as the host's own."""

from __future__ import annotations

import ast
import gc
import inspect
import uuid
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import BASE_URL, SECRET, MakeSite, Site
from flask import Flask
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import (
    DeclarativeBase,
    DeclarativeBaseNoMeta,
    MappedAsDataclass,
    MappedColumn,
    aliased,
    mapped_column,
    relationship,
    selectinload,
)

from flask_mailtrack import Mailtrack
from flask_mailtrack.models import (
    AuditMixin,
    DomainMixin,
    EventMixin,
    LinkMixin,
    MessageMixin,
    OptOutMixin,
    SettingMixin,
    by_people,
    models_for,
)
from flask_mailtrack.testing import Reader

START = datetime(2026, 11, 27, 12, tzinfo=UTC)

NAMES = "audit body breakdown claim cohort domain early_event event figure link message optout setting webhook_delivery"
TABLES = [f"mailtrack_{name}" for name in NAMES.split()]


def plain() -> SQLAlchemy:
    """As most apps have it."""
    return SQLAlchemy()


def declarative() -> SQLAlchemy:
    """As Flask-SQLAlchemy's quick start has it."""

    class Base(DeclarativeBase):
        pass

    return SQLAlchemy(model_class=Base)


def no_meta() -> SQLAlchemy:
    """Without a metaclass."""

    class Base(DeclarativeBaseNoMeta):
        pass

    return SQLAlchemy(model_class=Base)


def dataclass() -> SQLAlchemy:
    """With models that are dataclasses."""

    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    return SQLAlchemy(model_class=Base)


def dataclass_no_meta() -> SQLAlchemy:
    """With models that are dataclasses, without a metaclass."""

    class Base(MappedAsDataclass, DeclarativeBaseNoMeta):
        pass

    return SQLAlchemy(model_class=Base)


def possible(base: Callable[[], SQLAlchemy]) -> bool:
    """Flask-SQLAlchemy 3.1 takes no dataclass base on SQLAlchemy 2.1."""
    try:
        base()
    except sa.exc.InvalidRequestError:
        return False
    return True


BASES = [base for base in (plain, declarative, no_meta, dataclass, dataclass_no_meta) if possible(base)]


@pytest.fixture(name="db", params=BASES, ids=lambda base: base.__name__)
def _db(request: pytest.FixtureRequest) -> SQLAlchemy:
    """The host's db, on each kind of base."""
    made: SQLAlchemy = request.param()
    return made


Run = Callable[..., Any]


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> Iterator[Run]:
    """Sets up an app on a db with models, and pushes its context."""
    contexts: list[tuple[SQLAlchemy, Any]] = []

    def run(db: SQLAlchemy, *, config: dict[str, Any] | None = None, **models: Any) -> Mailtrack:
        app = Flask("host", instance_path=str(tmp_path / "instance"))
        app.config.update(TESTING=True, SECRET_KEY=SECRET, MAILTRACK_BASE_URL=BASE_URL, MAIL_DEFAULT_SENDER="a@b.org")
        app.config.update({"SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path / 'main.sqlite3'}"} | (config or {}))
        mail = Mail(app)
        db.init_app(app)
        mailtrack = Mailtrack(app, mail=mail, db=db, **models)
        context = app.app_context()
        context.push()
        contexts.append((db, context))
        db.create_all()
        mail.send(Message("Hello", ["ada@example.com"], html='<a href="https://example.com/">go</a>'))
        return mailtrack

    yield run
    for db, context in reversed(contexts):
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()
        context.pop()


def the_message(db: SQLAlchemy, mailtrack: Mailtrack) -> Any:
    """The only message, through the host's session."""
    return db.session.execute(sa.select(mailtrack.models.Message)).scalar_one()


def names(engine: sa.Engine) -> list[str]:
    """The tables of a database."""
    return sorted(sa.inspect(engine).get_table_names())


def test_the_default_models_work_on_every_base(db: SQLAlchemy, run: Run) -> None:
    """Whatever the host's models are made of, the default tables are there and fill."""
    mailtrack = run(db)
    assert names(db.engine) == TABLES
    message = the_message(db, mailtrack)
    assert (message.recipient, message.status) == ("ada@example.com", "sent")
    assert (message.open_count, message.details) == (0, {})
    assert isinstance(message.id, uuid.UUID)
    (link,) = db.session.execute(sa.select(mailtrack.models.Link)).scalars()
    assert link.url == "https://example.com/"


@pytest.mark.parametrize("key", [sa.Integer, sa.Uuid])
def test_a_host_may_extend_a_model_on_every_base(db: SQLAlchemy, run: Run, key: Any) -> None:
    """A table name, a column and a relationship to the host's users, by integer or UUID, of the host's own."""

    class User(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "user"
        id = mapped_column(key, primary_key=True)
        email = mapped_column(sa.String(320))

    class Mailing(MessageMixin, db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "mailing"
        colour = mapped_column(sa.String(16), nullable=False, server_default="blue")
        user_id = mapped_column(sa.ForeignKey("user.id"))
        user = relationship(User, backref="mailings")

    mailtrack = run(db, message_model=Mailing)
    assert names(db.engine) == ["mailing", *(table for table in TABLES if table != "mailtrack_message"), "user"]
    message = the_message(db, mailtrack)
    assert (type(message), message.colour, message.user) == (Mailing, "blue", None)
    user = User()
    user.id = 5 if key is sa.Integer else uuid.uuid4()
    db.session.add(user)
    message.user = user
    db.session.commit()
    assert [mailing.recipient for mailing in user.mailings] == ["ada@example.com"]


@pytest.mark.parametrize("kind", [DeclarativeBase, DeclarativeBaseNoMeta])
def test_the_default_models_can_be_dataclasses(kind: Any) -> None:
    """On a dataclass base, with or without Flask-SQLAlchemy, the mixins map and rows are stored."""

    class Base(MappedAsDataclass, kind):  # type: ignore[misc]
        pass

    class Host:
        """Stands for a db that takes such a base."""

        Model = Base

    models = models_for(Host())
    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    assert names(engine) == TABLES
    with engine.begin() as connection:
        connection.execute(sa.insert(models.Link.__table__).values(ref="r", url="https://example.com/"))
        row = connection.execute(sa.select(models.Link.__table__)).one()
    assert tuple(row) == ("r", "https://example.com/", "", "")
    engine.dispose()


def test_a_host_may_bring_all_models(db: SQLAlchemy, run: Run) -> None:
    """With models of its own, the host has no table of ours but those of sums, which name nobody."""
    own = {
        name: type(name, (mixin, db.Model), {"__tablename__": f"own_{name.lower()}", "__module__": __name__})
        for name, mixin in {
            "Message": MessageMixin,
            "Event": EventMixin,
            "OptOut": OptOutMixin,
            "Link": LinkMixin,
            "Audit": AuditMixin,
            "Setting": SettingMixin,
            "Domain": DomainMixin,
        }.items()
    }
    run(db, **{f"{name.lower()}_model": model for name, model in own.items()})
    ours = ("body", "breakdown", "claim", "cohort", "early_event", "figure", "webhook_delivery")
    sums = {f"mailtrack_{name}" for name in ours}
    theirs = {table.replace("mailtrack", "own") for table in TABLES if table not in sums}
    assert set(names(db.engine)) == theirs | sums


def test_the_tables_may_live_in_another_database(db: SQLAlchemy, run: Run, tmp_path: Path) -> None:
    """With bind_key the tables and their rows are in that database, and the host's in its own."""

    class User(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "user"
        id = mapped_column(sa.Integer, primary_key=True)

    mailtrack = run(
        db, bind_key="mails", config={"SQLALCHEMY_BINDS": {"mails": f"sqlite:///{tmp_path / 'mails.sqlite3'}"}}
    )
    assert names(db.engine) == ["user"]
    assert names(db.engines["mails"]) == TABLES
    assert the_message(db, mailtrack).recipient == "ada@example.com"
    assert mailtrack.stats().sent == 1


def test_two_extensions_on_one_db_share_the_default_models(db: SQLAlchemy) -> None:
    """A second Mailtrack on a db uses the tables that are there; one on another bind has its own."""
    one, two = Mailtrack(mail=Mail(), db=db), Mailtrack(mail=Mail(), db=db)
    assert tuple(one.models) == tuple(two.models)
    other = Mailtrack(mail=Mail(), db=db, bind_key="mails")
    assert not set(other.models) & set(one.models)
    assert {model.metadata.info["bind_key"] for model in other.models} == {"mails"}


def test_only_the_models_that_are_missing_are_made() -> None:
    """A host's model and three default ones make a set, and the default one of its name is not made beside it."""
    db = SQLAlchemy()

    class Mailing(MessageMixin, db.Model):  # type: ignore[name-defined,misc]
        pass

    models = models_for(db, Message=Mailing, Event=None)
    assert models.Message is Mailing
    assert sorted(db.metadata.tables) == TABLES


def test_a_dropped_db_is_freed() -> None:
    """A test suite that makes a db for each test does not pile them up."""
    db = SQLAlchemy()
    Mailtrack(mail=Mail(), db=db)
    gone = weakref.ref(db)
    del db
    gc.collect()
    assert gone() is None


def test_the_tables_can_be_made_on_each_database(database_url: str, make_site: MakeSite) -> None:
    """create_all succeeds, and a mail is a row."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    site.send(to="jürgen+😀@example.com", tag="ö😀", metadata={"n": 1})
    (message,) = site.rows("Message")
    assert (message.tag, message.details, message.status) == ("ö😀", {"n": 1}, "sent")
    assert names(site.db.engine) == TABLES


def test_a_naming_convention_of_the_host_is_kept(tmp_path: Path) -> None:
    """Indexes and keys of our tables are named as the host names its own."""
    convention = {
        "ix": "idx_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "primary_%(table_name)s",
    }
    db = SQLAlchemy(metadata=sa.MetaData(naming_convention=convention))
    models = models_for(db)
    assert sorted(str(index.name) for index in models.Message.__table__.indexes) == [
        "idx_mailtrack_message_body_id_created_at",
        "idx_mailtrack_message_cohort_id_created_at",
        "idx_mailtrack_message_list_id_created_at",
        "idx_mailtrack_message_recipient",
        "idx_mailtrack_message_tag_created_at",
    ]
    assert [model.__table__.primary_key.name for model in models] == [
        "primary_mailtrack_message",
        "primary_mailtrack_event",
        "primary_mailtrack_optout",
        "primary_mailtrack_link",
        "primary_mailtrack_audit",
        "primary_mailtrack_setting",
        "primary_mailtrack_domain",
        "primary_mailtrack_cohort",
        "primary_mailtrack_figure",
        "primary_mailtrack_breakdown",
        "primary_mailtrack_early_event",
        "primary_mailtrack_body",
        "primary_mailtrack_claim",
        "primary_mailtrack_webhook_delivery",
    ]


def test_no_foreign_key_binds_an_event_to_its_message() -> None:
    """Events and messages arrive in either order, and an event outlives a purged message."""
    assert [key for model in models_for(SQLAlchemy()) for key in model.__table__.foreign_keys] == []


def test_ids_may_be_given_as_text(database_url: str, make_site: MakeSite) -> None:
    """What stands in an address or a log finds its row, on each database, and text that is no UUID is refused."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    site.send()
    message_model, event = site.mailtrack.models.Message, site.mailtrack.models.Event
    (message,) = site.rows("Message")
    for text in (str(message.id), message.id.hex, str(message.id).upper()):
        site.db.session.expunge_all()
        assert site.db.session.get(message_model, text).id == message.id
        assert site.db.session.scalar(sa.select(message_model.id).where(message_model.id == text)) == message.id
        assert site.db.session.scalar(sa.select(message_model.id).where(message_model.id.in_([text]))) == message.id
    own = event(message_id=str(message.id), type="opened", occurred_at=message.created_at)
    site.db.session.add(own)
    site.db.session.commit()
    assert [(type(row.id), row.message_id) for row in site.rows("Event")] == [(uuid.UUID, message.id)]
    with pytest.raises(sa.exc.StatementError):
        site.db.session.get(message_model, "seven")


def by_default(db: SQLAlchemy) -> dict[str, Any]:
    """No model of the host's."""
    return {}


def own_message(db: SQLAlchemy) -> dict[str, Any]:
    """A message model of the host's, which names a class that is made later; the event model is ours."""

    class Mailing(MessageMixin, db.Model):  # type: ignore[name-defined,misc]
        user_id = mapped_column(sa.ForeignKey("user.id"))
        user = relationship("User")

    return {"message_model": Mailing}


def own_both(db: SQLAlchemy) -> dict[str, Any]:
    """Both models of the host's."""

    class Mailing(MessageMixin, db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "mailing"

    class Visit(EventMixin, db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "visit"

    return {"message_model": Mailing, "event_model": Visit}


@pytest.mark.parametrize("own", [by_default, own_message, own_both])
@pytest.mark.parametrize("bind_key", [None, "mails"])
def test_messages_and_events_know_each_other(db: SQLAlchemy, run: Run, own: Any, bind_key: Any, tmp_path: Path) -> None:
    """Events in order of time, and the message of each, on every base, with models of the host's and in other binds."""
    bind = {"bind_key": bind_key} if bind_key and own is by_default else {}
    models = own(db)
    made = Mailtrack(mail=Mail(), db=db, **models, **bind).models

    class User(db.Model):  # type: ignore[name-defined,misc]
        __tablename__ = "user"
        id = mapped_column(sa.Integer, primary_key=True)

    mails = {"SQLALCHEMY_BINDS": {"mails": f"sqlite:///{tmp_path / 'mails.sqlite3'}"}}
    mailtrack = run(db, config=mails, **models, **bind)
    message_model, event_model = mailtrack.models.Message, mailtrack.models.Event
    assert (made.Message, made.Event) == (message_model, event_model)
    message = the_message(db, mailtrack)
    assert message.events == []
    db.session.rollback()
    for second, kind in ((5, "clicked"), (1, "opened"), (3, "clicked")):  # in the index, by type first
        event = event_model()
        event.message_id, event.type, event.url = message.id, kind, str(second)
        event.occurred_at = START + timedelta(seconds=second)
        db.session.add(event)
    stray = event_model()
    stray.message_id, stray.type, stray.occurred_at = uuid.uuid4(), "clicked", START
    db.session.add(stray)
    db.session.commit()
    assert [event.url for event in message.events] == ["1", "3", "5"]
    assert all(event.message is message for event in message.events)
    assert stray.message is None
    joined = sa.select(message_model).join(message_model.events).where(event_model.url == "3")
    assert db.session.scalars(joined).one() is message
    query = sa.select(message_model).options(selectinload(message_model.events))
    db.session.expunge_all()
    assert len(db.session.scalars(query).one().events) == 3
    other = aliased(event_model)
    assert len(db.session.execute(sa.select(other).join(other.message)).all()) == 3


def test_a_relationship_that_is_not_used_asks_nothing(site: Site) -> None:
    """A message is read and changed with one statement each; its events are left where they are."""
    site.send()
    message_model = site.mailtrack.models.Message
    seen: list[str] = []
    sa.event.listen(site.db.engine, "before_cursor_execute", lambda *about: seen.append(about[2]))
    message = site.db.session.scalars(sa.select(message_model)).one()
    message.tag = "x"
    site.db.session.commit()
    site.db.session.delete(message)
    site.db.session.commit()
    assert not any("mailtrack_event" in statement for statement in seen)


def test_people_are_asked_of_a_model(site: Site) -> None:
    """The condition takes the model, an alias of it, and its table."""
    reader = Reader(site.client, site.send('<a href="https://example.com/">go</a>'))
    reader.click()
    reader.as_scanner().click("go")
    site.mailtrack.flush()
    event = site.mailtrack.models.Event
    other = aliased(event)
    assert len(site.rows("Event")) > 1
    for query in (
        sa.select(event.verdict).where(by_people(event)),
        sa.select(other.verdict).where(by_people(other)),
        sa.select(event.__table__.c.verdict).where(by_people(event.__table__)),
        sa.select(event.verdict).join(event.message).where(by_people(event)),
    ):
        assert site.db.session.scalars(query).all() == ["human"]


@pytest.mark.parametrize("name", ["Message", "Event", "OptOut", "Link", "Audit", "Setting", "Domain"])
def test_each_column_says_what_it_holds(name: str) -> None:
    """Every column has a short sentence, which tools show beside it."""
    table = getattr(models_for(SQLAlchemy()), name).__table__
    assert [c.name for c in table.columns if not (c.doc and c.doc.endswith(".") and len(c.doc) <= 100)] == []


@pytest.mark.parametrize(
    "mixin", [MessageMixin, EventMixin, OptOutMixin, LinkMixin, AuditMixin, SettingMixin, DomainMixin]
)
def test_each_column_has_the_type_that_checkers_read(mixin: Any) -> None:
    """What a checker reads of a column is what the column gives, and whether that may be nothing."""
    source = ast.parse(inspect.getsource(mixin)).body[0]
    assert isinstance(source, ast.ClassDef)
    said = {
        line.target.id: ast.unparse(line.annotation).removeprefix("Mapped[").removesuffix("]")
        for line in source.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
    columns = {name: value.column for name, value in vars(mixin).items() if isinstance(value, MappedColumn)}
    assert columns.keys() == said.keys() - {"events", "message", "__table_args__"}
    for name, column in columns.items():
        plain = said[name].removesuffix(" | None")
        assert (plain != said[name]) == column.nullable, name
        if isinstance(column.type, sa.JSON):
            assert plain.startswith(("dict[", "list[")), name
        else:
            assert plain.rpartition(".")[2] == column.type.python_type.__name__, name
