"""Events reach the endpoints of others: signed, at least once, and never where they should not go."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import trustme
from conftest import MakeSite, Site
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from tls_server import Received, web_server

from flask_mailtrack.events import EventType, Hit, SentMessage, Status, new_id, now
from flask_mailtrack.storage.records import to_json
from flask_mailtrack.testing import SCANNER, Reader
from flask_mailtrack.webhooks import courier as couriers
from flask_mailtrack.webhooks.courier import Courier, backoff

HTML = '<a href="https://example.com/tea">tea</a>'
SECRET, NEWER = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


@dataclass
class Receiver:
    """A receiver on loopback, over plain HTTP."""

    port: int = 0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?team=1"

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.received]

    def told(self) -> dict[str, Any]:
        """The last body, whose signature is right."""
        headers, body = self.received[-1]
        told: dict[str, Any] = Webhook(SECRET).verify(body, headers)
        return told


@contextmanager
def receiving(status: int = 200) -> Iterator[Receiver]:
    """Run a receiver."""
    found = Receiver(status=status)
    with web_server(lambda *_: (found.status, found.headers, "thanks"), received=found.received) as found.port:
        yield found


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def hooks(*receivers: Receiver, **options: Any) -> dict[str, Any]:
    """The configuration of receivers on loopback."""
    about = {"secret": SECRET, "allow_http": True, "allow_private": True} | options
    return {each.url: about for each in receivers}


@pytest.fixture(name="told")
def _told(make_site: MakeSite, receiver: Receiver) -> Site:
    """An app that tells the receiver of everything."""
    return make_site(MAILTRACK_WEBHOOKS=hooks(receiver))


def run(site: Site, *arguments: str) -> str:
    """Run one of our commands."""
    return str(site.app.test_cli_runner().invoke(args=["mailtrack", "webhooks", *arguments]).output)


def deliver(site: Site) -> int:
    """Deliver what is due."""
    return site.mailtrack._state().couriers.run()


def later(site: Site, **passed: float) -> None:
    """Let time pass for the deliveries: they were made earlier."""
    table = site.mailtrack.models.Delivery.__table__
    rows = site.db.session.execute(sa.select(table.c.id, table.c.due_at, table.c.ends_at)).all()
    for key, *moments in rows:
        due, ends = (moment - timedelta(**passed) for moment in moments)
        site.db.session.execute(sa.update(table).where(table.c.id == key).values(due_at=due, ends_at=ends))
    site.db.session.commit()
    for each in site.mailtrack._state().couriers.every:
        each._rests_until = 0.0


def test_a_receiver_hears_what_became_of_a_mail(told: Site, receiver: Receiver) -> None:
    """Sending, opens, clicks and unsubscribes arrive, signed, each with its message and its verdict."""
    mail = told.send(HTML, tag="tea", list_id="news", metadata={"order": 7})
    Reader(told.client, mail, SCANNER).open()
    Reader(told.client, mail).click("tea")
    Reader(told.client, mail).unsubscribe()
    told.mailtrack.suppress("bob@example.com", "news", reason="complaint")
    told.mailtrack.unsuppress("bob@example.com", "news")
    assert deliver(told) == 6
    (sent,) = told.rows("Message")
    expected = ["sent", "opened", "clicked", "unsubscribed"]
    assert sorted(receiver.types) == sorted(
        [*(f"message.{each}" for each in expected), "recipient.suppressed", "recipient.released"]
    )
    bodies = {json.loads(body)["type"]: json.loads(body) for _, body in receiver.received}
    clicked = bodies["message.clicked"]
    message = {"id": str(sent.id), "recipient": "ada@example.com", "tag": "tea", "list_id": "news"}
    assert clicked["data"]["message"] == message | {"metadata": {"order": 7}, "mode": "individual", "shared": False}
    assert clicked["data"]["event"]["url"] == "https://example.com/tea"
    assert clicked["data"]["event"]["verdict"] == "human"
    assert bodies["message.opened"]["data"]["event"]["verdict"] == "scanner"
    assert (clicked["schema"], clicked["timestamp"][-1]) == (1, "Z")
    assert bodies["message.sent"]["data"]["message"]["subject"] == "Hello"
    assert bodies["recipient.suppressed"]["data"]["suppression"]["recipient"] == "bob@example.com"
    assert receiver.told()["schema"] == 1
    ids = [headers["webhook-id"] for headers, _ in receiver.received]
    assert len(set(ids)) == 6
    assert [each for each in ids if "." in each] == []
    assert deliver(told) == 0
    assert {(row.state, row.body) for row in told.rows("Delivery")} == {("delivered", "")}


def test_a_receiver_hears_what_servers_tell(told: Site, receiver: Receiver) -> None:
    """A bounce that a service tells later comes with its message, as every event does; and so does its consequence."""
    told.send()
    (sent,) = told.rows("Message")
    bounced = Hit(new_id(), sent.id, EventType.BOUNCED, now(), reason="hard")
    told.mailtrack._state().journals[0].append(to_json(bounced))
    told.mailtrack.flush()
    assert deliver(told) == 3
    types = [json.loads(body)["type"] for _, body in receiver.received]
    assert sorted(types) == ["message.bounced", "message.sent", "recipient.suppressed"]
    body = next(json.loads(body) for _, body in receiver.received if b"message.bounced" in body)
    assert (body["type"], body["data"]["event"]["reason"]) == ("message.bounced", "hard")
    assert body["data"]["message"]["recipient"] == "ada@example.com"


def test_an_endpoint_hears_of_its_events_only(make_site: MakeSite, receiver: Receiver) -> None:
    """Each endpoint has its own events, and an event that nobody wants is not written."""
    with receiving() as other:
        configured = hooks(receiver, events=["message.clicked"]) | hooks(other, events=["message.sent"])
        site = make_site(MAILTRACK_WEBHOOKS=configured)
        Reader(site.client, site.send(HTML)).open()
        assert deliver(site) == 1
        assert (receiver.types, other.types) == ([], ["message.sent"])


def test_an_app_without_webhooks_needs_no_table(make_site: MakeSite) -> None:
    """A host that has not migrated yet, and has no webhook, tracks and forgets people as before."""
    site = make_site()
    site.mailtrack.models.Delivery.__table__.drop(site.db.engine)
    Reader(site.client, site.send(HTML)).click("tea")
    assert [event.type for event in site.rows("Event")] == ["clicked"]
    assert site.mailtrack.erase("ada@example.com").messages == 1
    assert site.mailtrack._state().chores() is not None


def test_every_secret_signs(make_site: MakeSite, receiver: Receiver) -> None:
    """While a secret is changed, a receiver with the old one and a receiver with the new one take the same post."""
    site = make_site(MAILTRACK_WEBHOOKS=hooks(receiver, secret=[NEWER, SECRET], events=["message.sent"]))
    site.send()
    deliver(site)
    headers, body = receiver.received[0]
    for secret in (NEWER, SECRET):
        assert Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)


def test_a_record_that_comes_again_is_not_told_again(told: Site, receiver: Receiver) -> None:
    """A replay after a crash, a recovery from the log and a rebuild write nothing into the outbox."""
    Reader(told.client, told.send(HTML)).open()
    assert deliver(told) == 2
    state, (event,) = told.mailtrack._state(), told.rows("Event")
    told.db.session.execute(sa.delete(told.mailtrack.models.Delivery))
    told.db.session.commit()
    hit = Hit(event.id, event.message_id, EventType.OPENED, event.occurred_at)
    state.journals[0].append(to_json(hit))
    told.mailtrack.flush()
    told.app.test_cli_runner().invoke(args=["mailtrack", "rebuild"])
    assert told.rows("Delivery") == []


def test_a_failed_delivery_is_tried_again_for_three_days(told: Site, receiver: Receiver) -> None:
    """The same bytes under the same id are posted again; after the last one it is put aside, and shown."""
    receiver.status = 500
    told.send()
    assert deliver(told) == 0
    (row,) = told.rows("Delivery")
    assert (row.state, row.attempts, row.status, row.error) == ("waiting", 1, 500, "the answer was 500")
    assert now() < row.due_at <= now() + timedelta(seconds=5)
    assert deliver(told) == 0  # it is not due yet
    assert len(receiver.received) == 1
    later(told, minutes=1)
    deliver(told)
    (first, body), (second, again) = receiver.received
    assert (first["webhook-id"], body) == (second["webhook-id"], again)
    later(told, days=3)
    deliver(told)
    (row,) = told.rows("Delivery")
    assert (row.state, row.attempts) == ("dead", 3)
    shown = run(told, "list")
    assert "0 waiting, 1 dead" in shown
    assert "the answer was 500" in shown
    assert "team=1" not in shown
    assert (told.mailtrack.health().webhooks_dead, told.mailtrack.health().ok) == (1, True)
    assert 'mailtrack_webhooks{state="dead"} 1.0' in told.mailtrack.metrics()
    checked = told.app.test_cli_runner().invoke(args=["mailtrack", "check"])
    assert "warning C33  1 webhook was put aside" in checked.output
    receiver.status = 200
    assert "1 delivery" in run(told, "retry")
    assert deliver(told) == 1


def test_an_endpoint_that_is_gone_is_not_asked_again(told: Site, receiver: Receiver) -> None:
    """410 means that nobody wants it any more: the delivery is put aside at once."""
    receiver.status = 410
    told.send()
    deliver(told)
    assert [row.state for row in told.rows("Delivery")] == ["dead"]


def test_redirects_are_not_followed(told: Site, receiver: Receiver) -> None:
    """A redirect could lead inside the network, so it is a failure."""
    receiver.status, receiver.headers = 307, {"Location": "http://127.0.0.1:1/"}
    told.send()
    deliver(told)
    (row,) = told.rows("Delivery")
    assert (row.state, row.error) == ("waiting", "the answer was 307, and redirects are not followed")


def test_a_busy_endpoint_is_left_alone(told: Site, receiver: Receiver) -> None:
    """After 429 the other deliveries wait untried, for as long as the endpoint asks."""
    receiver.status, receiver.headers = 429, {"Retry-After": "120"}
    told.send(to=["ada@example.com", "bob@example.com", "cyd@example.com"])
    assert deliver(told) == deliver(told) == 0
    assert len(receiver.received) == 1
    rows = told.rows("Delivery")
    assert sorted(row.attempts for row in rows) == [0, 0, 1]
    assert max(row.due_at for row in rows) > now() + timedelta(seconds=110)
    receiver.status = 200
    later(told, minutes=3)
    assert deliver(told) == 3


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["10.0.0.1"], ["8.8.8.8", "169.254.169.254"], ["::1"], ["64:ff9b::7f00:1"], []]
)
def test_private_addresses_are_refused(make_site: MakeSite, receiver: Receiver, addresses: list[str]) -> None:
    """What leads inside, or does so at one of its addresses, is not asked: the address counts, not the name."""
    site = make_site(MAILTRACK_WEBHOOKS=hooks(receiver, allow_private=False))
    state = site.mailtrack._state()
    (endpoint,) = state.settings.webhooks.values()
    reply = Courier(endpoint, state.couriers.outbox, resolve=lambda *_: addresses).test()
    assert (reply.status, "address" in reply.error) == (None, True)
    assert receiver.received == []


def test_a_name_that_leads_elsewhere_meanwhile_leads_nowhere(
    make_site: MakeSite, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked up once; the connection goes to the address that was judged (DNS rebinding)."""
    site = make_site(MAILTRACK_WEBHOOKS={f"http://hook.example:{receiver.port}/": next(iter(hooks(receiver).values()))})
    asked: list[str] = []
    state = site.mailtrack._state()
    (endpoint,) = state.settings.webhooks.values()

    def look_up(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    assert Courier(endpoint, state.couriers.outbox, resolve=look_up).test().status == 200
    assert (asked, receiver.received[0][0]["Host"]) == (["hook.example"], f"hook.example:{receiver.port}")


def test_tls_is_verified_by_name(make_site: MakeSite, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver with a good certificate is told, and one with a certificate for another name is not."""
    authority, received = trustme.CA(), list[Received]()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    about = {"secret": SECRET, "allow_private": True}
    for name, error in (("hook.example", ""), ("other.example", "TLS failed (CERTIFICATE_VERIFY_FAILED)")):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        with web_server(lambda *_: (204, {}, ""), context, received) as port:
            site = make_site(MAILTRACK_WEBHOOKS={f"https://hook.example:{port}/hook": about})
            state = site.mailtrack._state()
            (endpoint,) = state.settings.webhooks.values()
            reply = Courier(endpoint, state.couriers.outbox, resolve=lambda *_: ["127.0.0.1"]).test()
        assert reply.error == error
    assert len(received) == 1


def test_a_slow_endpoint_holds_nobody_up(make_site: MakeSite, receiver: Receiver) -> None:
    """While one endpoint does not answer, the other one has its delivery, and the drain goes on."""
    release, asked, late = threading.Event(), threading.Event(), list[Received]()

    def slow(*_: str) -> tuple[int, dict[str, str], str]:
        asked.set()
        release.wait(10)
        return 200, {}, ""

    with web_server(slow, received=late) as port, ExitStack() as stack:
        slower = Receiver(port=port)
        site = make_site(MAILTRACK_WEBHOOKS=hooks(slower, receiver, events=["message.sent"]))
        site.send()
        chores = site.mailtrack._state().couriers.chores()
        for chore in chores:
            chore.wake()
        stack.callback(lambda: [each._thread.join(10) for each in chores if each._thread])
        stack.callback(release.set)
        assert asked.wait(10)
        quick = next(each for each in chores if receiver_key(site, receiver) in each._name)
        assert quick._thread is not None
        quick._thread.join(10)
        assert receiver.types == ["message.sent"]
        site.send(to="bob@example.com")
        assert len(site.rows("Message")) == 2
        assert len(late) == 1


def receiver_key(site: Site, receiver: Receiver) -> str:
    return str(site.mailtrack._state().settings.webhooks[receiver.url].key)


def test_an_answer_byte_by_byte_is_given_up(told: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends a byte now and then holds a courier for a limited time only."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                while not over.wait(0.02):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        monkeypatch.setattr(couriers, "SECONDS", 0.2)
        state = told.mailtrack._state()
        (endpoint,) = state.settings.webhooks.values()
        dripping = replace(endpoint, url=f"http://127.0.0.1:{server.getsockname()[1]}/")
        reply = Courier(dripping, state.couriers.outbox).test()
        over.set()
        thread.join()
    assert "no answer" in reply.error


def test_what_a_dead_process_had_comes_back(told: Site, receiver: Receiver) -> None:
    """A process that dies between claim and delivery loses nothing, and if it wakes up late, it changes nothing."""
    told.send()
    outbox, (endpoint,) = told.mailtrack._state().couriers.outbox, told.mailtrack._state().settings.webhooks.values()
    (claimed,) = outbox.claim(endpoint.key, 5, timedelta(minutes=5))
    assert deliver(told) == 0  # nobody else may have it yet
    later(told, minutes=6)
    assert deliver(told) == 1
    assert outbox.delivered([claimed]) == 0
    outbox.failed(claimed, timedelta(0), None, "late", final=True)
    assert [row.state for row in told.rows("Delivery")] == ["delivered"]
    assert len(receiver.received) == 1


def test_two_workers_share_the_work(make_site: MakeSite, receiver: Receiver, database_url: str) -> None:
    """On each database, workers that claim at the same moment never get the same delivery, and together get all."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url, MAILTRACK_WEBHOOKS=hooks(receiver, events=["message.sent"]))
    site.send(to=[f"p{n}@example.com" for n in range(40)])
    (endpoint,) = site.mailtrack._state().settings.webhooks.values()
    outbox = site.mailtrack._state().couriers.outbox
    got: list[list[Any]] = [[], [], [], []]
    begin = threading.Barrier(len(got))

    def work(mine: list[Any]) -> None:
        begin.wait()
        while outbox.backlogs()[0].number > len({each for some in got for each in some}):
            mine.extend(each.id for each in outbox.claim(endpoint.key, 5, timedelta(minutes=5)))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    every = [each for some in got for each in some]
    assert len(every) == len(set(every)) == 40


def test_a_forgotten_person_is_not_told_about(told: Site, receiver: Receiver) -> None:
    """What waits about a person goes with the person; what waits about others stays."""
    Reader(told.client, told.send(HTML)).open()
    told.send(to="bob@example.com")
    told.mailtrack.suppress("ada@example.com")
    assert len(told.rows("Delivery")) == 4
    told.mailtrack.erase("ada@example.com")
    assert deliver(told) == 1
    assert b"ada@example.com" not in b"".join(body for _, body in receiver.received)


def test_the_fate_of_a_forgotten_person_names_nobody(told: Site, receiver: Receiver) -> None:
    """A fate that reaches the database after the person was forgotten is told without address and subject."""
    state = told.mailtrack._state()
    texts = ("ada@example.com", "shop@example.org", "Your order", "<1@example.org>")
    begun = SentMessage(new_id(), new_id(), *texts, created_at=now())
    for record in (begun, begun._replace(status=Status.FAILED, error="550 ada@example.com is unknown")):
        state.journals[0].append(to_json(record))
        told.mailtrack.flush()
        told.mailtrack.erase("ada@example.com")
    (row,) = told.rows("Delivery")
    assert (row.type, row.about) == ("message.failed", str(begun.id))
    assert not [text for text in ("ada@", "Your order", "<1@") if text in row.body]


def test_without_an_endpoint_old_rows_go_all_the_same(told: Site, make_site: MakeSite) -> None:
    """A host that takes its last endpoint away does not keep the addresses that waited for it."""
    told.send()
    later(told, days=40)
    site = make_site(tables=False, SQLALCHEMY_DATABASE_URI=told.app.config["SQLALCHEMY_DATABASE_URI"])
    (sweep,) = site.mailtrack._state().couriers.chores()
    sweep.look()
    assert site.rows("Delivery") == []


def test_what_is_over_is_swept(told: Site, receiver: Receiver) -> None:
    """Delivered rows go after a day, dead ones after a month, and waiting ones stay."""
    told.send()
    deliver(told)
    receiver.status = 410
    told.send(to="bob@example.com")
    deliver(told)
    receiver.status = 500
    told.send(to="cyd@example.com")
    deliver(told)
    outbox = told.mailtrack._state().couriers.outbox
    assert outbox.sweep() == 0
    later(told, days=2)
    assert outbox.sweep() == 1
    later(told, days=29)
    assert outbox.sweep() == 1
    assert [row.state for row in told.rows("Delivery")] == ["waiting"]


def test_a_receiver_is_tested_by_hand(told: Site, receiver: Receiver) -> None:
    """`test` posts an event that says nothing, and tells what came back."""
    assert "200" in run(told, "test", receiver.url)
    assert receiver.told()["type"] == "mailtrack.test"
    assert "is not in MAILTRACK_WEBHOOKS" in run(told, "test", "https://other.example/")
    told.send()
    assert "1 delivered" in run(told, "run")


def test_waits_grow_and_are_spread() -> None:
    """The wait before each attempt is drawn from a time that grows to six hours."""
    assert [backoff(n, lambda: 1.0) for n in (1, 2, 3, 99)] == [5, 25, 125, 21_600]
    assert backoff(5, lambda: 0.0) == 1
