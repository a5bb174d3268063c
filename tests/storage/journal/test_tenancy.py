"""Whose a journal is: it follows its app to another database, and no two apps ever mix."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import BASE_URL, SECRET, MakeSite, Site, places
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import make_url

from flask_mailtrack import Mailtrack
from flask_mailtrack.app_folders import identity
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.storage.journal.directory import tenant_of
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://example.com/a">a</a></p>'
OTHER = "another secret that is long enough for anybody"


@pytest.fixture(name="lasting")
def _lasting(lasting: MakeSite, tmp_path: Path) -> MakeSite:
    """Make apps as they run in production, all with one folder for their journals."""
    return lambda **config: lasting(**({"MAILTRACK_SPOOL_DIR": tmp_path / "spool"} | config))


def die(site: Site) -> None:
    """End the process of an app, as far as others can see."""
    for journal in site.mailtrack._state_of(site.app).journals:
        journal.lease = None


def recipients(site: Site) -> list[str]:
    """Drain, and return to whom mails are in the database."""
    with site.app.app_context():
        site.mailtrack.flush()
        return [row.recipient for row in site.rows("Message")]


def test_what_waits_follows_the_app_to_another_database(lasting: Any) -> None:
    """After a move of the database, what waited is drained into the new one, an unsubscribe included."""
    before = lasting()
    reader = Reader(before.client, before.send(HTML, list_id="news"))
    assert reader.unsubscribe().status_code == 200
    die(before)
    after = lasting()
    with after.app.app_context():
        assert places(after)[0] == places(before)[0]
        assert recipients(after) == ["ada@example.com"]
        assert [row.recipient for row in after.rows("OptOut")] == ["ada@example.com"]
        assert after.send(HTML, list_id="news") == []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_waits_follows_the_app_from_sqlite_to_postgresql(lasting: Any, database_url: str) -> None:
    """The same where the new database is a server."""
    before = lasting()
    before.send(HTML)
    die(before)
    after = lasting(SQLALCHEMY_DATABASE_URI=database_url)
    assert recipients(after) == ["ada@example.com"]


def test_an_option_in_the_url_changes_nothing(lasting: Any, tmp_path: Path) -> None:
    """With ``?timeout=20`` added, on one of two running processes, both share the folder, and what waits in it."""
    url = f"sqlite:///{tmp_path}/one.sqlite3"
    before = lasting(SQLALCHEMY_DATABASE_URI=url)
    before.send(HTML)
    after = lasting(SQLALCHEMY_DATABASE_URI=f"{url}?timeout=20")
    assert places(before) == places(after)
    assert recipients(after) == ["ada@example.com"]


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("postgresql://ann:old@db.test/shop", "postgresql+psycopg://bob:new@DB.test:5432/shop?connect_timeout=5", True),
        ("postgresql://localhost/shop", "postgresql:///shop?host=/var/run/postgresql", True),
        ("mysql+pymysql://root@127.0.0.1/shop", "mariadb+pymysql://root@localhost:3306/shop?charset=utf8mb4", True),
        ("postgresql://one.test/shop", "postgresql://two.test/shop", False),
        ("postgresql://one.test/shop", "postgresql://one.test:5433/shop", False),
        ("postgresql://one.test/shop", "postgresql://one.test/shop?options=-csearch_path%3Dtenant", False),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/../tmp/a.db?timeout=20", True),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/b.db", False),
    ],
)
def test_a_database_is_known_by_what_it_is(one: str, two: str, same: bool) -> None:
    """User, password, driver and options of the client do not make another database; host, port and schema do."""
    assert (identity(make_url(one)) == identity(make_url(two))) is same
    assert "old" not in identity(make_url(one))


def test_a_running_process_with_another_database_is_refused(lasting: Any) -> None:
    """Two apps of one name and one folder would take each other's rows: the second does not start, and is told why."""
    first = lasting()
    with pytest.raises(ConfigError, match=r"\[E175\].*running process of host.*set MAILTRACK_APP_ID") as caught:
        lasting()
    assert SECRET not in str(caught.value)
    second = lasting(MAILTRACK_APP_ID="second")
    first.send(HTML)
    second.send(HTML, to="bob@example.com")
    assert (recipients(first), recipients(second)) == (["ada@example.com"], ["bob@example.com"])


def test_the_folder_says_which_database_it_serves(lasting: Any) -> None:
    """A file in it names the app and the database, and holds no key and no password."""
    site = lasting(SECRET_KEY=SECRET)
    text = (places(site)[0] / "tenant.json").read_text()
    assert json.loads(text)["app"] == "host"
    assert "app0.sqlite3" in json.loads(text)["database"]
    assert SECRET not in text
    site.send(HTML)
    assert "not ours" not in site.app.test_cli_runner().invoke(args=["mailtrack", "check"]).output


def test_the_file_of_a_dead_process_keeps_nobody_out(lasting: Any) -> None:
    """An app that is gone, and has left nothing, leaves its folder to the next one, whatever that one's key is."""
    die(lasting())
    after = lasting(SECRET_KEY=OTHER)
    found = tenant_of(places(after)[0])
    assert found is not None
    assert "app1.sqlite3" in found.database


def test_what_a_dead_app_of_another_key_has_left_is_not_taken(lasting: Any) -> None:
    """Two apps of one name that never run at once do not mix either: neither database nor key says that it is ours."""
    before = lasting()
    before.send(HTML)
    die(before)
    with pytest.raises(ConfigError, match=r"\[E176\].*of another key"):
        lasting(SECRET_KEY=OTHER)
    assert recipients(before) == ["ada@example.com"]


