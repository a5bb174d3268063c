"""Services that relay the mail call, and tell what became of it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from conftest import Inbox, MakeSite, Site
from flask_mail import Message
from flask_wtf import CSRFProtect
from service_calls import JSON, KEY, SECRET, TOPIC, _by_svix, address, bounce, call, services, signed

from flask_mailtrack.errors import SpoolError
from flask_mailtrack.events import Kind, born, new_id, now
from flask_mailtrack.incoming.calls import DIALECTS, MAX_CALL
from flask_mailtrack.modes import Mode
from flask_mailtrack.services import CARRIERS
from flask_mailtrack.storage.journal.service_calls import MAX_UNREAD, CallCount, ServiceCalls

EVERY = sorted(DIALECTS)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each refusal written down at once, for the test to read."""
    monkeypatch.setattr("flask_mailtrack.storage.journal.service_calls.SECONDS", 0)


def copy_of(site: Site, row: Any = None) -> str:
    """Return the token of a copy; default: of the newest mail."""
    message = row or site.rows("Message")[-1]
    signer = site.mailtrack._state_of(site.app).signer
    return signer.message(message.id).recipient(Kind.COPY, signer.recipient_refs("ada@example.com")[0])


def counts(site: Site, service: str) -> CallCount:
    """Return what has been counted of a service."""
    return ServiceCalls(site.mailtrack._state_of(site.app).journals[0].directory).read().get(service, CallCount())


def told(site: Site) -> list[tuple[str, str, str]]:
    """Return type, reason and comment of the events."""
    return [(event.type, event.reason, event.comment) for event in site.rows("Event")]


def find(headers: Mapping[str, str], service: str) -> str:
    """Return what a service reads as the token of the copy in the headers of a mail."""
    name, path = CARRIERS[service]
    value: Any = headers[name]
    if path:
        value = json.loads(value)
    for key in path:
        value = value[key]
    return str(value)


@pytest.mark.parametrize("service", EVERY)
def test_a_mail_comes_back(service: str, make_site: MakeSite, smtp: Inbox) -> None:
    """The service finds our token in the octets of each copy, and what it tells with it is an event of that copy."""
    site = make_site(
        MAILTRACK_DOWNSTREAM=service,
        MAILTRACK_SERVICES=services(service),
        **{"TESTING": False, "MAILTRACK_DRAIN": "inline", "MAIL_PORT": smtp.port},
    )
    given = {"X-SMTPAPI": '{"unique_args": {"order": "7"}}', "X-Mailgun-Variables": '{"a": "<b>,<c>"}'}
    site.mail.send(Message("Hello", recipients=["ada@example.com", "bob@example.com"], body="x", extra_headers=given))
    assert len(smtp.envelopes) == 2
    for envelope in smtp.envelopes:
        headers = message_from_bytes(envelope.content, policy=policy.default)
        lines = [line for line in envelope.content.splitlines() if find(headers, service).encode() in line]
        assert len(lines) == 1
        assert max(map(len, lines)) <= 998
        assert call(site, service, bounce(service, find(headers, service), time.time())).status_code == 200
    assert json.loads(headers["X-SMTPAPI"])["unique_args"]["order"] == "7"
    assert json.loads(headers["X-Mailgun-Variables"])["a"] == "<b>,<c>"
    assert told(site) == [("bounced", "hard", "550 5.1.1 No such user")] * 2
    assert {event.message_id for event in site.rows("Event")} == {row.id for row in site.rows("Message")}
    assert {(event.method, event.provider) for event in site.rows("Event")} == {("webhook", service)}
    assert all(row.bounced_at for row in site.rows("Message"))


@pytest.mark.parametrize("service", EVERY)
def test_once_however_often(service: str, make_site: MakeSite) -> None:
    """A service that tells the same again, because no answer reached it, is counted once."""
    site = make_site(MAILTRACK_SERVICES=services(service), MAILTRACK_DRAIN="manual")
    site.send()
    site.mailtrack.flush()
    said = bounce(service, copy_of(site), time.time())
    for _ in range(3):
        answer = call(site, service, said)
        assert (answer.status_code, answer.data) == (200, b"")
        site.mailtrack.flush()
    assert told(site) == [("bounced", "hard", "550 5.1.1 No such user")]
    with site.app.app_context():
        assert site.mailtrack.reports.totals().bounced.total == 1


