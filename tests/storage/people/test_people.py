"""People: suppressed, asked, forgotten, and told what is known of them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import PREFERENCES, MakeSite, Site
from flask import Flask
from flask_mail import Mail

from flask_mailtrack import Mailtrack, Scope
from flask_mailtrack.consent import consent_from
from flask_mailtrack.events import Kind, OptOutKind, first_id, now
from flask_mailtrack.signals import recipient_suppressed, recipient_unsubscribed, suppression_lifted
from flask_mailtrack.storage.drain.recovery import mention
from flask_mailtrack.storage.journal.directory import make
from flask_mailtrack.storage.people.erasure import Erased
from flask_mailtrack.storage.records import encode, to_json
from flask_mailtrack.testing import Reader

ADA, BOB = "ada@example.com", "bob@example.com"
HTML = f'<a href="https://example.com/">go</a> <a href="{PREFERENCES}">choices</a>'


def preferences(sent: Any) -> str:
    """The path of a mail's preferences page."""
    start = sent.html.index("/m/p/")
    return str(sent.html[start : sent.html.index('"', start)])


def unsubscribe_path(sent: Any) -> str:
    """The path of a mail's unsubscribe page."""
    return "/m/u/" + str(sent.extra_headers["List-Unsubscribe"]).partition("/m/u/")[2].partition(">")[0]


def opt_outs(site: Site) -> list[tuple[str, str, str, str]]:
    return [(o.recipient, o.list_id, o.kind, o.method) for o in site.rows("OptOut")]


def test_who_is_suppressed_gets_no_mail_of_a_list(database_url: str, make_site: MakeSite) -> None:
    """One list, or all; mail of no list goes out to everybody; and what is lifted is lifted."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    site.mailtrack.suppress("Ada <ADA@example.com>", "news", reason="complaint")
    site.mailtrack.suppress(BOB)
    assert opt_outs(site) == [(ADA, "news", "unsubscribe", "api"), (BOB, "", "unsubscribe", "api")]
    both = [ADA, BOB]
    assert [m.send_to for m in site.send(HTML, both, list_id="news")] == []
    assert [m.send_to for m in site.send(HTML, both, list_id="offers")] == [{ADA}]
    assert [m.send_to for m in site.send("<p>x</p>", both)] == [{ADA}, {BOB}]
    site.mailtrack.unsuppress(ADA, "news")
    site.mailtrack.unsuppress(BOB, "news")  # which is not what stands
    assert [m.send_to for m in site.send(HTML, both, list_id="news")] == [{ADA}]
    site.mailtrack.unsuppress(BOB)
    assert len(site.send(HTML, both, list_id="news")) == 2
    assert opt_outs(site) == []


@pytest.mark.parametrize("address", ["", "ada", "@example.com", "*@example.com", "a b@example.com", "a\0@example.com"])
def test_what_is_no_address_is_refused(site: Site, address: str) -> None:
    """A mistake is said at the call, and nothing is written."""
    with pytest.raises(ValueError, match=r"address|spaces"):
        site.mailtrack.suppress(address)
    with pytest.raises(ValueError, match="list"):
        site.mailtrack.suppress(ADA, "x" * 256)
    with pytest.raises(ValueError, match="method"):
        site.mailtrack.suppress(ADA, method="by somebody on the phone")
    assert site.rows("OptOut") == []


def test_the_host_is_told_after_commit(site: Site) -> None:
    """A suppression has signals of its own, once for each change that is one."""
    told: list[tuple[str, str]] = []

    def suppressed(app: Any, event: Any) -> None:
        told.append(("out", event.recipient))

    def lifted(app: Any, event: Any) -> None:
        told.append(("in", event.recipient))

    with recipient_suppressed.connected_to(suppressed), suppression_lifted.connected_to(lifted):
        for _ in range(2):
            site.mailtrack.suppress(ADA)
        for _ in range(2):
            site.mailtrack.unsuppress(ADA)
    assert told == [("out", ADA), ("in", ADA)]


def test_s64_a_link_cannot_lift_what_the_host_has_set(database_url: str, make_site: MakeSite) -> None:
    """s64: Who complained, or was suppressed by the host, is not signed up again by a link; the page can say so."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    sent = site.send(HTML, list_id="news")
    state = site.mailtrack._state()
    token = state.signer.read(Kind.PREFERENCES, preferences(sent).removeprefix("/m/p/"))
    assert not state.optouts.standing(token.message_id, token.ref).locked
    site.mailtrack.suppress(ADA, reason="complaint")
    site.mailtrack.suppress(ADA, tracking=True)
    assert state.optouts.standing(token.message_id, token.ref).locked
    for action in ("undo", "undo_all", "accept"):
        assert site.client.post(preferences(sent), data={"action": action}).status_code == 200
    assert [(o[2], o[3]) for o in opt_outs(site)] == [("tracking", "api"), ("unsubscribe", "api")]
    assert site.send(HTML, list_id="news") == []
    assert [e.type for e in site.rows("Event")] == []


def test_what_a_person_did_by_link_becomes_the_hosts(site: Site) -> None:
    """Who unsubscribes by a link and then complains stays out, and who clicks again changes nothing of it."""
    sent = site.send(HTML, list_id="news")
    path = unsubscribe_path(sent)
    site.client.post(path, data={"List-Unsubscribe": "One-Click"})
    site.mailtrack.suppress(ADA, "news", reason="complaint")
    site.client.post(path, data={"action": "reason", "reason": "too_often"})
    site.client.post(path, data={"action": "undo"})
    (row,) = site.rows("OptOut")
    assert (row.method, row.reason) == ("api", "complaint")