@pytest.mark.parametrize("name", ["0123456789ab", "mailtrack-0123456789ab"])
@pytest.mark.parametrize("unsubscribed", [True, False])
def test_a_folder_by_an_old_name_is_drained(lasting: Any, name: str, unsubscribed: bool) -> None:
    """What an earlier version left in a folder that was named by the URL of a database arrives."""
    before = lasting()
    reader = Reader(before.client, before.send(HTML, list_id="news"))
    if unsubscribed:  # and nothing else waits, which would say whose it is
        before.mailtrack.flush()
        assert reader.unsubscribe().status_code == 200
    _rename(before, name)
    after = lasting(SQLALCHEMY_DATABASE_URI=before.app.config["SQLALCHEMY_DATABASE_URI"])
    assert after.mailtrack.health().rows > 0
    assert recipients(after) == ["ada@example.com"]
    assert [row.recipient for row in after.rows("OptOut")] == ["ada@example.com"] * unsubscribed


def test_the_folder_of_the_instance_is_found_when_another_is_named(lasting: Any, tmp_path: Path) -> None:
    """MAILTRACK_SPOOL_DIR, set for the first time, strands nothing in the instance folder."""
    before = lasting()
    before.send(HTML)
    die(before)
    (tmp_path / "instance1").mkdir()
    shutil.move(places(before)[0], tmp_path / "instance1" / "mailtrack-0123456789ab")
    after = lasting(SQLALCHEMY_DATABASE_URI=before.app.config["SQLALCHEMY_DATABASE_URI"])
    assert recipients(after) == ["ada@example.com"]


def test_an_old_folder_of_another_app_is_left_alone(lasting: Any) -> None:
    """What another key has signed is another app's, and stays where it is, for its own app."""
    theirs = lasting(SECRET_KEY=OTHER)
    theirs.send(HTML, to="bob@example.com")
    folder = _rename(theirs, "0123456789ab")
    ours = lasting()
    ours.send(HTML)
    assert recipients(ours) == ["ada@example.com"]
    die(ours)
    assert sorted(folder.glob("events-*"))
    assert recipients(lasting(SECRET_KEY=OTHER, MAILTRACK_APP_ID="")) == ["bob@example.com"]


def test_a_folder_that_may_be_anybodys_is_named(lasting: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Beside another app's folder, rows that say nothing of their app are left alone, and ``check`` says so."""
    lasting(MAILTRACK_APP_ID="another", SECRET_KEY=OTHER).send(HTML)
    before = lasting()
    before.send(None, body="Hello")
    folder = _rename(before, "0123456789ab")
    after = lasting()
    assert recipients(after) == []
    assert f"{folder} holds rows, and nothing says of which app" in caplog.text
    found = after.app.test_cli_runner().invoke(args=["mailtrack", "check"])
    assert f"error   C28  {folder} holds rows" in found.output
    assert found.exit_code == 1


def test_the_second_folders_of_two_apps_of_one_name_stay_apart(lasting: Any, tmp_path: Path) -> None:
    """Also in the temporary folder, which all apps of a user share; and a second folder goes where the first goes."""
    one, two = (lasting(MAILTRACK_SPOOL_DIR=tmp_path / name) for name in "ab")
    for site, address in ((one, "ada@example.com"), (two, "bob@example.com")):
        shutil.rmtree(places(site)[0])
        places(site)[0].write_text("in the way")
        site.send(HTML, to=address)
    assert places(one)[1].parent == places(two)[1].parent == tmp_path / "tmp"
    assert (recipients(one), recipients(two)) == (["ada@example.com"], ["bob@example.com"])
    two.send(HTML, to="cy@example.com")
    places(two)[0].unlink()
    die(two)
    after = lasting(MAILTRACK_SPOOL_DIR=tmp_path / "b")
    assert recipients(after) == ["cy@example.com"]


def test_an_old_second_folder_is_drained_by_its_own_app(lasting: Any, tmp_path: Path) -> None:
    """A folder in the temporary one that earlier versions named is taken by whoever signed what is in it."""
    before = lasting()
    before.send(HTML)
    old = tmp_path / "tmp" / f"mailtrack-{os.geteuid()}-0123456789ab"
    shutil.copytree(places(before)[0], old)
    (old / "tenant.json").unlink()
    shutil.rmtree(places(before)[0])
    die(before)
    other = lasting(SECRET_KEY=OTHER, MAILTRACK_APP_ID="other")
    assert recipients(other) == []
    assert recipients(lasting()) == ["ada@example.com"]


def test_apps_of_two_names_in_one_folder_stay_apart(tmp_path: Path) -> None:
    """Without an id an app is known by its import name."""
    found = set()
    for name in ("shop", "blog"):
        app = Flask(name, instance_path=str(tmp_path))
        url = f"sqlite:///{tmp_path / name}.sqlite3"
        app.config.update(SECRET_KEY=SECRET, SQLALCHEMY_DATABASE_URI=url, MAILTRACK_BASE_URL=BASE_URL)
        db, mail = SQLAlchemy(app), Mail(app)
        found.add(Mailtrack(app, mail=mail, db=db)._state_of(app).journals[0].directory)
    assert len(found) == 2


def _rename(site: Site, name: str) -> Path:
    """Have an app be gone, and its folder look as if an earlier version had made it."""
    first = places(site)[0]
    die(site)
    for word in ("tenant.json", "tenant.lock"):
        (first / word).unlink()
    return first.rename(first.with_name(name))
