"""The pages of the mailbox, as a developer meets them, and as everybody else does not."""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from conftest import Inbox, MakeSite, Site
from flask import Flask
from flask.testing import FlaskClient
from flask_mail import Mail, Message
from flask_sqlalchemy import SQLAlchemy
from flask_talisman import Talisman
from flask_wtf import CSRFProtect

from flask_mailtrack import Mailtrack
from flask_mailtrack.mailbox import letterbox
from flask_mailtrack.mailbox.frame import framed
from flask_mailtrack.mailbox.post import post
from flask_mailtrack.mailbox.routes import VIEWS
from flask_mailtrack.outgoing.dispatched import Dispatched
from flask_mailtrack.testing import BROWSER

HTML = """<html><body>
<p>Hello</p><a href="https://example.com/a?b=1&amp;c=2" data-mailtrack-name="read">Read on</a>
<a href="https://example.com/verify?token=0123456789abcdef0123">Confirm</a>
<img src="https://links.example.com/logo.png"><img src="cid:logo"></body></html>"""


@pytest.fixture(name="room")
def _room(site: Site) -> Site:
    site.app.register_blueprint(site.mailtrack.mailbox(), url_prefix="/mailbox")
    return site


def mails(client: FlaskClient, prefix: str = "/mailbox", query: str = "") -> list[str]:
    """Return the addresses of the mails on the list, in order."""
    page = client.get(f"{prefix}/{query}")
    assert page.status_code == 200
    return re.findall(rf'href="({prefix}/[0-9a-f-]{{36}})"', page.text)


def test_a_mail_is_shown_in_every_view(room: Site) -> None:
    """Rendered, text, headers, raw, changes and timeline each answer under a strict policy, without inline code."""
    room.send(HTML, body="Plain words", list_id="news", subject="Hi & <b>welcome</b>")
    (mail,) = mails(room.client)
    pages = {view: room.client.get(f"{mail}?view={view}") for view in VIEWS}
    for page in (*pages.values(), room.client.get("/mailbox/"), room.client.get(f"{mail}?view=nonsense&phone=1")):
        assert page.status_code == 200
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
        assert not re.search(r"<script(?! type=\"module\" src=)|<style|\sstyle=\"|\son\w+=", page.text)
        assert "Hi &amp; &lt;b&gt;welcome&lt;/b&gt;" in page.text
    assert "Plain words" in pages["text"].text
    assert "a button that works with one click" in pages["headers"].text
    assert "List-Id: &lt;news.example.org&gt;" in pages["raw"].text
    assert "Nothing has happened yet." in pages["timeline"].text
    download = room.client.get(f"{mail}/mail.eml")
    assert download.headers["Content-Disposition"].startswith("attachment;")
    assert b"List-Unsubscribe: <https://links.example.com/m/u/" in download.data


def test_it_tells_what_tracking_changed(room: Site) -> None:
    """Each changed place shows what the author wrote and what was sent; a link that was left alone says why."""
    room.send(HTML, body="Plain words", list_id="news")
    page = room.client.get(f"{mails(room.client)[0]}?view=changes").text
    assert "HTML: 2 changed places" in page
    assert "Removed: </span>https://example.com/a?b=1&amp;amp;c=2</del>" in page
    assert "Added: </span>https://links.example.com/m/c/" in page
    assert "Removed, as it has done its work: data-mailtrack-name=&#34;read&#34;" in page
    assert "The open pixel" in page
    assert "This person’s own unsubscribe link." in page
    assert "Text: 1 changed place<" in page
    assert "Links left alone: 1" in page
    assert "It works once, and a redirect could spend it." in page


def test_pictures_are_the_open_and_are_fetched_from_here(room: Site) -> None:
    """Hidden pictures ask nobody; shown ones ask this app with the real token, wherever links of mails lead."""
    room.send(HTML)
    (mail,) = mails(room.client)
    hidden, shown = room.client.get(f"{mail}/body"), room.client.get(f"{mail}/body?images=1")
    assert "img-src data:;" in hidden.headers["Content-Security-Policy"]
    assert not re.search(r"\ssrc=[\"']?http", hidden.text)
    policy = shown.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'")
    assert "img-src 'self' data:; form-action 'none'" in policy
    assert 'src="/logo.png"' in shown.text
    pixel = re.search(r'src="(/m/o/[^"]+)"', shown.text)
    link = re.search(r'href="(/m/c/[^"]+)"', shown.text)
    assert pixel
    assert link
    room.client.get(pixel[1], headers=BROWSER)
    assert room.client.get(link[1], headers=BROWSER).location == "https://example.com/a?b=1&c=2"
    assert "Links of this mail lead to https://links.example.com." in room.client.get(mail).text
    listed = room.client.get("/mailbox/").text
    assert ">Opened</span>" in listed
    assert ">Clicked</span>" in listed
    assert [row.open_count for row in room.rows("Message")] == [1]