def test_the_undo_of_a_purged_message_finds_its_opt_out(database_url: str, make_site: MakeSite) -> None:
    """The row of the mail is gone, and with it address and list: its links still undo what they have done."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    paths = [preferences(site.send(HTML, list_id=name)) for name in ("news", "offers")]
    for path in paths:
        site.client.post(path, data={"action": "unsubscribe"})
    assert [o[:2] for o in opt_outs(site)] == [(ADA, "news"), (ADA, "offers")]
    table = site.mailtrack.models.Message.__table__
    with site.db.engine.begin() as connection:
        connection.execute(table.delete())
    site.client.post(paths[0], data={"action": "undo"})
    assert [o[:2] for o in opt_outs(site)] == [(ADA, "offers")]
    # Leaving everything and taking it back leaves the list alone that was left before.
    site.client.post(paths[1], data={"action": "unsubscribe_all"})
    site.client.post(paths[1], data={"action": "undo_all"})
    assert [o[:2] for o in opt_outs(site)] == [(ADA, "offers")]


def test_choices_wait_in_the_spool_and_count_all_the_same(make_site: MakeSite) -> None:
    """With nobody draining and the database not to be written to, each choice counts at the next send."""
    site = make_site(MAILTRACK_DRAIN="manual")
    sent = site.send(HTML, list_id="news")
    site.mailtrack.flush()
    site.mailtrack.suppress(BOB, "news")
    with site.db.engine.connect() as writer:
        writer.exec_driver_sql("BEGIN IMMEDIATE")
        assert site.send(HTML, [BOB], list_id="news") == []
        site.client.post(unsubscribe_path(sent), data={"List-Unsubscribe": "One-Click"})
        assert site.send(HTML, [ADA], list_id="news") == []
        assert len(site.send(HTML, [ADA, BOB], list_id="offers")) == 2
        site.client.post(preferences(sent), data={"action": "undo"})
        site.mailtrack.unsuppress(BOB, "news")
        assert len(site.send(HTML, [ADA, BOB], list_id="news")) == 2
        site.client.post(preferences(sent), data={"action": "decline"})
        assert "/m/o/" not in site.send(HTML).html
        assert site.rows("OptOut") == []
    site.mailtrack.flush()
    assert opt_outs(site) == [(ADA, "", "tracking", "preferences")]


def test_a_tracking_opt_out_reaches_mails_that_are_out(database_url: str, make_site: MakeSite) -> None:
    """After a "no" the same pixel and the same redirect answer, and nothing is stored; what was before stays."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    sent, other = site.send(HTML), site.send(HTML, BOB)
    ada, bob = Reader(site.client, sent), Reader(site.client, other)
    ada.open()
    site.client.post(preferences(sent), data={"action": "decline"})
    assert ada.open().status_code == 200
    assert ada.click("go").location == "https://example.com/"
    bob.open()
    assert [(e.type, e.message_id) for e in site.rows("Event")] == [
        ("opened", site.rows("Message")[0].id),
        ("declined", site.rows("Message")[0].id),
        ("opened", site.rows("Message")[1].id),
    ]
    assert [m.open_count for m in site.rows("Message")] == [1, 1]
    site.client.post(preferences(sent), data={"action": "accept"})
    ada.click("go")
    assert site.rows("Message")[0].click_count == 1


def test_a_no_that_is_not_drained_yet_counts_too(make_site: MakeSite) -> None:
    """Hits and the "no" before them lie in the spool together: those after it are not stored."""
    site = make_site(MAILTRACK_DRAIN="manual")
    sent = site.send(HTML)
    ada = Reader(site.client, sent)
    ada.open()
    site.client.post(preferences(sent), data={"action": "decline"})
    ada.open()
    ada.click("go")
    site.mailtrack.flush()
    assert [e.type for e in site.rows("Event")] == ["opened", "declined"]


def test_consent_is_asked_before_and_after(make_site: MakeSite) -> None:
    """The host's function decides for each mail, and once more for each hit, by purpose."""
    answers = {("ada@example.com", "open"): "granted", ("ada@example.com", "click"): "exempt"}
    asked: list[tuple[list[str], str]] = []

    def consent(addresses: Collection[str], purpose: str) -> dict[str, Any]:
        asked.append((sorted(addresses), purpose))
        return {a: answers[a, purpose] for a in addresses if (a, purpose) in answers}

    site = make_site(mailtrack={"consent": consent}, MAILTRACK_TRACK_WHEN_UNKNOWN=False)
    mails = site.send(HTML, [ADA, BOB])
    assert ["/m/o/" in m.html for m in mails] == ["/m/c/" in m.html for m in mails] == [True, False]
    assert asked == [([ADA, BOB], "open"), ([ADA, BOB], "click")]
    ada = Reader(site.client, mails[0])
    ada.open()
    ada.click("go")
    answers[ADA, "open"] = "denied"
    ada.open()
    ada.click("go")
    assert [e.type for e in site.rows("Event")] == ["opened", "clicked", "clicked"]
    assert "/m/c/" not in site.send(HTML, list_id="news").html
    del answers[ADA, "open"]
    ada.open()
    assert [e.type for e in site.rows("Event")].count("opened") == 1