def test_a_bounce_may_come_before_the_row(make_site: MakeSite) -> None:
    """The journal of one machine may be behind: the bounce waits for the mail, and is counted then."""
    site = make_site(MAILTRACK_SERVICES=services("postmark"), MAILTRACK_DRAIN="manual")
    site.send()
    waiting = [json.loads(line[9:]) for line in _lines(site)]
    (identifier,) = {record["id"] for record in waiting if record["k"] == "message"}
    signer = site.mailtrack._state_of(site.app).signer
    copy = signer.message(UUID(identifier)).recipient(Kind.COPY, "a" * 16)
    call(site, "postmark", bounce("postmark", copy, time.time()))
    site.mailtrack.flush()
    assert site.rows("Message")[0].bounced_at is not None


def _lines(site: Site) -> list[bytes]:
    spool = site.mailtrack._state_of(site.app).journals[0].spools[0]
    return [line for path in spool.files() for line in path.read_bytes().splitlines()]


BAD: dict[str, Any] = {
    "mailgun": lambda body, headers: (body.replace(b"1795766400", b"1795766401"), headers),
    "mandrill": lambda body, headers: (body + b"&more=1", headers),
    "resend": lambda body, headers: (body + b" ", headers),
    "sendcloud": lambda body, headers: (body.replace(b"ttt", b"uuu"), headers),
    "sendgrid": lambda body, headers: (body + b"\r\n", headers),
    "ses": lambda body, headers: (body.replace(b":mail", b":hers"), headers),
}
"""Ways to alter what a service signs."""


@pytest.mark.parametrize("service", sorted(BAD))
def test_whoever_cannot_sign_is_refused(service: str, make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """With an altered call, no signature, or one of another key, nothing is stored, and one line of the log says so."""
    site = make_site(MAILTRACK_SERVICES=services(service))
    site.send()
    body, headers = signed(service, bounce(service, copy_of(site), time.time()))
    altered, same = BAD[service](body, headers)
    for data, given in ((altered, same), (b"", {}), (b"[" * 100_000, same), (b"\xff", headers), (b"{}", headers)):
        answer = site.client.post(address(service), data=data, headers=given)
        assert (answer.status_code, answer.data) == (401, b"")
    assert site.rows("Event") == []
    assert counts(site, service) == CallCount(refused=5)
    assert len([record for record in caplog.records if record.name == "flask_mailtrack.services"]) == 1


def test_an_old_call_of_resend_is_refused(make_site: MakeSite) -> None:
    """Each attempt is signed anew, so a call from an hour ago comes from somebody who has kept it."""
    site = make_site(MAILTRACK_SERVICES=services("resend"))
    headers = {"Content-Type": JSON, **_by_svix(b"{}", time.time() - 3_600)}
    assert site.client.post(address("resend"), data=b"{}", headers=headers).status_code == 401


@pytest.mark.parametrize("service", EVERY)
def test_whoever_does_not_know_the_address_is_refused(service: str, make_site: MakeSite) -> None:
    """A wrong secret, none, one with foreign letters, or a service that is not set up: 401, and nothing is stored."""
    site = make_site(MAILTRACK_SERVICES=services(service))
    site.send()
    body, headers = signed(service, bounce(service, copy_of(site), time.time()))
    other = "postmark" if service != "postmark" else "brevo"
    good = address(service)
    bad = [good[:-1], good + "x", good.upper(), f"/m/in/{service}", "/m/in", f"/m/in/{service}/é", address(other)]
    for path in bad:
        for method in ("POST", "GET"):
            answer = site.client.open(path, method=method, data=body, headers=headers)
            assert (answer.status_code, answer.data) == (401, b""), path
    assert site.rows("Event") == []


def test_secrets_and_keys_are_exchanged_one_by_one(make_site: MakeSite) -> None:
    """The old and the new secret are known at the same time, and so are the keys."""
    both = {"mailgun": {"secret": ["n" * 20, SECRET], "key": ["new key", KEY]}}
    site = make_site(MAILTRACK_SERVICES=both)
    site.send()
    said = bounce("mailgun", copy_of(site), time.time())
    assert call(site, "mailgun", said).status_code == 200
    body, headers = signed("mailgun", said)
    assert site.client.post(f"/m/in/mailgun/{'n' * 20}", data=body, headers=headers).status_code == 200


@pytest.mark.parametrize("front_door", [True, False])
@pytest.mark.parametrize("service", EVERY)
def test_a_service_that_looks_first_is_answered(service: str, front_door: bool, make_site: MakeSite) -> None:
    """Some services ask by GET or HEAD whether somebody is there, before they have shown a key."""
    site = make_site(MAILTRACK_SERVICES=services(service), MAILTRACK_FRONT_DOOR=front_door)
    CSRFProtect(site.app)
    for method in ("GET", "HEAD"):
        answer = site.client.open(address(service), method=method)
        assert (answer.status_code, answer.data) == (200, b"")
    assert site.client.put(address(service)).status_code == 405
    site.send()
    assert call(site, service, bounce(service, copy_of(site), time.time())).status_code == 200
    assert [event.type for event in site.rows("Event")] == ["bounced"]


UNREADABLE = [b"", b"\xff\xfe", b"nothing", b"{", b"[" * 100_000, b"[1, null, []]", b'{"a":' * 500 + b"1" + b"}" * 500]


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:12]))
def test_what_cannot_be_read_is_kept(body: bytes, make_site: MakeSite) -> None:
    """A call of the service itself that nobody can read is answered 200, and lies where the operator finds it."""
    site = make_site(MAILTRACK_SERVICES=services("brevo"))
    answer = site.client.post(address("brevo"), data=body, content_type=JSON)
    assert (answer.status_code, answer.data) == (200, b"")
    (line,) = _unread(site)
    assert line["service"] == "brevo"
    assert line["reason"]
    assert counts(site, "brevo").unread == 1


