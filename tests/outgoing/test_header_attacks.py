"""What a header or a recipient may try, against real SMTP. ``sNN``: security.md, attack NN."""

from __future__ import annotations

import base64
from email import message_from_bytes, policy
from urllib.parse import quote

import pytest
from conftest import BASE_URL, Inbox, MakeSite, Site
from flask import render_template_string
from flask_mail import BadHeaderError

HTML = (
    '<p><a href="https://example.com/">go</a> <a href="{{ unsubscribe_url() }}">out</a> '
    '<a href="{{ preferences_url() }}">choose</a></p>'
)


@pytest.fixture(name="site")
def _site(make_site: MakeSite, smtp: Inbox) -> Site:
    """A site that really sends."""
    return make_site(MAIL_PORT=smtp.port, MAIL_SUPPRESS_SEND=False)


def headers(content: bytes) -> list[tuple[str, str]]:
    """Return the headers of a mail as they left."""
    return [(name.lower(), str(value)) for name, value in message_from_bytes(content, policy=policy.default).items()]


BREAKS = {
    "CRLF": {"X-A": "x\r\nBcc: victim@example.org"},
    "LF": {"X-A": "x\nBcc: victim@example.org"},
    "CR": {"X-A": "x\rBcc: victim@example.org"},
    "NUL": {"X-A": "x\0y"},
    "a name with a line break": {"X-A\r\nBcc": "victim@example.org"},
    "a name with a colon": {"Bcc: victim@example.org, X": "y"},
    "a name that is not ASCII": {"X-Ä": "y"},
}


@pytest.mark.parametrize("extra", BREAKS.values(), ids=list(BREAKS))
def test_a_header_that_breaks_out_stops_the_mail(site: Site, smtp: Inbox, extra: dict[str, str]) -> None:
    """s100: the caller is told before anything is handed to SMTP."""
    with pytest.raises(BadHeaderError):
        site.send(HTML, extra_headers=extra)
    assert smtp.envelopes == []


@pytest.mark.parametrize("value", ["ü" * 400, "x" * 1_500, "word " * 400])
def test_a_long_value_stays_one_header_of_short_lines(site: Site, smtp: Inbox, value: str) -> None:
    """s100: more than 998 octets, or another script, are folded as RFC 5322 asks; nothing becomes a new header."""
    site.send(HTML, extra_headers={"X-Long": value}, list_id="news")
    (envelope,) = smtp.envelopes
    head = envelope.content.split(b"\r\n\r\n")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 998
    names = [name for name, _ in headers(envelope.content)]
    assert names.count("x-long") == names.count("list-unsubscribe") == names.count("list-unsubscribe-post") == 1


@pytest.mark.parametrize("name", ["List-Unsubscribe", "list-unsubscribe", "LIST-UNSUBSCRIBE"])
def test_a_list_unsubscribe_of_the_author_is_kept_alone(site: Site, smtp: Inbox, name: str) -> None:
    """s100: in whatever case it is written, it stays as it is, and is never doubled; RFC 8058 allows only one."""
    site.send(HTML, extra_headers={name: "<mailto:out@example.org>"}, list_id="news")
    (envelope,) = smtp.envelopes
    assert [value for found, value in headers(envelope.content) if found == "list-unsubscribe"] == [
        "<mailto:out@example.org>"
    ]
    assert "list-unsubscribe-post" not in [found for found, _ in headers(envelope.content)]


RECIPIENTS = ["a@b.example\r\nBcc: victim@example.org", "a@b.example\nRCPT TO:<victim@example.org>", "a\r@b.example"]


@pytest.mark.parametrize("recipient", RECIPIENTS, ids=repr)
def test_a_recipient_that_breaks_out_stops_the_mail(site: Site, smtp: Inbox, recipient: str) -> None:
    """s101: neither a header nor an SMTP command can be made of an address; nobody gets anything."""
    with pytest.raises(BadHeaderError):
        site.send(HTML, to=[recipient])
    assert smtp.envelopes == []
    assert site.rows("Message") == []


@pytest.mark.parametrize("recipient", RECIPIENTS, ids=repr)
@pytest.mark.parametrize("field", ["cc", "bcc"])
def test_a_copy_that_breaks_out_is_cut_at_the_line(site: Site, smtp: Inbox, recipient: str, field: str) -> None:
    """s101: there Flask-Mail takes what is before the line break for the address; nobody is smuggled in."""
    site.send(HTML, to=["b@b.example"], **{field: [recipient]})
    assert sorted(envelope.recipients for envelope in smtp.envelopes) == [["a@b.example"], ["b@b.example"]]
    for envelope in smtp.envelopes:
        assert "bcc" not in dict(headers(envelope.content))
        assert b"victim" not in envelope.content


def test_a_leading_hyphen_is_an_address_like_any_other(site: Site, smtp: Inbox) -> None:
    """s101: RFC 5321 allows it, and no command line is made of it here: it is one RCPT TO and nothing else."""
    site.send(HTML, to="-odDb@example.com")
    assert [envelope.recipients for envelope in smtp.envelopes] == [["-odDb@example.com"]]


def test_nobodys_link_is_in_anybody_elses_copy(site: Site, smtp: Inbox) -> None:
    """s102: a mail to several becomes one for each; a Bcc is in no header, link or event, but in its own row."""
    site.send(HTML, to=["ada@example.com"], cc=["bob@example.com"], bcc=["eve@example.com"], list_id="news")
    assert sorted(envelope.recipients for envelope in smtp.envelopes) == [
        [f"{name}@example.com"] for name in ("ada", "bob", "eve")
    ]
    values = {dict(headers(envelope.content))["list-unsubscribe"] for envelope in smtp.envelopes}
    assert len(values) == 3
    for envelope in smtp.envelopes:
        assert b"eve@" not in envelope.content
    site.client.post(next(iter(values)).strip("<>").removeprefix(BASE_URL))
    for row in site.rows("Event"):
        assert "eve@" not in str(vars(row))


def test_no_link_tells_who_gets_it(site: Site, smtp: Inbox) -> None:
    """s103: neither the address nor what the host says of the mail is in a URL, in any usual spelling."""
    secrets = ["ada.lovelace@example.com", "ada.lovelace", "order-4711", "a-tag-of-ours"]
    html = render_template_string(HTML)
    site.send(
        html, body="x", to=secrets[0], list_id="news", tag=secrets[3], metadata={"order": secrets[2]}, subject="x"
    )
    (envelope,) = smtp.envelopes
    links = [part for part in envelope.content.decode().split('"') if part.startswith(BASE_URL)]
    assert len(links) == 4
    text = " ".join([*links, dict(headers(envelope.content))["list-unsubscribe"]])
    for secret in secrets:
        coded = {secret, quote(secret, safe=""), secret.encode().hex()}
        coded |= {f(secret.encode()).decode().rstrip("=")[:-1] for f in (base64.b64encode, base64.b32encode)}
        assert [spelling for spelling in coded if spelling.lower() in text.lower()] == []