@pytest.mark.parametrize("answer", ["perhaps", None, RuntimeError("no")])
def test_a_failing_consent_function_says_no(make_site: MakeSite, answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The mail goes out untracked, the reader is served, nothing is stored, and the log says why."""
    good: list[bool] = [True]

    def consent(addresses: Collection[str], purpose: str) -> Any:
        if good:
            return dict.fromkeys(addresses, "granted")
        if isinstance(answer, Exception):
            raise answer
        return dict.fromkeys(addresses, answer)

    site = make_site(mailtrack={"consent": consent})
    ada = Reader(site.client, site.send(HTML))
    good.clear()
    assert ada.open().status_code == 200
    assert "/m/o/" not in site.send(HTML).html
    assert site.send(HTML, list_id="news") != []
    assert site.rows("Event") == []
    assert "consent function fails" in caplog.text


def test_consent_from_a_column(database_url: str, make_site: MakeSite) -> None:
    """True, false, NULL and the words are read from the host's own table, whatever the case of the address."""
    columns: list[Any] = []
    site = make_site(tables=False, SQLALCHEMY_DATABASE_URI=database_url)

    class User(site.db.Model):  # type: ignore[name-defined,misc]
        """The host's."""

        id = sa.orm.mapped_column(sa.Integer, primary_key=True)
        email = sa.orm.mapped_column(sa.String(320))
        tracking = sa.orm.mapped_column(sa.String(10))
        measured = sa.orm.mapped_column(sa.Boolean)

    columns[:] = [User.tracking, User.measured]
    site.db.create_all()
    words = {"a": "granted", "b": "denied", "c": "unknown", "d": "exempt", "e": None}
    flags = {"a": True, "b": False, "c": None, "d": True, "e": None}
    for name, word in words.items():
        site.db.session.add(User(email=f"{name.upper()}@Example.com", tracking=word, measured=flags[name]))
    site.db.session.add(User(email="b@example.com", tracking="granted", measured=True))
    site.db.session.commit()
    people = [f"{name}@example.com" for name in "abcdef"]
    for column in columns:
        for unknown, tracked in ((True, "acdef"), (False, "ad")):
            app = Flask("another", instance_path=site.app.instance_path)
            app.config.update(site.app.config, MAILTRACK_TRACK_WHEN_UNKNOWN=unknown)
            app.extensions["sqlalchemy"] = site.app.extensions["sqlalchemy"]
            site.db._app_engines[app] = site.db._app_engines[site.app]
            mail = Mail(app)
            mailtrack = Mailtrack(app, mail=mail, db=site.db, consent=consent_from(User.email, column))
            with app.app_context():
                denied = mailtrack._state().optouts.silent(people)
            assert "".join(p[0] for p in people if p not in denied) == tracked


def test_a_browser_that_asks_not_to_be_followed(make_site: MakeSite) -> None:
    """With MAILTRACK_HONOUR_GPC a hit with Sec-GPC or DNT is answered and not kept; without it, it is kept."""
    for honour, kept in ((True, 1), (False, 3)):
        site = make_site(MAILTRACK_HONOUR_GPC=honour)
        sent = site.send(HTML)
        path = "/m/o/" + sent.html.partition("/m/o/")[2].partition('"')[0]
        for headers in ({"Sec-GPC": "1"}, {"DNT": "1"}, {"DNT": "0"}):
            assert site.client.get(path, headers={"User-Agent": "Mozilla/5.0", **headers}).status_code == 200
        assert len(site.rows("Event")) == kept


def forget(site: Site) -> None:
    """What erases Ada must leave nothing of her in any table."""
    with site.db.engine.connect() as connection:
        for model in site.mailtrack.models:
            for row in connection.execute(sa.select(model.__table__)):
                assert "ada@" not in repr(row).lower(), model
                assert "secret" not in repr(row), model


def test_erased(database_url: str, make_site: MakeSite) -> None:
    """Nothing names the person any more, counts are as they were, the opt-out holds, and links go on working."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_IP="full")
    html = HTML + '<a href="https://example.com/me?mail=ada%40example.com">mine</a><a href="https://x.com/?q=1">q</a>'
    sent = site.send(html, list_id="news", subject="secret for Ada", metadata={"user": "secret"})
    bob = Reader(site.client, site.send(HTML, BOB, subject="Bob's"))
    ada = Reader(site.client, sent)
    for link in ("mine", "go", "q"):
        ada.click(link)
    ada.open()
    bob.open()
    site.client.post(unsubscribe_path(sent), data={"action": "reason", "reason": "other", "comment": "secret"})
    before = site.mailtrack.stats()
    spools = [journal.spools[0] for journal in site.mailtrack._state().journals]
    spools[0].quarantine(b'00000000 {"k":"message","recipient":"ada@example.com"}', "checksum")
    spools[1].quarantine(b'00000000 {"k":"message","recipient":"bob@example.com"}', "checksum")
    done = site.mailtrack.erase("Ada@Example.com")
    assert (done.messages, done.optouts, done.links, done.quarantined) == (1, 1, 1, 1)
    assert done.events == 5
    forget(site)
    assert not (spools[0].directory / "bad-events.jsonl").read_text()
    assert "bob@" in (spools[1].directory / "bad-optouts.jsonl").read_text()
    assert site.mailtrack.stats() == before
    assert {
        (e.ip, e.user_agent, e.comment) for e in site.rows("Event") if e.message_id == site.rows("Message")[0].id
    } == {("", "", "")}
    assert sorted(e.url for e in site.rows("Event") if e.type == "clicked") == [
        "https://example.com/",
        "https://example.com/me",
        "https://x.com/",
    ]
    (row,) = site.rows("OptOut")
    assert row.recipient.startswith("ref:")
    assert site.send(HTML, list_id="news") == []
    # A later hit does not bring the person back, and is answered.
    assert ada.click("mine").location == "https://example.com/me?mail=ada%40example.com"
    ada.open()
    assert site.mailtrack.stats().clicked == before.clicked
    assert site.rows("Message")[1].recipient == BOB
    forgotten = site.rows("Message")[-1]  # the one that was not sent: it was written after the erasure
    assert (forgotten.status, forgotten.recipient) == ("suppressed", ADA)
    again = site.mailtrack.erase(ADA)
    assert (again.messages, again.optouts, again.events) == (1, 0, 0)
    assert site.mailtrack.erase(ADA).messages == 0
    site.client.post(preferences(sent), data={"action": "undo"})
    assert site.rows("OptOut") == []
    forget(site)


def test_erasing_keeps_what_the_host_has_set(site: Site) -> None:
    """A complaint outlives the erasure, no old link lifts it, and the host still can."""
    sent = site.send(HTML, list_id="news")
    site.mailtrack.suppress(ADA, reason="complaint")
    site.mailtrack.erase(ADA)
    site.client.post(preferences(sent), data={"action": "undo_all"})
    assert site.send(HTML, list_id="news") == []
    site.mailtrack.unsuppress(ADA)
    assert site.send(HTML, list_id="news") != []


def test_an_erasure_takes_what_is_still_in_the_spool(make_site: MakeSite) -> None:
    """What has not been drained is drained first, so nothing comes after."""
    site = make_site(MAILTRACK_DRAIN="manual")
    Reader(site.client, site.send(HTML)).open()
    assert site.mailtrack.erase(ADA).events == 1
    site.mailtrack.flush()
    forget(site)


def test_all_that_is_known_is_handed_over(database_url: str, make_site: MakeSite) -> None:
    """Messages, events, opt-outs and audit, as JSON with times that say their zone."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    sent = site.send(HTML, list_id="news", tag="t", metadata={"n": 1})
    site.send(HTML, BOB)
    Reader(site.client, sent).open()
    site.client.post(unsubscribe_path(sent), data={"List-Unsubscribe": "One-Click"})
    found = json.loads(json.dumps(site.mailtrack.export("ADA@example.com")))
    assert [(m["recipient"], m["tag"], m["details"]) for m in found["messages"]] == [(ADA, "t", {"n": 1})]
    assert [e["type"] for e in found["events"]] == ["opened", "unsubscribed"]
    assert [(o["list_id"], o["method"]) for o in found["optouts"]] == [("news", "one_click")]
    assert [(a["change"], a["source"]) for a in found["audit"]] == [
        ("unsubscribed", f"message:{site.rows('Message')[0].id}")
    ]
    moment = datetime.fromisoformat(found["messages"][0]["created_at"])
    assert moment.utcoffset() == timedelta(0)
    assert abs(now() - moment) < timedelta(minutes=5)
    assert site.mailtrack.export("nobody@example.com")["messages"] == []


def test_each_change_leaves_its_proof(database_url: str, make_site: MakeSite) -> None:
    """By link, page, code and command: when, how and through which message; it outlives purge and erasure."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    sent = site.send(HTML, list_id="news")
    site.client.post(unsubscribe_path(sent), data={"List-Unsubscribe": "One-Click"})
    site.client.post(unsubscribe_path(sent), data={"List-Unsubscribe": "One-Click"})
    site.client.post(preferences(sent), data={"action": "undo"})
    site.client.post(preferences(sent), data={"action": "decline"})
    site.mailtrack.suppress(ADA, method="phone", by="Mara")
    site.mailtrack.unsuppress(ADA, by="Mara")
    assert site.mailtrack.erase(ADA, by="Ben").messages == 1
    assert site.mailtrack.erase(ADA, by="Ben").messages == 0
    trail = site.mailtrack._state().people.audit("Ada@example.com")
    assert [(row["change"], row["list_id"], row["method"]) for row in trail] == [
        ("unsubscribed", "news", "one_click"),
        ("subscribed", "news", "preferences"),
        ("declined", "", "preferences"),
        ("unsubscribed", "", "phone"),
        ("subscribed", "", "api"),
        ("erased", "", "erase"),
    ]
    assert {row["source"].partition(":")[0] for row in trail} == {"message", "phone", "api", "erase"}
    assert [row["actor"] for row in trail] == [None, None, None, "Mara", "Mara", "Ben"]
    assert ADA not in json.dumps(trail)


def test_a_tenant_hands_over_and_forgets_its_own(database_url: str, make_site: MakeSite) -> None:
    """Inside a scope, a person is known and forgotten by that mail alone; what is outside stays, and is not told."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    mine, theirs, other = (
        site.send(HTML, sender=f"n@{name}.example", list_id=list_id)
        for name, list_id in (("mine", "news"), ("theirs", "offers"), ("theirs", ""))
    )
    for sent in (mine, theirs, other):
        Reader(site.client, sent).open()
    site.client.post(unsubscribe_path(mine), data={"List-Unsubscribe": "One-Click"})
    site.client.post(preferences(theirs), data={"action": "unsubscribe_all"})
    site.mailtrack.suppress(ADA, "offers", by="Them")
    site.mailtrack.suppress(ADA, tracking=True)
    scope = Scope(sender_domains={"mine.example"})
    found = site.mailtrack.export(ADA, within=scope)
    assert [each["sender"] for each in found["messages"]] == ["n@mine.example"]
    assert [each["type"] for each in found["events"]] == ["opened", "unsubscribed"]
    assert [each["list_id"] for each in found["optouts"]] == ["news"]
    assert [(each["change"], each["list_id"]) for each in found["audit"]] == [("unsubscribed", "news")]
    assert site.mailtrack.export(ADA, within=Scope(tags=()))["messages"] == []
    whole = site.mailtrack.export(ADA)
    done = site.mailtrack.erase(ADA, within=scope, by="Mara")
    assert (done.messages, done.events, done.optouts, done.links) == (1, 2, 1, 0)
    assert site.mailtrack.erase(ADA, within=scope) == Erased()
    left = site.mailtrack.export(ADA)
    assert left["messages"] == [each for each in whole["messages"] if each["sender"] != "n@mine.example"]
    stands = {(each["recipient"] == ADA, each["list_id"], each["kind"]) for each in left["optouts"]}
    assert stands == {
        (False, "news", "unsubscribe"),
        (True, "offers", "unsubscribe"),
        (True, "", "unsubscribe"),
        (True, "", "tracking"),
    }
    assert left["audit"][-1]["actor"] == "Mara"
    for list_id in ("news", "offers"):
        assert site.send(HTML, list_id=list_id) == []