def _unread(site: Site) -> list[dict[str, Any]]:
    path = site.mailtrack._state_of(site.app).journals[0].directory / "unread-calls.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_one_bad_item_stops_no_other(make_site: MakeSite) -> None:
    """SparkPost resends a whole list for one bad item, so what can be read of a list is taken."""
    site = make_site(MAILTRACK_SERVICES=services("sparkpost"))
    site.send()
    good = bounce("sparkpost", copy_of(site), time.time())
    assert call(site, "sparkpost", [None, {"msys": 1}, *good]).status_code == 200
    assert len(told(site)) == 1
    assert len(_unread(site)) == 1
    assert counts(site, "sparkpost") == CallCount(
        calls=1, events=1, ignored=1, unread=1, last=counts(site, "sparkpost").last
    )


def test_a_call_may_be_as_large_as_the_services_send(make_site: MakeSite) -> None:
    """A list of four megabytes is read whole; what is larger than any service sends is 413, and not read."""
    site = make_site(MAILTRACK_SERVICES=services("sendgrid"))
    site.send()
    (one,) = bounce("sendgrid", copy_of(site), time.time())
    many = [one | {"sg_event_id": str(number), "useragent": "x" * 100_000} for number in range(40)]
    assert call(site, "sendgrid", many).status_code == 200
    assert len(site.rows("Event")) == 40
    answer = site.client.post(address("sendgrid"), data=b"x" * (MAX_CALL + 1))
    assert (answer.status_code, answer.data) == (413, b"")


