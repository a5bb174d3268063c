"""Setting up: mistakes are found at once, and apps keep apart."""

from __future__ import annotations

import gc
import re
import threading
import weakref
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from conftest import BASE_URL, SECRET, MakeSite, Site
from flask import Flask, current_app
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy

from flask_mailtrack import Mailtrack
from flask_mailtrack.errors import ConfigError, MailtrackError, NotInitialised
from flask_mailtrack.outgoing.options import Options, TrackingOptions
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://example.com/">go</a></p>'


def new_app(tmp_path: Path, name: str = "one", **config: Any) -> Flask:
    """Return an app with configuration and no extensions."""
    app = Flask(name, instance_path=str(tmp_path / name))
    app.config.update(TESTING=True, SECRET_KEY=SECRET, MAILTRACK_BASE_URL=BASE_URL, MAIL_DEFAULT_SENDER="a@b.example")
    app.config.update(SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / name}.sqlite3")
    app.config.update(config)
    return app


@pytest.mark.parametrize("given", ["app db mail", "app mail db", "mail db", "mail", "db"])
def test_positional_arguments_are_told_the_cure(tmp_path: Path, given: str) -> None:
    """Who passes mail and db by their places, in any order, is shown how to write it."""
    things: dict[str, Any] = {"app": new_app(tmp_path), "db": SQLAlchemy(), "mail": Mail()}
    with pytest.raises(ConfigError, match=re.escape("Mailtrack(app, mail=mail, db=db)")) as mistake:
        Mailtrack(*(things[name] for name in given.split()))
    assert mistake.value.code == "E160"


def test_what_is_missing_is_told_the_cure() -> None:
    """Without mail, or without db, nothing can work, and the message says what to write."""
    for one in ({}, {"mail": Mail()}, {"db": SQLAlchemy()}):
        with pytest.raises(ConfigError, match=re.escape("Mailtrack(app, mail=mail, db=db)")):
            Mailtrack(**one)


def test_the_state_of_a_mail_will_do(tmp_path: Path) -> None:
    """An app factory that has only ``app.extensions["mail"]`` passes that."""
    app = new_app(tmp_path)
    db = SQLAlchemy(app)
    mail = Mail(app)
    Mailtrack(mail=app.extensions["mail"], db=db).init_app(app)
    with app.app_context():
        db.create_all()
        with mail.record_messages() as outbox:
            mail.send(message())
            app.extensions["mail"].send(message())
    assert [is_tracked(sent) for sent in outbox] == [True, True]