def test_a_record_of_before_there_were_names_is_read(site: Site) -> None:
    """A suppression that an earlier version has written names nobody, and holds."""
    people = site.mailtrack._state().people
    said = to_json(people.suppression(ADA, out=True, list_id="news", kind=OptOutKind.UNSUBSCRIBE, method="api", by="x"))
    del said["actor"]
    people._journals[-1].append(said, sync=True)
    site.mailtrack.flush()
    assert [row.actor for row in site.rows("Audit")] == [None]
    assert site.send(HTML, list_id="news") == []


def test_a_replay_leaves_no_second_proof(site: Site) -> None:
    """What was committed, but not taken out of the spool before a crash, changes nothing the second time."""
    spool = site.mailtrack._state().journals[1]
    site.mailtrack.suppress(ADA)
    site.mailtrack.unsuppress(ADA)
    rows = len(site.rows("Audit"))
    change = site.mailtrack._state().people.suppression(
        ADA, out=True, list_id="", kind=OptOutKind.UNSUBSCRIBE, method="api"
    )
    for _ in range(2):
        spool.append(to_json(change))
        site.mailtrack.flush()
        site.mailtrack.unsuppress(ADA)
    assert len(site.rows("Audit")) == rows + 2
    assert site.rows("OptOut") == []


def aged(site: Site, days: float) -> None:
    """Make everything that is there older."""
    then = now() - timedelta(days=days)
    floor = first_id(then).int
    with site.db.engine.begin() as connection:
        for model in (site.mailtrack.models.Message, site.mailtrack.models.Event):
            table = model.__table__
            for number, row in enumerate(connection.execute(sa.select(table)).mappings().all(), 1):
                change: dict[str, Any] = {}
                if table.name.endswith("event"):
                    change = {"message_id": uuid.UUID(int=floor + 1), "occurred_at": then}
                else:
                    change = {"id": uuid.UUID(int=floor + number), "created_at": then}
                connection.execute(sa.update(table).where(table.c.id == row["id"]).values(change))