@pytest.mark.parametrize(("service", "status"), [("postmark", 503), ("brevo", 429)])
def test_without_a_disk_the_service_comes_again(
    service: str, status: int, make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no directory takes the event, the answer is the one after which the service tries again."""
    site = make_site(MAILTRACK_SERVICES=services(service))
    site.send()
    said = bounce(service, copy_of(site), time.time())

    def full(*records: Any, sync: bool = False) -> None:
        raise SpoolError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(site.mailtrack._state_of(site.app).journals[0], "append", full)
        answer = call(site, service, said)
        assert (answer.status_code, answer.headers["Retry-After"]) == (status, "60")
    assert call(site, service, said).status_code == 200
    assert len(told(site)) == 1


def test_mail_of_others_is_counted_and_left_alone(make_site: MakeSite) -> None:
    """The account of the service may send mail of other programs, and its test button a mail of nobody."""
    other = make_site(SECRET_KEY="another secret, of another app")
    site = make_site(MAILTRACK_SERVICES=services("postmark"))
    site.send()
    for copy in ("", "nobody", "a" * 68, copy_of(other, site.rows("Message")[0])):
        assert call(site, "postmark", bounce("postmark", copy, time.time())).status_code == 200
    assert site.rows("Event") == []
    assert counts(site, "postmark").unmatched == 4


OF_POSTMARK = {"MessageID": "0f", "Recipient": "ada@example.com", "DeliveredAt": "2026-11-27T08:00:00Z"}
SAID: list[tuple[str, Any, tuple[str, str, str] | None]] = [
    ("postmark", {"RecordType": "Delivery", "Details": "250 OK"}, ("delivered", "", "250 OK")),
    ("postmark", {"RecordType": "Open"}, None),
    ("postmark", {"RecordType": "Bounce", "Type": "SoftBounce"}, ("bounced", "soft", "")),
    ("postmark", {"RecordType": "Bounce", "Type": "Transient"}, ("deferred", "", "")),
    ("postmark", {"RecordType": "Bounce", "Type": "SpamNotification"}, ("bounced", "soft", "")),
    ("postmark", {"RecordType": "Bounce", "Type": "AutoResponder"}, None),
    ("postmark", {"RecordType": "Bounce", "Type": "NewOne"}, ("bounced", "soft", "")),
    ("postmark", {"RecordType": "SpamComplaint", "Type": "SpamComplaint"}, ("complained", "", "")),
    ("postmark", {"RecordType": "SubscriptionChange", "SuppressSending": False}, None),
    ("mailgun", {"event": "delivered", "delivery-status": {"message": "OK"}}, ("delivered", "", "OK")),
    ("mailgun", {"event": "failed", "severity": "temporary"}, ("deferred", "", "")),
    (
        "mailgun",
        {"event": "failed", "severity": "permanent", "reason": "suppress-x"},
        ("rejected", "", "suppress-x"),
    ),
    ("mailgun", {"event": "failed", "severity": "permanent", "reason": "old"}, ("bounced", "soft", "old")),
    ("mailgun", {"event": "rejected", "reject": {"reason": "virus"}}, ("rejected", "", "virus")),
    ("mailgun", {"event": "complained"}, ("complained", "", "")),
    ("mailgun", {"event": "opened"}, None),
    ("sendgrid", {"event": "processed"}, None),
    ("sendgrid", {"event": "delivered", "response": "250 OK"}, ("delivered", "", "250 OK")),
    ("sendgrid", {"event": "deferred", "response": "451", "attempt": "2"}, ("deferred", "", "451")),
    ("sendgrid", {"event": "bounce", "type": "blocked", "status": "5.7.1"}, ("bounced", "soft", "")),
    ("sendgrid", {"event": "dropped", "reason": "Bounced Address"}, ("rejected", "", "Bounced Address")),
    ("sendgrid", {"event": "spamreport"}, ("complained", "", "")),
    ("sendgrid", {"event": "click", "url": "https://example.com/"}, None),
    ("sparkpost", {"type": "delivery"}, ("delivered", "", "")),
    ("sparkpost", {"type": "delay", "bounce_class": "20", "reason": "451"}, ("deferred", "", "451")),
    ("sparkpost", {"type": "out_of_band", "bounce_class": "60"}, None),
    ("sparkpost", {"type": "out_of_band", "bounce_class": "22"}, ("bounced", "soft", "")),
    ("sparkpost", {"type": "bounce", "bounce_class": "25"}, ("rejected", "", "")),
    ("sparkpost", {"type": "policy_rejection"}, ("rejected", "", "")),
    ("sparkpost", {"type": "spam_complaint"}, ("complained", "", "")),
    ("sparkpost", {"type": "initial_open"}, None),
    ("brevo", {"event": "request"}, None),
    ("brevo", {"event": "delivered"}, ("delivered", "", "")),
    ("brevo", {"event": "soft_bounce", "reason": "mailbox full"}, ("bounced", "soft", "mailbox full")),
    ("brevo", {"event": "blocked"}, ("rejected", "", "")),
    ("brevo", {"event": "complaint"}, ("complained", "", "")),
    ("brevo", {"event": "unique_opened"}, None),
    ("mailjet", {"event": "sent", "smtp_reply": "250 OK"}, ("delivered", "", "250 OK")),
    ("mailjet", {"event": "bounce", "hard_bounce": False, "error": "greylisted"}, ("deferred", "", "greylisted")),
    (
        "mailjet",
        {"event": "bounce", "hard_bounce": False, "error": "quota"},
        ("bounced", "soft", "quota"),
    ),
    ("mailjet", {"event": "blocked", "error": "preblocked"}, ("rejected", "", "preblocked")),
    ("mailjet", {"event": "spam", "source": "JMRPP"}, ("complained", "", "")),
    ("mailjet", {"event": "open"}, None),
    ("resend", {"type": "email.sent"}, None),
    ("resend", {"type": "email.delivered"}, ("delivered", "", "")),
    ("resend", {"type": "email.delivery_delayed"}, ("deferred", "", "")),
    ("resend", {"type": "email.complained"}, ("complained", "", "")),
    ("mandrill", {"event": "send"}, None),
    ("mandrill", {"event": "delivered"}, ("delivered", "", "")),
    ("mandrill", {"event": "deferral"}, ("deferred", "", "")),
    ("mandrill", {"event": "reject"}, ("rejected", "", "")),
    ("mandrill", {"event": "spam"}, ("complained", "", "")),
    ("mandrill", {"type": "blacklist", "action": "add"}, None),
    ("sendcloud", {"event": "deliver"}, ("delivered", "", "")),
    ("sendcloud", {"event": "soft_bounce", "message": "450"}, ("bounced", "soft", "450")),
    ("sendcloud", {"event": "report_spam"}, ("complained", "", "")),
    ("sendcloud", {"event": "open"}, None),
    ("ses", {"eventType": "Send"}, None),
    ("ses", {"eventType": "Delivery", "delivery": {"smtpResponse": "250 OK"}}, ("delivered", "", "250 OK")),
    ("ses", {"notificationType": "Bounce", "bounce": {"bounceType": "Transient"}}, ("bounced", "soft", "")),
    ("ses", {"eventType": "Bounce", "bounce": {"bounceSubType": "Suppressed"}}, ("rejected", "", "")),
    ("ses", {"eventType": "DeliveryDelay", "deliveryDelay": {"delayType": "MailboxFull"}}, ("deferred", "", "")),
    ("ses", {"eventType": "Complaint", "complaint": {}}, ("complained", "", "")),
    ("ses", {"eventType": "Complaint", "complaint": {"complaintFeedbackType": "not-spam"}}, None),
    ("ses", {"eventType": "Reject", "reject": {"reason": "Bad content"}}, ("rejected", "", "Bad content")),
    ("ses", {"eventType": "Rendering Failure", "failure": {"errorMessage": "x"}}, ("rejected", "", "x")),
    ("tencent", {"event": "delivered"}, ("delivered", "", "")),
    ("tencent", {"event": "bounce", "bounceType": "soft"}, ("bounced", "soft", "")),
    ("tencent", {"event": "dropped"}, ("rejected", "", "")),
    ("tencent", {"event": "spamreport"}, ("complained", "", "")),
    ("tencent", {"event": "open"}, None),
    ("alidm", {"type": "dm:Deliver:Fail", "data": {"failed_type": "Spam"}}, ("bounced", "soft", "")),
    ("alidm", {"type": "dm:Feedback:FblReport"}, ("complained", "", "")),
    ("alidm", {"type": "dm:Track:Open"}, None),
]


@pytest.mark.parametrize(("service", "item", "meant"), SAID, ids=lambda value: str(value)[:60])
def test_each_word_of_a_service_has_one_meaning(
    service: str, item: dict[str, Any], meant: tuple[str, str, str] | None
) -> None:
    """Hard is what the service calls so; what it never tried to send is rejected; its opens and clicks are not ours."""
    told_ = {"msys": {"event": item}} if service == "sparkpost" else item
    found = DIALECTS[service].read({"event-data": item} if service == "mailgun" else told_)
    assert (found and (found.type.value, found.reason, found.comment)) == meant


def test_whoever_leaves_at_the_service_has_left(make_site: MakeSite) -> None:
    """The service drops later mail to somebody who has left there, so the list is left here, too, for good."""
    site = make_site(MAILTRACK_SERVICES=services("sendgrid"))
    site.send(list_id="news")
    (one,) = bounce("sendgrid", copy_of(site), time.time())
    for _ in range(2):
        call(site, "sendgrid", [one | {"event": "unsubscribe"}])
    assert [(row.recipient, row.list_id, row.method) for row in site.rows("OptOut")] == [
        ("ada@example.com", "news", "webhook")
    ]
    assert site.send(list_id="news") == []


@pytest.mark.parametrize("said", ["", "x", None, -1, 1e300, float("nan"), [], {}, "0001-01-01T00:00:00Z", 4e9, True])
def test_any_moment_is_taken(said: Any, make_site: MakeSite) -> None:
    """An event with a moment before the mail, far ahead or of no meaning is of now, and still one event."""
    site = make_site(MAILTRACK_SERVICES=services("tencent"))
    site.send()
    item = bounce("tencent", copy_of(site), time.time()) | {"timestamp": said}
    for _ in range(2):
        assert call(site, "tencent", item).status_code == 200
    (event,) = site.rows("Event")
    assert abs((event.occurred_at.replace(tzinfo=None) - now().replace(tzinfo=None)).total_seconds()) < 60


def test_no_token_without_a_service_that_calls(make_site: MakeSite) -> None:
    """Without MAILTRACK_SERVICES a plain mail to three people leaves as one message, and names nobody."""
    site = make_site(MAILTRACK_DOWNSTREAM="postmark")
    with site.mail.record_messages() as outbox:
        site.mail.send(Message("Hello", recipients=["a@example.com", "b@example.com"], body="x"))
    assert len(outbox) == 1
    assert "X-PM-Metadata-mailtrack" not in outbox[0].extra_headers


def test_a_copy_of_several_people_names_nobody(make_site: MakeSite) -> None:
    """With MAILTRACK_SPLIT off one copy goes to all, so what the service tells of it could not be told apart."""
    site = make_site(MAILTRACK_DOWNSTREAM="postmark", MAILTRACK_SERVICES=services("postmark"), MAILTRACK_SPLIT=False)
    several = site.send(to=["a@example.com", "b@example.com"])
    assert "X-PM-Metadata-mailtrack" not in several[0].extra_headers
    assert "X-PM-Metadata-mailtrack" in site.send().extra_headers


def test_mail_that_is_not_kept_names_nobody(make_site: MakeSite) -> None:
    """A mail without a row has nothing to be found by."""
    site = make_site(MAILTRACK_DOWNSTREAM="postmark", MAILTRACK_SERVICES=services("postmark"))
    assert "X-PM-Metadata-mailtrack" not in site.send(store=False).extra_headers


def test_the_header_of_the_author_is_stronger(make_site: MakeSite) -> None:
    """A CustomID of the author stays, and JSON that cannot be merged goes out as it was written."""
    site = make_site(MAILTRACK_DOWNSTREAM="mailjet", MAILTRACK_SERVICES=services("mailjet"))
    assert site.send(extra_headers={"x-mj-customid": "mine"}).extra_headers["x-mj-customid"] == "mine"
    site = make_site(MAILTRACK_DOWNSTREAM="mailgun", MAILTRACK_SERVICES=services("mailgun"))
    assert site.send(extra_headers={"X-Mailgun-Variables": "["}).extra_headers["X-Mailgun-Variables"] == "["


def test_the_log_is_quiet_about_strangers(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody may call as often as they like: one line a minute, and a count."""
    caplog.set_level(logging.WARNING, "flask_mailtrack.services")
    site = make_site()
    for number in range(50):
        site.client.post(f"/m/in/postmark/{new_id()}{number}")
    assert len(caplog.records) == 1
    assert counts(site, "").refused == 50


def test_the_token_of_a_copy_opens_nothing(make_site: MakeSite) -> None:
    """The token stands in a header that servers on the way read: it is no link, and no link is such a token."""
    site = make_site(MAILTRACK_SERVICES=services("postmark"))
    sent = site.send(list_id="news")
    for letter in "uphvc":
        assert site.client.get(f"/m/{letter}/{copy_of(site)}").status_code in (204, 404)
    other = str(sent.extra_headers["List-Unsubscribe"]).strip("<>").rpartition("/")[2]
    call(site, "postmark", bounce("postmark", other, time.time()))
    assert site.rows("Event") == []


def test_the_check_says_what_the_services_have_told(make_site: MakeSite) -> None:
    """The operator sees who has not called, who cannot name the mail, and where the calls lie that nobody can read."""
    site = make_site(MAILTRACK_DOWNSTREAM="postmark", MAILTRACK_SERVICES=services("postmark", "brevo"))
    site.send()

    def found() -> list[str]:
        lines = site.app.test_cli_runner().invoke(args=["mailtrack", "check"]).output.splitlines()
        return [line for line in lines if " C34 " in line]

    first, other = found()
    assert first.endswith("postmark has not called yet: give it the address https://links.example.com/m/in/postmark/…")
    assert other.endswith("brevo cannot name our mail: name it in MAILTRACK_DOWNSTREAM")
    call(site, "postmark", bounce("postmark", copy_of(site), time.time()))
    site.client.post("/m/in/postmark/nobody")
    told_ = "postmark: 1 calls, events of our mail: 1, of other mail: 0; 1 calls refused"
    assert found()[0].endswith(told_)
    site.client.post(address("postmark"), data=b"?")
    assert "unread-calls.jsonl" in found()[0]
    assert SECRET not in "".join(found())


def test_a_topic_asks_to_be_confirmed(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """The operator reads the address in the log and confirms; nothing is asked outside, and a foreign topic is 401."""
    site = make_site(MAILTRACK_SERVICES=services("ses"))
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=1"
    asked = {"Type": "SubscriptionConfirmation", "TopicArn": TOPIC, "SubscribeURL": url}
    assert site.client.post(address("ses"), data=json.dumps(asked)).status_code == 200
    assert [record.getMessage() for record in caplog.records] == [f"SNS asks to confirm {TOPIC}: open {url}"]
    assert site.client.post(address("ses"), data=json.dumps(asked | {"TopicArn": TOPIC + "s"})).status_code == 401
    works = {"Type": "Notification", "TopicArn": TOPIC, "Message": "Successfully validated SNS topic"}
    assert site.client.post(address("ses"), data=json.dumps(works)).status_code == 200
    assert counts(site, "ses").unread == 0
    for other in ("https://bucket.s3.amazonaws.com/", f"{url}\n", url.replace(".com", ".com.evil"), "x", None):
        assert site.client.post(address("ses"), data=json.dumps(asked | {"SubscribeURL": other})).status_code == 200
    assert counts(site, "ses").unread == 5


@pytest.mark.parametrize("service", EVERY)
def test_mail_of_the_other_doors_names_its_copies(service: str, make_site: MakeSite) -> None:
    """A mail that the host sends by itself has the header, too; and JSON of the author, folded over lines, is kept."""
    site = make_site(MAILTRACK_DOWNSTREAM=service, MAILTRACK_SERVICES=services(service))
    written = (
        b"From: news@example.org\r\nTo: ada@example.com, bob@example.com\r\nSubject: Hello\r\n"
        b'X-SMTPAPI: {"unique_args":\r\n {"order": "7"}}\r\nX-MSYS-API: {"campaign_id":\r\n "c"}\r\n\r\nHello\r\n'
    )
    found = []
    for copy in site.mailtrack.prepare(written):
        with copy:
            headers = message_from_bytes(copy.as_bytes(), policy=policy.default)
            found.append(find(headers, service))
            assert json.loads(headers["X-SMTPAPI"])["unique_args"]["order"] == "7"
            assert json.loads(headers["X-MSYS-API"])["campaign_id"] == "c"
            assert len(headers.get_all(CARRIERS[service].header)) == 1
    assert len(set(found)) == 2
    for token in found:
        assert call(site, service, bounce(service, token, time.time())).status_code == 200
    assert [row.bounced_at is not None for row in site.rows("Message")] == [True, True]


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_hears_of_its_mail(mode: Mode, make_site: MakeSite) -> None:
    """Whether a mail came back is no measure of a person, so each mode keeps it, on the row of the copy."""
    site = make_site(
        MAILTRACK_MODE=mode.value, MAILTRACK_DOWNSTREAM="postmark", MAILTRACK_SERVICES=services("postmark")
    )
    sent = site.send('<a href="https://example.com/">x</a>', list_id="news")
    call(site, "postmark", bounce("postmark", sent.extra_headers["X-PM-Metadata-mailtrack"], time.time()))
    assert [row.recipient for row in site.rows("Message") if row.bounced_at] == ["ada@example.com"]
    assert told(site) == [("bounced", "hard", "550 5.1.1 No such user")]


@pytest.mark.parametrize("ahead", [None, 60, 3_600, -600])
def test_an_event_is_of_the_moment_in_its_id(ahead: float | None, make_site: MakeSite) -> None:
    """Reports look for events around their ids, so a missing moment, or one hours ahead, is that of the mail."""
    site = make_site(MAILTRACK_SERVICES=services("tencent"))
    site.send()
    moment = "" if ahead is None else time.time() + ahead
    call(site, "tencent", bounce("tencent", copy_of(site), time.time()) | {"timestamp": moment})
    (event,) = site.rows("Event")
    at = event.occurred_at.replace(tzinfo=None)
    assert abs((born(event.id).replace(tzinfo=None) - at).total_seconds()) < 1
    assert (at - now().replace(tzinfo=None)).total_seconds() < 120


def test_what_a_server_says_is_one_legible_line(make_site: MakeSite) -> None:
    """A server of a stranger cannot turn the text around, colour a terminal, or begin a line."""
    site = make_site(MAILTRACK_SERVICES=services("postmark"))
    site.send()
    said = bounce("postmark", copy_of(site), time.time()) | {"Details": "550\r\n\x1b[31mNo\u202esuch user"}
    said = said | {"Description": said["Details"]}
    call(site, "postmark", said)
    (event,) = site.rows("Event")
    assert event.comment == "550 [31mNo such user"


def test_calls_that_cannot_be_read_take_no_more_than_is_said(tmp_path: Path) -> None:
    """Control characters are six times as long in JSON, and a reason may hold the whole call."""
    calls = ServiceCalls(tmp_path)
    for _ in range(3):
        calls.keep("brevo", "ValueError: " + "x" * MAX_CALL, b"\x01" * MAX_CALL)
    sizes = [path.stat().st_size for path in tmp_path.glob("unread-calls*")]
    assert len(sizes) == 2
    assert max(sizes) <= MAX_UNREAD


def test_counts_wait_for_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is written with the next call."""
    calls = ServiceCalls(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("flask_mailtrack.storage.journal.service_calls.write_note", lambda *_: False)
        calls.count("brevo", calls=1)
    calls.count("brevo", calls=1)
    assert ServiceCalls(tmp_path).read()["brevo"].calls == 2