def test_each_recipient_has_a_mail_of_their_own(room: Site) -> None:
    """A message to several people is as many mails, newest first; a shared copy is one for each of its people."""
    room.send(HTML, to=["ada@example.com", "bob@example.com"])
    room.send("<p>One for all</p>", to=["cleo@example.com", "dan@example.com"], opens=False, clicks=False)
    page = room.client.get("/mailbox/").text
    assert re.findall(r"To <bdi>(\w+)@", page) == ["dan", "cleo", "bob", "ada"]
    assert len(mails(room.client, query="?q=ADA@")) == 1
    assert len(mails(room.client, query="?q=hello")) == 4
    assert "No mail fits." in room.client.get("/mailbox/?q=nobody").text
    ids = {row.recipient: row.id for row in room.rows("Message")}
    there = room.client.get(f"/mailbox/of/{ids['dan@example.com']}")
    assert there.location == mails(room.client)[0]


def test_what_is_not_kept_is_said(room: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old mails go; the address of one says so in words, and one button deletes all."""
    monkeypatch.setattr(letterbox, "KEPT", 2)
    room.send("<p>1</p>")
    (oldest,) = mails(room.client)
    for number in (2, 3):
        room.send(f"<p>{number}</p>")
    assert len(mails(room.client)) == 2
    for path in (
        oldest,
        f"{oldest}/body",
        f"{oldest}/timeline",
        f"{oldest}/mail.eml",
        oldest.replace("box/", "box/of/"),
    ):
        gone = room.client.get(path)
        assert gone.status_code == 404
        assert "The mailbox keeps the latest" in gone.text
    assert room.client.post("/mailbox/empty").location == "/mailbox/"
    assert "No mail yet." in room.client.get("/mailbox/").text


def test_it_is_closed_outside_development(lasting: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """Without debug and TESTING each route answers 404 to each method, nothing is kept, and the log says it once."""
    site = lasting()
    site.app.register_blueprint(site.mailtrack.mailbox(), url_prefix="/mailbox")
    rules = [rule for rule in site.app.url_map.iter_rules() if rule.endpoint.startswith("mailtrack_mailbox.")]
    assert len(rules) == 10
    site.send()
    key = "01a21ddd-b53d-732c-9515-80e33c9afd63"
    for rule in rules:
        path = re.sub(r"<uuid:\w+>", key, rule.rule).replace("<path:filename>", "mailbox.css")
        for method in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"):
            assert site.client.open(path, method=method).status_code == 404, (method, path)
    assert site.client.get("/mailbox").status_code == 404
    assert not list(Path(site.app.instance_path).glob("mailtrack-mailbox-*"))
    (line,) = [record.getMessage() for record in caplog.records if record.name == "flask_mailtrack.mailbox"]
    assert line.startswith("/mailbox is closed: the mailbox is open under flask --debug and TESTING only.")
    site.app.debug = True
    assert site.client.get("/mailbox").status_code == 200


def test_it_can_be_forced_open(lasting: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """Who forces it is told what that means; a worker and a restart find the mails, which only this user can read."""
    site = lasting()
    with caplog.at_level(logging.WARNING):
        site.app.register_blueprint(site.mailtrack.mailbox(force=True), url_prefix="/dev/mailbox")
    assert "open by force: whoever reaches it reads all mail" in caplog.text
    site.send(HTML)
    (folder,) = Path(site.app.instance_path).glob("mailtrack-mailbox-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]
    restarted = Flask("host", instance_path=site.app.instance_path)
    restarted.register_blueprint(site.mailtrack.mailbox(force=True), url_prefix="/dev/mailbox")
    (mail,) = mails(restarted.test_client(), "/dev/mailbox")
    page = restarted.test_client().get(mail)
    assert "Mailtrack is not set up for this app" in page.text
    assert 'href="/dev/mailbox/static/mailbox.css"' in page.text


def test_others_cannot_put_mails_into_it(lasting: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """A folder into which others can write is neither read nor written; the page says so, and mail goes out."""
    site = lasting()
    site.app.register_blueprint(site.mailtrack.mailbox(force=True), url_prefix="/mailbox")
    site.send("<p>1</p>")
    (folder,) = Path(site.app.instance_path).glob("mailtrack-mailbox-*")
    (mail,) = mails(site.client)
    folder.chmod(0o777)
    assert site.send("<p>2</p>") is not None
    assert "a mail that was sent is not shown" in caplog.text
    assert "others can write into it." in site.client.get("/mailbox/").text
    assert mails(site.client) == []
    assert site.client.get(mail).status_code == 404
    folder.chmod(0o700)
    (folder / f"{'a' * 32}.mail").symlink_to("/etc/passwd")
    (folder / f"{'b' * 32}.mail").write_bytes(b"\xff not JSON\n")
    (folder / f"{'c' * 32}.mail").write_bytes(b"[" * 50_000)
    assert mails(site.client) == [mail]


def test_links_of_this_app_are_asked_where_the_reader_is() -> None:
    """The base URL gives way to the path of the app, also where nothing follows it, and no other address is changed."""
    roots = ("https://l.example/m/c/x", "https://l.example", "https://l.example?a", "https://l.example.org/y")
    shown = framed("".join(f'<a href="{each}">' for each in roots), ["https://l.example"], "/shop", images=True)
    assert re.findall(r'href="([^"]*)"', shown) == ["/shop/m/c/x", "/shop/", "/shop/?a", "https://l.example.org/y"]


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}], ids=str
)
def test_other_sites_cannot_press_its_buttons(room: Site, headers: dict[str, str]) -> None:
    """A POST that another site made the browser send is refused; one of its own pages, behind a proxy too, is not."""
    room.send(HTML)
    (mail,) = mails(room.client)
    for path in (f"{mail}/act", "/mailbox/empty"):
        assert room.client.post(path, data={"what": "person"}, headers=headers).status_code == 403
    assert mails(room.client) == [mail]
    own = {"Sec-Fetch-Site": "same-origin", "Origin": "https://tunnel.example"}
    assert room.client.post(f"{mail}/act", data={"what": "person"}, headers=own).status_code == 303
    assert room.client.post(f"{mail}/act", data={"what": "world peace"}).status_code == 400


def test_it_works_inside_a_guarded_host(make_site: MakeSite) -> None:
    """Flask-Talisman's defaults do not loosen the policies, and the forms carry Flask-WTF's token."""
    site = make_site()
    Talisman(site.app, force_https=False)
    CSRFProtect(site.app)
    site.app.register_blueprint(site.mailtrack.mailbox(), url_prefix="/mailbox")
    site.send(HTML)
    client = site.app.test_client()
    (mail,) = mails(client)
    page = client.get(mail)
    assert page.headers.getlist("Content-Security-Policy") == [page.headers["Content-Security-Policy"]]
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert client.get(f"{mail}/body").headers["Content-Security-Policy"].startswith("sandbox ")
    token = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert token
    assert client.post(f"{mail}/act", data={"what": "person"}).status_code == 400
    done = client.post(f"{mail}/act", data={"what": "person", "csrf_token": token[1]}, follow_redirects=True)
    assert "A person has loaded the pictures" in done.text


def test_two_apps_and_either_order(tmp_path: Path) -> None:
    """One blueprint serves two apps, registered before or after init_app, and each sees its own mails only."""
    db, mail = SQLAlchemy(), Mail()
    mailtrack = Mailtrack(mail=mail, db=db)
    blueprint = mailtrack.mailbox()
    apps = []
    for name in ("first", "second"):
        app = Flask(name, instance_path=str(tmp_path))
        app.config.update(
            TESTING=True,
            SECRET_KEY="a secret that is long enough for anybody",
            SQLALCHEMY_DATABASE_URI="sqlite://",
            MAILTRACK_BASE_URL="https://links.example.com",
            MAIL_DEFAULT_SENDER="me@example.org",
        )
        if name == "first":
            app.register_blueprint(blueprint, url_prefix="/one")
        db.init_app(app)
        mail.init_app(app)
        mailtrack.init_app(app)
        if name == "second":
            app.register_blueprint(blueprint, url_prefix="/a/b")
        apps.append(app)
    first, second = apps
    with first.app_context():
        db.create_all()
        mail.send(Message("Hi", recipients=["ada@example.com"], html="<p>x</p>"))
    assert len(mails(first.test_client(), "/one")) == 1
    assert mails(second.test_client(), "/a/b") == []
    for app in apps:
        with app.app_context():
            db.engine.dispose()


def test_a_switched_off_mailtrack_has_a_mailbox_too(make_site: MakeSite) -> None:
    """With MAILTRACK_ENABLED off the mails are there, and the pages say why nothing more is known."""
    site = make_site(MAILTRACK_ENABLED=False)
    site.app.register_blueprint(site.mailtrack.mailbox(), url_prefix="/mailbox")
    site.mail.send(Message("Hi", recipients=["ada@example.com"], html=HTML))
    (mail,) = mails(site.client)
    page = site.client.get(f"{mail}?view=changes").text
    assert "Mailtrack is not set up for this app, or is switched off" in page
    assert "Mailtrack did not prepare this mail" in page
    acted = site.client.post(f"{mail}/act", data={"what": "person"}, follow_redirects=True)
    assert "this mail has no pixel" in acted.text


def test_mail_that_must_not_be_kept_is_said_to_be(room: Site) -> None:
    """A mail with store=False is shown, and has no timeline."""
    room.send(HTML, store=False)
    assert "it was sent with store=False" in room.client.get(mails(room.client)[0]).text


def test_a_database_that_is_away_costs_the_timeline_only(room: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mail is shown, and a sentence stands where the timeline would."""
    room.send(HTML)
    room.mailtrack.models.Message.__table__.drop(room.db.engine)
    (mail,) = mails(room.client)
    page = room.client.get(mail)
    assert page.status_code == 200
    assert "The database cannot be asked now, and the log says why." in page.text


def test_a_placeholder_that_stayed_is_shown_in_every_view(room: Site) -> None:
    """The guard against placeholders in pages does not take the mailbox for a page of the host."""
    stays = room.app.jinja_env.from_string('<a href="https://e.example/?u={{ unsubscribe_url() }}">x</a>').render()
    room.send(stays)
    (mail,) = mails(room.client)
    for path in (f"{mail}/body", f"{mail}?view=raw", f"{mail}?view=changes"):
        assert room.client.get(path).status_code == 200


DEEP = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(1_200))
HOSTILE = {
    "nothing": b"",
    "no_header": b"\n\n<script>alert(1)</script>",
    "script": b"Content-Type: text/html\n\n<script>alert(1)</script><form action=//evil.example><meta http-equiv="
    b"refresh content='0;url=//evil.example'><base href=//evil.example><iframe src=javascript:alert(1)></iframe>",
    "charset": b"Content-Type: text/html; charset=no-such-thing\n\n<p>\xff\xfe</p>",
    "nul": b'Subject: a\0b\nContent-Type: text/html; charset="\0"\n\n\0<p>\0</p>',
    "utf16": b"Content-Type: text/html; charset=utf-16\n\n<p>odd</p>",
    "codec_of_bytes": b"Content-Type: text/html; charset=base64\n\n<p>x</p>",
    "base64": b"Content-Type: text/html\nContent-Transfer-Encoding: base64\n\n!!!!=!",
    "uuencode": b"Content-Type: text/html\nContent-Transfer-Encoding: uuencode\n\nbegin 999 x\n!!\nend\n",
    "word": b"Subject: =?no-such?b?////?= =?utf-8?q?=ff?=\nFrom: =?utf-8?b?!?=\n\n",
    "headers": b"X-A\r\n\r: b\r\nX-B: \xff\xfe\r\nContent-Disposition: ;;==\r\nContent-Type: ;charset*=x''%ff\r\n\r\n",
    "folded": b"Subject: a\n  b\n\n",
    "name": b"Content-Type: image/png; name*0*=\xff'x'%zz; name*2=b\nContent-Disposition: attachment; filename*=a'b\n",
    "no_boundary": b"Content-Type: multipart/alternative\n\n--x\n\nhi",
    "deep": DEEP,
    "huge": b"Content-Type: text/html\n\n" + b"<p>" * 700_000,
    "open_tag": b"Content-Type: text/html\n\n" + b"<img " * 100_000,
    "blanks": b"Content-Type: text/html\n\n<img src=" + b" " * 20_000 + b"<a" + b" " * 20_000 + b"href",
    "marked_section": b"Content-Type: text/html\n\n<![if x]><![foo[<!DOCTYPE <<<",
    "unsubscribe": b"List-Unsubscribe: <https://evil.example/x>, <http:///>, <https://[::1>\n\n",
    "link": b"Content-Type: text/html\n\n<a href='https://links.example.com/m/c/\xff\xff/http://['>x</a>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_mail_is_shown_harmlessly(room: Site, name: str) -> None:
    """Whatever stands in a mail, each view answers, and nothing of it becomes markup of a page or asks outside."""
    raw = HOSTILE[name]
    text = raw.decode("latin-1")
    mail = Dispatched(raw, "<script>", "<script>\r\n", {'"><script>@example.com': None}, (text, text))
    room.app.extensions["mailtrack_mailbox"].hear(mail)
    (path,) = mails(room.client)
    for view in VIEWS:
        page = room.client.get(f"{path}?view={view}&images=1")
        assert page.status_code == 200
        assert "<script>" not in page.text
        assert len(page.text) < 2_000_000
    body = room.client.get(f"{path}/body?images=1")
    assert body.status_code == 200
    assert body.headers["Content-Security-Policy"].startswith("sandbox allow-popups ")
    assert room.client.get(f"{path}/mail.eml").data == raw
    for what in ("person", "gateway", "provider", "bounce", "lift"):
        assert room.client.post(f"{path}/act", data={"what": what}).status_code == 303


def test_an_error_of_the_mailbox_costs_no_mail(room: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is logged, and the send knows nothing of it."""

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(letterbox.Letterbox, "keep", full)
    assert room.send(HTML) is not None
    assert [row.status for row in room.rows("Message")] == ["sent"]


def test_mail_of_every_sender_is_in_it_once(room: Site, smtp: Inbox) -> None:
    """By the standard library's client, by hand and by Flask-Mail, tracked or not, with its row and its changes."""

    def mail(subject: str, **headers: str) -> EmailMessage:
        made = EmailMessage()
        for name, value in {"From": "Me <me@example.com>", "Subject": subject, **headers}.items():
            made[name] = value
        made.set_content(HTML, subtype="html")
        return made

    with room.mailtrack.smtp("127.0.0.1", smtp.port) as server:
        server.send_message(mail("By smtplib"), to_addrs=["ada@example.com", "bob@example.com"])
        server.send_message(mail("Not tracked", **{"X-Mailtrack": "off"}), to_addrs=["ada@example.com"])
    for copy in room.mailtrack.prepare(mail("By hand", To="Ada@example.com")):
        copy.sent()
    for copy in room.mailtrack.prepare(mail("Refused", To="ada@example.com")):
        copy.failed("no")
    room.send(HTML, subject="By Flask-Mail")
    labels = [post().box.find(UUID(path.rpartition("/")[2])) for path in mails(room.client)]
    assert [(each.label.subject, each.label.recipient) for each in labels if each] == [
        ("By Flask-Mail", "ada@example.com"),
        ("By hand", "ada@example.com"),
        ("Not tracked", "ada@example.com"),
        ("By smtplib", "bob@example.com"),
        ("By smtplib", "ada@example.com"),
    ]
    assert all(each and each.label.row and "@example" in each.label.sender for each in labels)
    assert "HTML: 2 changed places" in room.client.get(f"{mails(room.client)[1]}?view=changes").text


def test_an_app_is_freed_with_its_mailbox(tmp_path: Path) -> None:
    """The signal of Flask-Mail does not keep an app alive."""
    import gc
    import weakref

    def made() -> Iterator[Any]:
        app = Flask("gone", instance_path=str(tmp_path))
        app.config.update(TESTING=True, SECRET_KEY="a secret that is long enough for anybody")
        app.config.update(SQLALCHEMY_DATABASE_URI="sqlite://", MAILTRACK_BASE_URL="https://links.example.com")
        db, mail = SQLAlchemy(app), Mail(app)
        mailtrack = Mailtrack(app, mail=mail, db=db)
        app.register_blueprint(mailtrack.mailbox())
        yield weakref.ref(app)

    reference = next(made())
    gc.collect()
    assert reference() is None
