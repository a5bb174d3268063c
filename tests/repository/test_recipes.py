"""The recipes of the documentation run as they stand, and each does what it is there for."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import BASE_URL, SECRET
from flask import Flask
from flask_babel import Babel

from flask_mailtrack.pytest_plugin import Outbox, assert_clicked, assert_opened, assert_suppressed, assert_tracked
from flask_mailtrack.testing import record_mails

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"


class Cooked:
    """The app of a recipe, its module, and the mails that it sends."""

    def __init__(self, module: ModuleType, app: Flask, outbox: Outbox) -> None:
        self.module, self.app, self.outbox = module, app, outbox
        self.client = app.test_client()

    def run(self, *arguments: str) -> str:
        """Run a command of the app; return what it says."""
        result = self.app.test_cli_runner().invoke(args=arguments)
        assert result.exit_code == 0, result.output
        return result.output


Cook = Callable[..., Cooked]


@pytest.fixture(name="cook")
def _cook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cook]:
    """Make the app of a recipe, under TESTING, and push its context."""
    monkeypatch.syspath_prepend(str(RECIPES))
    opened: list[Any] = []

    def cook(name: str, **config: Any) -> Cooked:
        module = importlib.import_module(name)
        given = {"TESTING": True, "SECRET_KEY": SECRET, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{tmp_path}/r.sqlite3"}
        app = module.create_app(
            {**given, "MAILTRACK_BASE_URL": BASE_URL, "MAIL_DEFAULT_SENDER": "me@example.com", **config}
        )
        context, recorded = app.app_context(), record_mails(app)
        context.push()
        opened.append((name, module, context, recorded))
        return Cooked(module, app, Outbox(app, recorded.__enter__()))

    yield cook
    for name, module, context, recorded in opened:
        recorded.__exit__(None, None, None)
        module.db.engine.dispose()
        context.pop()
        del sys.modules[name]


def test_every_recipe_is_shown_and_tested() -> None:
    """Each recipe stands on the page, and this file cooks it."""
    page, tests = (RECIPES / "index.md").read_text(encoding="utf-8"), Path(__file__).read_text(encoding="utf-8")
    names = {path.stem for path in RECIPES.glob("*.py")}
    assert set(re.findall(r"literalinclude\} (\w+)\.py", page)) == names
    assert set(re.findall(r'cook\("(\w+)"', tests)) == names


def test_factory(cook: Cook) -> None:
    """Who registers gets a mail, and the click on its link is known."""
    shop = cook("factory")
    shop.client.post("/register", data={"email": "ada@example.com"})
    ada = shop.outbox.to("ada@example.com")
    assert_tracked(ada)
    ada.click("Start here")
    assert_clicked("ada@example.com", "https://shop.example/start")


def test_newsletter(cook: Cook) -> None:
    """The newsletter goes to subscribers who have not left, and the page has its figures."""
    shop = cook("newsletter")
    shop.module.db.session.add_all([shop.module.Subscriber(email=f"{name}@example.com") for name in ("ada", "bob")])
    shop.module.db.session.commit()
    shop.run("send", "Spring")
    shop.outbox.to("ada@example.com").click("A new tea")
    assert_clicked("ada@example.com", "tea")
    shop.outbox.to("bob@example.com").unsubscribe()
    assert_suppressed("bob@example.com", "news")
    shop.outbox.clear()
    shop.run("send", "Summer")
    assert [message.recipients for message in shop.outbox] == [["ada@example.com"]]
    text = " ".join(shop.client.get("/figures").text.split())
    assert "Spring: 2 sent, 1 of 2 clicked" in text
    assert "Summer: 1 sent, 0 of 1 clicked" in text


def test_celery_worker(cook: Cook) -> None:
    """A task sends in an app context, tells what became of the mail, and the mail is tracked."""
    shop = cook("celery_worker", CELERY={"task_always_eager": True, "broker_url": "memory://"})
    assert shop.client.post("/orders", data={"email": "ada@example.com"}).status_code == 202
    shop.outbox.to("ada@example.com").open()
    assert_opened("ada@example.com")
    assert shop.module.confirm.delay("bob@example.com").get() == ["sent"]
    shop.outbox.clear()
    people = [f"reader{number}@example.com" for number in range(3)]
    for _ in range(2):  # a worker that was killed gets its task again
        shop.module.send_news(people)
    assert [message.recipients for message in shop.outbox] == [[each] for each in people]
    assert "before=3" in shop.module.news_to.delay(people).get()


def test_flask_security_mail(cook: Cook) -> None:
    """The mail of a reset has the tag of its template, and its link is as Flask-Security wrote it."""
    # No name server is asked, and no compiled hash is needed.
    own = {"SECURITY_EMAIL_VALIDATOR_ARGS": {"check_deliverability": False}, "SECURITY_PASSWORD_HASH": "pbkdf2_sha512"}
    security = cook("flask_security_mail", SECURITY_PASSWORD_SALT="salt", WTF_CSRF_ENABLED=False, **own)
    datastore = security.app.extensions["security"].datastore
    datastore.create_user(email="ada@example.com", password="a long enough password")
    datastore.commit()
    assert security.client.post("/reset", data={"email": "ada@example.com"}).status_code == 200
    ada = security.outbox.to("ada@example.com")
    assert_tracked(ada, clicks=False)
    assert any("/reset/" in link.url for link in ada.links)
    (message,) = security.module.mailtrack.reports.person("ada@example.com").page.rows
    assert message.tag == "reset_instructions"


def test_mailman(cook: Cook) -> None:
    """An order is confirmed with its attachment, and the newsletter goes to subscribers who have not left."""
    shop = cook("mailman")
    assert shop.client.post("/orders", data={"email": "ada@example.com"}).json == {"ada@example.com": "sent"}
    ada = shop.outbox.to("ada@example.com")
    assert_tracked(ada)
    assert b"7 cups of tea" in ada.message.content
    ada.click("Follow your order")
    assert_clicked("ada@example.com", "https://shop.example/orders/7")
    shop.module.db.session.add_all([shop.module.Subscriber(email=f"{name}@example.com") for name in ("ada", "bob")])
    shop.module.db.session.commit()
    shop.run("send", "Spring")
    shop.outbox.to("bob@example.com").unsubscribe()
    assert_suppressed("bob@example.com", "news")
    shop.outbox.clear()
    shop.run("send", "Summer")
    assert [message.recipients for message in shop.outbox] == [["ada@example.com"]]


def test_flask_admin_views(cook: Cook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The staff reads mails, events and opt-outs; anybody else gets a 404."""
    shop = cook("flask_admin_views")
    Babel(shop.app)  # where Flask-Babel is installed, Flask-Admin wants it set up
    mail = shop.app.extensions["mail"]
    mail.send_message("A subject of its own", recipients=["ada@example.com"], html='<a href="https://a.example/">x</a>')
    shop.outbox.to("ada@example.com").click("x")
    shop.module.mailtrack.suppress("bob@example.com")
    shop.module.mailtrack.flush()
    pages = {"mails": "A subject of its own", "events": "https://a.example/", "optouts": "bob@example.com"}
    for page, text in pages.items():
        assert text in shop.client.get(f"/admin/{page}/").text, page
    monkeypatch.setattr(shop.module, "is_staff", lambda: False)
    assert {shop.client.get(f"/admin/{page}").status_code for page in ("", *(f"{page}/" for page in pages))} == {404}