def test_a_short_secret_warns_in_debug(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An app that is being written starts with SECRET_KEY = "dev", and the log says what is to be done before long."""
    app = new_app(tmp_path, TESTING=False, SECRET_KEY="dev", DEBUG=True, MAILTRACK_DRAIN="manual")
    db, mail = SQLAlchemy(app), Mail(app)
    Mailtrack(app, mail=mail, db=db)
    assert "E112" in caplog.text
    assert "MAILTRACK_SECRET_KEYS" in caplog.text


def test_a_short_key_of_our_own_is_refused_in_debug_too(tmp_path: Path) -> None:
    """Who sets MAILTRACK_SECRET_KEYS has no reason to set a short one."""
    app = new_app(tmp_path, TESTING=False, DEBUG=True, MAILTRACK_SECRET_KEYS=["dev"])
    with pytest.raises(ConfigError, match="E112"):
        Mailtrack(app, mail=Mail(app), db=SQLAlchemy(app))


def message() -> Message:
    """Return a message with one link."""
    return Message("Hello", recipients=["ada@example.com"], html=HTML)


def is_tracked(sent: Message) -> bool:
    """Say whether a message that went out has a pixel and tracked links."""
    found = {"/m/o/" in (sent.html or ""), "/m/c/" in (sent.html or "")}
    assert len(found) == 1
    return found.pop()


@pytest.fixture(name="extensions")
def _extensions() -> tuple[SQLAlchemy, Mail, Mailtrack]:
    """One set of extensions that has seen no app yet."""
    db, mail = SQLAlchemy(), Mail()
    return db, mail, Mailtrack(mail=mail, db=db)


def init_all(app: Flask, extensions: tuple[Any, ...]) -> None:
    """Call ``init_app`` of each, in the order given, and create the tables."""
    for extension in extensions:
        extension.init_app(app)
    with app.app_context():
        extensions[0].create_all()
        extensions[0].engine.dispose()


def without_mail(app: Flask) -> None:
    """Forget ``mail.init_app``."""
    db = SQLAlchemy(app)
    Mailtrack(app, mail=Mail(), db=db)


def without_db(app: Flask) -> None:
    """Forget ``db.init_app``."""
    Mailtrack(app, mail=Mail(app), db=SQLAlchemy())


def twice(app: Flask) -> None:
    """Set up the same app twice."""
    Mailtrack(app, mail=Mail(app), db=SQLAlchemy(app)).init_app(app)


def twice_by_two(app: Flask) -> None:
    """Set up the same app by two objects."""
    mail, db = Mail(app), SQLAlchemy(app)
    Mailtrack(app, mail=mail, db=db)
    Mailtrack(app, mail=mail, db=db)


def mail_that_is_none(app: Flask) -> None:
    """Pass something else for mail."""
    Mailtrack(app, mail=None, db=SQLAlchemy(app))


def mail_that_is_the_class(app: Flask) -> None:
    """Pass the class instead of the object."""
    Mailtrack(app, mail=Mail, db=SQLAlchemy(app))


def db_that_is_a_url(app: Flask) -> None:
    """Pass a URL for the database."""
    Mailtrack(app, mail=Mail(app), db="sqlite://")


def db_that_is_the_class(app: Flask) -> None:
    """Pass the class instead of the object."""
    Mailtrack(app, mail=Mail(app), db=SQLAlchemy)


def swapped(app: Flask) -> None:
    """Mix the two up."""
    Mailtrack(app, mail=SQLAlchemy(app), db=Mail(app))


def another_db(app: Flask) -> None:
    """Pass a database object that the app does not use."""
    SQLAlchemy(app)
    Mailtrack(app, mail=Mail(app), db=SQLAlchemy())


def no_base_url(app: Flask) -> None:
    """Forget the base URL."""
    del app.config["MAILTRACK_BASE_URL"]
    Mailtrack(app, mail=Mail(app), db=SQLAlchemy(app))


def no_secret(app: Flask) -> None:
    """Forget the secret."""
    del app.config["SECRET_KEY"]
    Mailtrack(app, mail=Mail(app), db=SQLAlchemy(app))


def short_secret(app: Flask) -> None:
    """Use a secret that can be guessed."""
    app.config.update(SECRET_KEY="dev", TESTING=False)
    Mailtrack(app, mail=Mail(app), db=SQLAlchemy(app))


def misspelt(app: Flask) -> None:
    """Misspell a key."""
    app.config["MAILTRACK_OPEN"] = False
    Mailtrack(app, mail=Mail(app), db=SQLAlchemy(app))


MISTAKES: list[tuple[Callable[[Flask], None], str, str, str]] = [
    (without_mail, "E204", "init_app", "Call mail.init_app(app) before mailtrack.init_app(app)."),
    (without_db, "E205", "init_app", "Call db.init_app(app) before mailtrack.init_app(app)."),
    (twice, "E203", "init_app", "Call it once."),
    (twice_by_two, "E203", "init_app", "Call it once."),
    (mail_that_is_none, "E201", "mail", "Pass the app's flask_mail.Mail object."),
    (mail_that_is_the_class, "E201", "mail", "Pass the app's flask_mail.Mail object."),
    (db_that_is_a_url, "E202", "db", "Pass the app's flask_sqlalchemy.SQLAlchemy object."),
    (db_that_is_the_class, "E202", "db", "Pass the app's flask_sqlalchemy.SQLAlchemy object."),
    (swapped, "E201", "mail", "Pass the app's flask_mail.Mail object."),
    (another_db, "E206", "db", "Pass the app's own db."),
    (no_base_url, "E106", "MAILTRACK_BASE_URL", "https://links.example.com"),
    (no_secret, "E111", "SECRET_KEY", "secrets.token_hex()"),
    (short_secret, "E112", "SECRET_KEY", "secrets.token_hex()"),
    (misspelt, "E100", "MAILTRACK_OPEN", "Did you mean MAILTRACK_OPENS?"),
]


@pytest.mark.parametrize(("mistake", "code", "key", "cure"), MISTAKES, ids=[m[0].__name__ for m in MISTAKES])
def test_a_mistake_is_found_at_start_up(
    tmp_path: Path, mistake: Callable[[Flask], None], code: str, key: str, cure: str
) -> None:
    """s88: whoever sets us up wrongly is told at once: what is wrong, where, and what to write instead."""
    with pytest.raises(ConfigError) as caught:
        mistake(new_app(tmp_path))
    assert (caught.value.code, caught.value.key) == (code, key)
    assert cure in caught.value.cure
    assert str(caught.value).startswith(f"[{code}] {key}: ")
    assert SECRET not in str(caught.value)


def test_a_failed_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """After a mistake has been mended the same app can be set up."""
    app = new_app(tmp_path, MAILTRACK_BASE_URL="ftp://nowhere")
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(mail=mail, db=db)
    with pytest.raises(ConfigError, match="E107"):
        mailtrack.init_app(app)
    app.config["MAILTRACK_BASE_URL"] = BASE_URL
    mailtrack.init_app(app)
    with app.app_context():
        assert mailtrack._state().settings.base_url == BASE_URL
        db.engine.dispose()


@pytest.mark.parametrize("method", [Mailtrack.track, Mailtrack.options])
def test_help_names_each_option(method: Callable[..., Any]) -> None:
    """What ``track`` and ``options`` take is what a place can say, and is read in their documentation."""
    names = [field.name for field in fields(Options)]
    assert list(TrackingOptions.__annotations__) == names
    assert [name for name in names if not re.search(rf":param {name}:|``{name}``", method.__doc__ or "")] == []


@pytest.mark.parametrize("given", ["opnes", "merged", "wrong"])
def test_a_name_that_is_no_option_is_refused(site: Site, given: str) -> None:
    """Whoever misspells an option is told at once, and shown the names that there are."""
    with pytest.raises(TypeError, match=rf"'{given}' is not an option. (Did you mean|Write one of) .*opens"):
        site.mailtrack.track(message(), **{given: True})
    with pytest.raises(TypeError, match=f"'{given}' is not an option"):
        site.mailtrack.options(**{given: True})


@pytest.mark.parametrize("at_once", [True, False])
def test_both_ways_to_set_up(tmp_path: Path, at_once: bool) -> None:
    """``Mailtrack(app, …)`` and ``init_app`` come to the same."""
    app = new_app(tmp_path)
    db, mail = SQLAlchemy(app), Mail(app)
    mailtrack = Mailtrack(app, mail=mail, db=db) if at_once else Mailtrack(mail=mail, db=db)
    if not at_once:
        mailtrack.init_app(app)
    with app.app_context(), mail.record_messages() as outbox:
        db.create_all()
        mail.send(message())
        db.engine.dispose()
    assert is_tracked(outbox[0])
    assert app.extensions["mailtrack"] is mailtrack


def by_mail(site: Site) -> None:
    """Send as most hosts do."""
    site.mail.send(message())


def by_connection(site: Site) -> None:
    """Send over a connection of one's own."""
    with site.mail.connect() as connection:
        connection.send(message())


def by_send_message(site: Site) -> None:
    """Send without a message object."""
    site.mail.send_message("Hello", recipients=["ada@example.com"], html=HTML)


def by_send_message_on_the_connection(site: Site) -> None:
    """Send without a message object, over a connection."""
    with site.mail.connect() as connection:
        connection.send_message("Hello", recipients=["ada@example.com"], html=HTML)


def by_message(site: Site) -> None:
    """Let the message send itself."""
    with site.mail.connect() as connection:
        message().send(connection)


def by_the_extension_registry(site: Site) -> None:
    """Send as Flask-Security does."""
    current_app.extensions["mail"].send(message())


def by_a_connection_of_the_registry(site: Site) -> None:
    """Send over a connection from the registry."""
    with current_app.extensions["mail"].connect() as connection:
        connection.send(message())


WAYS = [
    by_mail,
    by_connection,
    by_send_message,
    by_send_message_on_the_connection,
    by_message,
    by_the_extension_registry,
    by_a_connection_of_the_registry,
]


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
def test_every_way_of_sending_is_tracked(site: Site, way: Callable[[Site], None]) -> None:
    """However a host or a library sends, the mail is tracked, once, and recorded messages show it."""
    with site.mail.record_messages() as outbox:
        way(site)
    (sent,) = outbox
    assert is_tracked(sent)
    assert str(sent.html).count("/m/o/") == 1
    assert [row.status for row in site.rows("Message")] == ["sent"]


def test_sending_the_same_message_again_is_another_mail(site: Site) -> None:
    """The host's message stays as it was, so a second send is tracked by tokens of its own."""
    mine = message()
    with site.mail.record_messages() as outbox:
        site.mail.send(mine)
        site.mail.send(mine)
    assert mine.html == HTML
    assert len({sent.html for sent in outbox}) == 2
    assert len(site.rows("Message")) == 2


def test_a_worker_thread_sends_tracked_mail(site: Site) -> None:
    """No request is needed: an app context in a thread is enough."""
    sent: list[Message] = []

    def work() -> None:
        with site.app.app_context(), site.mail.record_messages() as outbox:
            site.mail.send(message())
            sent.extend(outbox)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert is_tracked(sent[0])
    assert Reader(site.client, sent[0]).click("go").location == "https://example.com/"


def test_a_command_sends_tracked_mail(site: Site) -> None:
    """A command of the host sends tracked mail, with links from the configuration."""

    @site.app.cli.command("newsletter")
    def newsletter() -> None:
        with site.mail.record_messages() as outbox:
            site.mail.send(message())
        print(outbox[0].html)

    result = site.app.test_cli_runner().invoke(args=["newsletter"])
    assert result.exit_code == 0, result.output
    assert f'href="{BASE_URL}/m/c/' in result.output


def test_two_apps_on_one_object_keep_apart(tmp_path: Path, extensions: tuple[SQLAlchemy, Mail, Mailtrack]) -> None:
    """Each app has its own links, options, rows and journal, though all share the same extension objects."""
    db, mail, mailtrack = extensions
    one = new_app(tmp_path, "one", MAILTRACK_OPENS=False)
    two = new_app(
        tmp_path, "two", MAILTRACK_BASE_URL="https://two.example", MAILTRACK_URL_PREFIX="/t", MAILTRACK_CLICKS=False
    )
    sent = {}
    for app in (one, two):
        init_all(app, extensions)
    for app in (one, two, one):
        with app.app_context(), mail.record_messages() as outbox:
            mail.send(message())
            sent[app.name] = str(outbox[0].html)
    assert f"{BASE_URL}/m/c/" in sent["one"]
    assert "/o/" not in sent["one"]
    assert "https://two.example/t/o/" in sent["two"]
    assert "/c/" not in sent["two"]
    path = urlsplit(re.findall(r'src="(\S+)"', sent["two"])[0]).path
    assert two.test_client().get(path).status_code == 200
    assert one.test_client().get(path).status_code == 404
    counts: dict[str, list[Any]] = {}
    for app in (one, two):
        with app.app_context():
            models = (mailtrack.models.Message, mailtrack.models.Event)
            counts[app.name] = [db.session.scalar(sa.select(sa.func.count()).select_from(model)) for model in models]
            directory = mailtrack._state().journals[0].directory
            db.session.remove()
            db.engine.dispose()
        counts[app.name].append(directory)
    assert (counts["one"][:2], counts["two"][:2]) == ([2, 0], [1, 1])
    assert counts["one"][2] != counts["two"][2]


def test_an_app_without_us_sends_as_before(tmp_path: Path, extensions: tuple[SQLAlchemy, Mail, Mailtrack]) -> None:
    """An app that shares the Mail object, but has not been set up, sends what its author wrote."""
    _, mail, mailtrack = extensions
    tracked, plain = new_app(tmp_path, "tracked"), new_app(tmp_path, "plain")
    init_all(tracked, extensions)
    mail.init_app(plain)
    with plain.app_context(), mail.record_messages() as outbox:
        mail.send(message())
        plain.extensions["mail"].send(message())
    assert [sent.html for sent in outbox] == [HTML, HTML]
    with plain.app_context(), pytest.raises(NotInitialised, match=r"mailtrack\.init_app\(app\)"):
        mailtrack._state()
    with plain.app_context(), pytest.raises(MailtrackError):
        mailtrack.stats()


def test_a_mail_object_of_one_app_used_in_another(make_site: MakeSite) -> None:
    """A ``Mail(app)`` belongs to that app, whichever is current, as in Flask-Mail itself; the mail goes out tracked."""
    first = make_site(MAILTRACK_BASE_URL="https://first.example")
    second = make_site(MAILTRACK_BASE_URL="https://second.example")
    assert current_app._get_current_object() is second.app  # type: ignore[attr-defined]
    with first.mail.record_messages() as outbox:
        first.mail.send(message())
    assert "https://first.example/m/o/" in str(outbox[0].html)


def test_the_app_is_not_kept(tmp_path: Path) -> None:
    """An app that its owner drops is freed, though the extension object lives on and mail has been sent."""
    db, mail = SQLAlchemy(), Mail()
    mailtrack = Mailtrack(mail=mail, db=db)

    def use() -> weakref.ref[Flask]:
        app = new_app(tmp_path)
        init_all(app, (db, mail, mailtrack))
        with app.app_context(), mail.record_messages() as outbox:
            mail.send(mailtrack.track(message(), list_id="news"))
            reader = Reader(app.test_client(), outbox[0])
            reader.open()
            reader.click()
            reader.unsubscribe()
            db.session.remove()
            db.engine.dispose()
        return weakref.ref(app)

    reference = use()
    gc.collect()
    assert reference() is None


def test_the_journal_of_a_test_is_removed(tmp_path: Path) -> None:
    """Under TESTING the journal is a directory of its own, gone with the app."""
    db, mail = SQLAlchemy(), Mail()
    mailtrack = Mailtrack(mail=mail, db=db)

    def use() -> Path:
        app = new_app(tmp_path)
        init_all(app, (db, mail, mailtrack))
        with app.app_context():
            mail.send(message())
            db.engine.dispose()
            return mailtrack._state().journals[0].directory

    directory = use()
    gc.collect()
    assert not directory.exists()


def test_outside_an_app_it_says_so(site: Site) -> None:
    """Without an app context Flask's own error appears."""
    errors: list[Exception] = []

    def work() -> None:
        try:
            site.mailtrack.stats()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "application context" in str(errors[0])


def test_settings_show_no_secret(site: Site) -> None:
    """s89: what an error page may print of us holds no key."""
    state = site.mailtrack._state()
    assert SECRET not in f"{state!r} {state.settings!r} {site.mailtrack!r} {vars(state)!r}"


def test_tables_are_not_created_behind_the_hosts_back(make_site: MakeSite) -> None:
    """Setting up adds tables to the metadata and creates none; mail goes out all the same."""
    site = make_site(tables=False)
    assert set(site.db.metadata.tables) >= {
        "mailtrack_message",
        "mailtrack_event",
        "mailtrack_optout",
        "mailtrack_link",
    }
    assert sa.inspect(site.db.engine).get_table_names() == []
    assert site.send(HTML) is not None