def test_what_is_too_old_is_purged(database_url: str, make_site: MakeSite) -> None:
    """Events and messages go when their time is over, in small steps; opt-outs and their proof stay."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_KEEP_DAYS={"events": 10, "messages": 30})
    run = site.app.test_cli_runner()
    sent = site.send(HTML, list_id="news")
    Reader(site.client, sent).open()
    site.client.post(unsubscribe_path(sent), data={"List-Unsubscribe": "One-Click"})
    aged(site, 20)
    fresh = Reader(site.client, site.send(HTML, BOB))
    fresh.open()
    assert "2 events" in run.invoke(args=["mailtrack", "purge", "--dry-run"]).output
    assert len(site.rows("Event")) == 3
    output = run.invoke(args=["mailtrack", "purge"]).output
    assert "2 events" in output
    assert "0 messages" in output
    assert [e.type for e in site.rows("Event")] == ["opened"]
    assert [m.open_count for m in site.rows("Message")] == [1, 1]
    aged(site, 40)
    run.invoke(args=["mailtrack", "purge"])
    assert site.rows("Message") == site.rows("Event") == []
    assert len(site.rows("OptOut")) == len(site.rows("Audit")) == 1


def test_a_hit_on_a_mail_whose_events_are_purged_is_not_kept(make_site: MakeSite, monkeypatch: Any) -> None:
    """It would be purged at once, and the counts, taken from the events, would forget those before it."""
    site = make_site(MAILTRACK_KEEP_DAYS={"events": 10})
    reader = Reader(site.client, site.send(HTML))
    reader.open()
    later = now() + timedelta(days=11)
    monkeypatch.setattr("flask_mailtrack.storage.tables.unwanted.now", lambda: later)
    assert reader.click("go").status_code == 302
    assert [e.type for e in site.rows("Event")] == ["opened"]
    assert site.rows("Message")[0].open_count == 1


def test_without_a_limit_nothing_is_purged(site: Site) -> None:
    """The command says that everything is kept."""
    site.send(HTML)
    assert "kept" in site.app.test_cli_runner().invoke(args=["mailtrack", "purge"]).output
    assert len(site.rows("Message")) == 1


def test_the_first_id_of_a_moment() -> None:
    """Ids made before a moment are below its first, ids made after it are not."""
    moment = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    assert (
        first_id(moment - timedelta(milliseconds=1)) < first_id(moment) < first_id(moment + timedelta(milliseconds=1))
    )


def test_the_commands(site: Site, tmp_path: Path) -> None:
    """A person's rows can be shown, erased and proved from the command line; erasing asks first."""
    run = site.app.test_cli_runner()
    sent = site.send(HTML, list_id="news")
    site.client.post(unsubscribe_path(sent), data={"List-Unsubscribe": "One-Click"})
    assert json.loads(run.invoke(args=["mailtrack", "export", ADA]).output)["address"] == ADA
    assert run.invoke(args=["mailtrack", "erase", ADA], input="n\n").exit_code == 1
    assert site.rows("Message")[0].recipient == ADA
    assert "1 messages" in run.invoke(args=["mailtrack", "erase", ADA, "--yes", "--by", "Mara"]).output
    assert "unsubscribed  news  one_click  message:" in run.invoke(args=["mailtrack", "audit", ADA]).output
    assert "erase  erase  by Mara" in run.invoke(args=["mailtrack", "audit", ADA]).output
    assert json.loads(run.invoke(args=["mailtrack", "audit", ADA, "--json"]).output)[0]["list_id"] == "news"
    assert "nothing" in run.invoke(args=["mailtrack", "audit", BOB]).output