def test_multi_tenant(cook: Cook) -> None:
    """Each tenant sees its own mail, in figures and console, and people leave the list of one tenant only."""
    shop = cook("multi_tenant")
    leaf, bean = shop.app.test_client(), shop.app.test_client()
    for client, name, times in ((leaf, "leaf", 2), (bean, "bean", 1)):
        client.post("/login", data={"tenant": name})
        for number in range(times):
            client.post("/send", data={"to": f"{name}{number}@example.com"})
    shop.outbox.to("leaf0@example.com").click("Our shop")
    assert leaf.get("/figures").json == {"sent": 2, "clicked": 1}
    assert bean.get("/figures").json == {"sent": 1, "clicked": 0}
    assert [client.get("/mailtrack/").status_code for client in (leaf, bean, shop.client)] == [200, 200, 404]
    shop.outbox.to("leaf0@example.com").unsubscribe()
    assert_suppressed("leaf0@example.com", "leaf/news")
    with pytest.raises(AssertionError):
        assert_suppressed("leaf0@example.com", "bean/news")


def test_talisman_csp(cook: Cook) -> None:
    """Behind a login wall, CSRF protection and a redirect to https, a reader opens, clicks and leaves."""
    shop = cook("talisman_csp")
    assert shop.client.get("/").status_code == 302
    shop.run("send-news")
    ada = shop.outbox.to("ada@example.com")
    assert ada.open().status_code == 200
    assert ada.click("Our shop").location == "https://shop.example/"
    assert ada.unsubscribe().status_code == 200
    assert_suppressed("ada@example.com", "news")
    assert shop.run("mailtrack", "check").count("error") == 0