def test_a_link_and_the_host_are_told_apart_by_signals(site: Site) -> None:
    """A suppression is no unsubscribe: who counts those is not told of it."""
    told: list[Any] = []

    def receiver(app: Any, event: Any) -> None:
        told.append(event)

    with recipient_unsubscribed.connected_to(receiver):
        site.mailtrack.suppress(ADA)
    assert told == []


def test_hits_wait_while_consent_cannot_be_read(make_site: MakeSite) -> None:
    """A database that is away is no answer: mail goes out untracked, hits stay in the spool until it is back."""
    away: list[bool] = []

    def consent(addresses: Collection[str], purpose: str) -> Any:
        if away:
            raise sa.exc.OperationalError("", {}, Exception("away"))
        return dict.fromkeys(addresses, "granted")

    site = make_site(mailtrack={"consent": consent})
    ada = Reader(site.client, site.send(HTML))
    away.append(True)
    assert ada.open().status_code == 200
    assert "/m/o/" not in site.send(HTML).html
    assert site.rows("Event") == []
    away.clear()
    site.mailtrack.flush()
    assert [e.type for e in site.rows("Event")] == ["opened"]


def test_s59_an_erasure_takes_no_address_for_another(site: Site) -> None:
    """s59: wildcards in an address mean themselves, and the end of a longer address is not a shorter one."""
    mine, others = "a_a%40example.com", ("aXa%40example.com", "ba_a%40example.com")
    html = "".join(f'<a href="https://example.com/?m={whose}">x</a>' for whose in (mine, *others))
    site.send(html, ["a_a@example.com", "axa@example.com", "%@example.com"])
    site.mailtrack.erase("a_a@example.com")
    site.mailtrack.erase("%@example.com")
    assert sorted(m.recipient for m in site.rows("Message")) == ["", "", "axa@example.com"]
    assert sorted(k.url for k in site.rows("Link")) == [f"https://example.com/?m={whose}" for whose in others]


def test_nobody_is_taken_for_another_whose_address_is_longer() -> None:
    """An address is found where it stands by itself, in URLs, JSON and text, and only there."""
    found = mention(["b@example.com", "b%40example.com"])
    for text in ("B@Example.com", "<b@example.com>", "?m=b%40example.com&x", "%3Db%40example.com", "\\nb@example.com."):
        assert found.search(text), text
    for text in (
        "bob@example.com",
        "a.b@example.com",
        "b@example.community",
        "b@example.com.au",
        "m=bob%40example.com",
    ):
        assert not found.search(text), text


def test_who_was_erased_can_still_leave(site: Site) -> None:
    """A link of a mail whose row names nobody any more unsubscribes the person whom it was sent to."""
    sent = site.send(HTML, list_id="news")
    site.mailtrack.erase(ADA)
    assert site.client.post(unsubscribe_path(sent), data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert site.send(HTML, list_id="news") == []
    assert site.send(HTML, BOB, list_id="news") != []


def test_s66_what_is_erased_stays_out_after_a_rotation(make_site: MakeSite, database_url: str) -> None:
    """s66: with a new signing key in front, and the old one still in the list, the hash is found under the old one."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    site.mailtrack.suppress(ADA, "news")
    site.mailtrack.erase(ADA)
    later = make_site(
        SQLALCHEMY_DATABASE_URI=database_url,
        SECRET_KEY="a newer secret that is long enough",
        SECRET_KEY_FALLBACKS=[site.app.config["SECRET_KEY"]],
    )
    assert later.send(HTML, list_id="news") == []
    assert [row["change"] for row in later.mailtrack._state().people.audit(ADA)] == ["unsubscribed", "erased"]
    later.mailtrack.unsuppress(ADA, "news")
    assert later.send(HTML, list_id="news") != []


def test_a_newer_link_lifts_what_stands_under_an_older_key(database_url: str, make_site: MakeSite) -> None:
    """Left by a link of before a rotation, whose mail is purged: the page of a newer mail undoes it for good."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    older = unsubscribe_path(site.send(HTML, list_id="news"))
    site.mailtrack.flush()
    with site.db.engine.begin() as connection:
        connection.execute(sa.delete(site.mailtrack.models.Message))
    later = make_site(
        SQLALCHEMY_DATABASE_URI=database_url,
        SECRET_KEY="a newer secret that is long enough",
        SECRET_KEY_FALLBACKS=[site.app.config["SECRET_KEY"]],
    )
    newer = unsubscribe_path(later.send(HTML, list_id="news"))
    later.client.post(older, data={"List-Unsubscribe": "One-Click"})
    later.mailtrack.flush()
    assert [row.recipient[:4] for row in later.rows("OptOut")] == ["ref:"]
    assert later.send(HTML, list_id="news") == []
    page = later.client.get(newer).text
    shown = page.partition('name="shown" value="')[2].partition('"')[0]
    answer = later.client.post(newer, data={"action": "undo_all", "shown": shown}, headers={"Accept-Language": "en"})
    assert "You are subscribed again" in answer.text
    later.mailtrack.flush()
    assert later.rows("OptOut") == []
    assert later.send(HTML, list_id="news") != []


def test_s106_an_erasure_follows_no_link_out_of_the_journal(site: Site, tmp_path: Path) -> None:
    """s106: A file that somebody has put into the directory under our name is neither read nor replaced."""
    spool = site.mailtrack._state().journals[0].spools[0]
    make(spool.directory)
    spool.quarantine(b'00000000 {"recipient":"ada@example.com"}', "checksum")
    outside = tmp_path / "outside"
    outside.write_text("ada@example.com\n")
    (spool.directory / "bad-link.jsonl").symlink_to(outside)
    assert site.mailtrack.erase(ADA).quarantined == 1
    assert outside.read_text() == "ada@example.com\n"
    assert (spool.directory / "bad-events.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("address", ["jürgen@example.com", "o'brien@example.com", "b@example.com", "a\\b@example.com"])
def test_an_erasure_finds_an_address_as_the_quarantine_spells_it(site: Site, address: str) -> None:
    """Letters and quotes that JSON escapes, once for the record and once for the line, are found."""
    spool = site.mailtrack._state().journals[0].spools[0]
    make(spool.directory)
    spool.quarantine(encode({"recipient": address, "details": {"s": {1}}}), "details")
    spool.quarantine(encode({"recipient": "bob@example.com"}), "details")
    assert site.mailtrack.erase(address).quarantined == 1


def test_s86_a_command_takes_an_address_for_what_it_is(site: Site) -> None:
    """s86: A dash in front is no option behind --, and nothing that is typed or stored commands the terminal."""
    run = site.app.test_cli_runner()
    assert (
        run.invoke(args=["mailtrack", "suppress", "add", "--reason", "\x1b[31mred", "--", "-x@example.com"]).exit_code
        == 0
    )
    assert [o.recipient for o in site.rows("OptOut")] == ["-x@example.com"]
    for args in (["suppress", "list"], ["suppress", "add", "\x1b[31m"], ["suppress", "export"]):
        output = run.invoke(args=["mailtrack", *args]).output
        assert output
        assert args[-1] == "export" or "\x1b" not in output


def erased_or_purged(site: Site, how: str) -> None:
    """Make Ada gone, in one of the ways in which people go."""
    if how == "erase":
        site.mailtrack.erase(ADA)
    else:
        with site.db.engine.begin() as connection:
            connection.execute(site.mailtrack.models.Message.__table__.delete())


@pytest.mark.parametrize("how", ["erase", "purge"])
def test_nothing_personal_is_stored_about_a_person_who_is_gone(how: str, make_site: MakeSite) -> None:
    """After an erasure, or a purge of the mail, old links act, and say nothing of who has used them."""
    site = make_site(MAILTRACK_HONEYPOT=True, MAILTRACK_IP="full")
    sent = site.send(HTML, list_id="news")
    trap = sent.html[sent.html.index("/m/h/") :].partition('"')[0]
    erased_or_purged(site, how)
    reason = {"action": "reason", "reason": "other", "comment": "I am Ada"}
    for path, form in (
        (unsubscribe_path(sent), {"List-Unsubscribe": "One-Click"}),
        (unsubscribe_path(sent), reason),
        (preferences(sent), {"action": "undo"}),
        (unsubscribe_path(sent), reason),
        (preferences(sent), {"action": "decline"}),
        (preferences(sent), {"action": "accept"}),
    ):
        assert site.client.post(path, data=form).status_code == 200
    assert site.client.get(trap).status_code == 204
    kept = site.rows("Event")
    types = {"unsubscribed", "subscribed", "declined", "accepted"}
    assert {e.type for e in kept} == types | ({"trapped"} if how == "purge" else set())
    assert {(e.ip, e.user_agent, e.comment) for e in kept} == {("", "", "")}
    assert {o.comment for o in site.rows("OptOut")} == {""}


def test_an_old_hit_on_a_mail_that_is_purged_says_nothing_of_its_reader(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can find whose it is any more. A hit on a mail of this hour waits for the row of its mail."""
    site = make_site(MAILTRACK_IP="full")
    reader = Reader(site.client, site.send(HTML))
    erased_or_purged(site, "purge")
    reader.click("go")
    later = now() + timedelta(hours=2)
    monkeypatch.setattr("flask_mailtrack.storage.tables.unwanted.now", lambda: later)
    reader.click("go")
    assert [bool(e.ip and e.user_agent) for e in site.rows("Event")] == [True, False]


def test_what_hangs_on_a_mail_that_is_gone_is_found(database_url: str, make_site: MakeSite) -> None:
    """By who has acted through its links: their events are handed over, and forgotten, without the mail's row."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_IP="full")
    sent, other = site.send(HTML, list_id="news"), site.send(HTML, BOB, list_id="news")
    for mail in (sent, other):
        Reader(site.client, mail).open()
        site.client.post(unsubscribe_path(mail), data={"action": "reason", "reason": "other", "comment": "secret"})
    mine = site.rows("Message")[0].id
    erased_or_purged(site, "purge")
    events = site.mailtrack.export(ADA)["events"]
    assert [(e["type"], e["message_id"], bool(e["ip"])) for e in events] == [
        ("opened", str(mine), True),
        ("unsubscribed", str(mine), True),
    ]
    assert site.mailtrack.erase(ADA).events == 2
    assert {(e.ip, e.user_agent, e.comment) for e in site.rows("Event") if e.message_id == mine} == {("", "", "")}
    assert {bool(e.ip) for e in site.rows("Event") if e.message_id != mine} == {True}
    assert site.mailtrack.erase(ADA).events == 0


@pytest.mark.parametrize("keep", [{"messages": 30}, {"messages": 30, "events": 300}])
def test_what_hangs_on_a_mail_goes_with_it(database_url: str, make_site: MakeSite, keep: dict[str, float]) -> None:
    """When a mail is purged its events go, or, where events are kept longer, what they say of a person."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_KEEP_DAYS=keep)
    reader = Reader(site.client, site.send(HTML))
    reader.open()
    reader.click("go")
    aged(site, 40)
    fresh = Reader(site.client, site.send(HTML, BOB))
    fresh.open()
    site.app.test_cli_runner().invoke(args=["mailtrack", "purge"])
    told = [(e.type, bool(e.ip or e.user_agent)) for e in site.rows("Event")]
    assert told == ([("opened", False), ("clicked", False)] if "events" in keep else []) + [("opened", True)]


def test_an_erasure_takes_the_names_of_links(database_url: str, make_site: MakeSite) -> None:
    """A link named after the person loses its name, whoever got and followed it, and other links keep theirs."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    html = '<a href="https://example.com/a">Write to Ada@Example.com</a> <a href="https://example.com/b">bada@example.com</a>'
    for to in (ADA, BOB):
        for link in Reader(site.client, site.send(html, to)).links:
            site.client.get(link.url)
    assert site.mailtrack.erase(ADA).links == 1
    assert sorted(e.link_name for e in site.rows("Event")) == ["", "", "bada@example.com", "bada@example.com"]
    assert sorted((row.url, row.name) for row in site.rows("Link")) == [
        ("https://example.com/a", ""),
        ("https://example.com/b", "bada@example.com"),
    ]
    with site.db.engine.connect() as connection:
        for model in (site.mailtrack.models.Event, site.mailtrack.models.Link):
            for row in connection.execute(sa.select(model.__table__)):
                assert "ada@" not in repr(row).lower().replace("bada@", ""), model


def test_an_erasure_takes_the_address_out_of_what_was_said_to_others(database_url: str, make_site: MakeSite) -> None:
    """In one copy for several people a server's words about one may stand in the rows of the others."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_SPLIT=False)
    site.send("<p>Hello</p>", [ADA, BOB])
    table = site.mailtrack.models.Message.__table__
    with site.db.engine.begin() as connection:
        connection.execute(table.update().values(error="550 <Ada@example.com> is full; 550 <bada@example.com> is gone"))
    site.mailtrack.erase(ADA)
    assert {(m.recipient, m.error) for m in site.rows("Message")} == {
        ("", ""),
        (BOB, "550 <> is full; 550 <bada@example.com> is gone"),
    }


def test_after_a_no_nothing_says_who_has_used_a_link(make_site: MakeSite) -> None:
    """Who does not want to be measured can act through their mails, the hidden link included, and leaves no trace."""
    site = make_site(MAILTRACK_HONEYPOT=True)
    sent = site.send(HTML, list_id="news")
    trap = sent.html[sent.html.index("/m/h/") :].partition('"')[0]
    site.client.post(preferences(sent), data={"action": "decline"})
    site.client.get(trap)
    site.client.post(unsubscribe_path(sent), data={"action": "reason", "reason": "other", "comment": "Too much"})
    assert [(e.type, e.ip, e.user_agent) for e in site.rows("Event")] == [
        ("declined", "", ""),
        ("unsubscribed", "", ""),
    ]
    site.client.post(preferences(sent), data={"action": "accept"})
    site.client.get(trap)
    assert [e.type for e in site.rows("Event")][-1] == "trapped"
