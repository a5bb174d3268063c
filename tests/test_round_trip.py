"""The backbone: over real SMTP, out of the MIME bytes, through the browser's eyes, into the row."""

from __future__ import annotations

import email.policy
import re
from email.message import EmailMessage
from itertools import cycle
from pathlib import Path

import pytest
from browser_view import hrefs, html_of, normal_newlines, outlook_hrefs, path_of, pixels, same_destination
from conftest import BASE_URL, Inbox, MakeSite, Site
from documents import DOCUMENTS, Document
from thorough import share

from flask_mailtrack.outgoing.mime import Mime
from flask_mailtrack.signals import link_clicked
from flask_mailtrack.testing import BROWSER, Reader

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"
TRACKED = re.compile(r"https://links\.example\.com/m/c/[a-z2-7]{68}/[A-Za-z0-9_-]+")
AMP = re.compile(r"<html[^>]*\s(?:⚡4email|amp4email)", re.IGNORECASE)  # a plain image is not allowed there
PIXEL = re.compile(r'<img src="https://links\.example\.com/m/o/[a-z2-7]{68}\.gif"[^>]*>')


@pytest.fixture(name="real")
def _real(make_site: MakeSite, smtp: Inbox) -> Site:
    return make_site(MAIL_SUPPRESS_SEND=False, MAIL_SERVER="127.0.0.1", MAIL_PORT=smtp.port)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_each_link_leads_where_the_author_said(document: Document, real: Site, smtp: Inbox) -> None:
    """A reader who follows any link of any mail arrives at exactly the author's URL, and the row is there."""
    real.send(document.html, tag="trip")
    html = html_of(smtp.envelopes[0].content)
    links = [href for href in hrefs(html) if href.startswith(BASE_URL)]
    outlook = outlook_hrefs(html)
    assert len(links) == len(document.links)
    assert len(outlook) == len(document.outlook)
    for href, url in zip(links + outlook, document.links + document.outlook, strict=True):
        answer = real.client.get(path_of(href), headers=BROWSER)
        assert answer.status_code == 302
        assert same_destination(answer.headers["Location"], url)
        assert real.rows("Event")[-1].url == url
    (pixel,) = pixels(html, BASE_URL)
    real.client.get(path_of(pixel), headers=BROWSER)
    assert real.rows("Event")[-1].type == "opened"
    (message,) = real.rows("Message")
    assert message.click_count == len(links + outlook)
    assert (message.open_count, message.tracks_opens, message.tracks_clicks, message.error) == (1, True, True, "")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: d.name)
def test_nothing_but_hrefs_and_the_pixel_differs(document: Document, real: Site, smtp: Inbox) -> None:
    """Put the author's URLs back and take the pixel out, and the mail is the author's, byte for byte."""
    real.send(document.html)
    sent = html_of(smtp.envelopes[0].content)
    assert all(len(line) <= 998 for line in smtp.envelopes[0].content.split(b"\r\n"))
    _assert_only_links_differ(document.html, sent)


_VALUES = {'"': re.compile(r"\"[^\"]*\"|[^\s\"'>]+"), "'": re.compile("'[^']*'")}
"""The author's value behind each quote of ours: an unquoted one gains its quotes."""


def _assert_only_links_differ(author: str, sent: str, pixels: int = 1) -> None:
    """Where a tracked URL stands, the author's text must have an href value, and be equal everywhere else."""
    assert len(PIXEL.findall(sent)) == pixels
    first, *pieces = TRACKED.split(PIXEL.sub("", normal_newlines(sent)).rstrip("\n"))
    theirs, at = re.sub(r"\sdata-mailtrack=\"off\"", "", normal_newlines(author).rstrip("\n")), 0
    for piece in pieces:
        assert piece[0] == first[-1]
        assert theirs.startswith(first[:-1], at)
        value = _VALUES[piece[0]].match(theirs, at + len(first) - 1)
        assert value
        at, first = value.end(), piece[1:]
    assert theirs[at:] == first


def _corpus() -> list[tuple[str, str]]:
    rows = (CORPUS / "MANIFEST.tsv").read_text(encoding="utf-8").splitlines()[1:]
    columns = [row.split("\t") for row in rows]
    return [(c[3], (CORPUS / c[3]).read_bytes().decode(c[4])) for c in share(columns)]


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real mails is not part of this repository")
def test_every_real_mail_is_sent_undamaged(make_site: MakeSite, smtp: Inbox) -> None:
    """Hundreds of real mails reach the server as their authors wrote them, and their links lead where they led."""
    server = {"MAIL_SUPPRESS_SEND": False, "MAIL_SERVER": "127.0.0.1", "MAIL_PORT": smtp.port}
    # Some of these mails have another service's way out, which would rightly be filled in.
    site = make_site(MAILTRACK_DRAIN="manual", MAILTRACK_FOREIGN_PLACEHOLDERS=False, **server)
    documents = _corpus()
    wrong, tracked, clicks = [], 0, 0
    for name, html in documents:
        site.send(html)
        assert all(len(line) <= 998 for line in smtp.envelopes[-1].content.split(b"\r\n"))
        sent = html_of(smtp.envelopes[-1].content)
        try:
            if PIXEL.search(sent) or TRACKED.search(sent):
                tracked += 1
                _assert_only_links_differ(html, sent, pixels=0 if AMP.search(html) else 1)
                clicks += _follow_all(site, html, sent)
            else:
                assert normal_newlines(sent).rstrip("\n") == normal_newlines(html).rstrip("\n")
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    assert wrong == []
    assert len(smtp.envelopes) == len(documents)
    assert tracked >= 0.98 * len(documents)
    site.mailtrack.flush()
    assert len(site.rows("Event")) == clicks > len(documents)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real mails is not part of this repository")
def test_every_real_mail_that_is_handed_in_as_bytes_is_undamaged(make_site: MakeSite) -> None:
    """In any encoding, with a text and an attachment: outside the page each octet is the author's."""
    site = make_site(MAILTRACK_DRAIN="manual", MAILTRACK_FOREIGN_PLACEHOLDERS=False)
    wrong, tracked = [], 0
    for (name, html), encoding in zip(_corpus(), cycle(["8bit", "base64", "quoted-printable"]), strict=False):
        message = EmailMessage(policy=email.policy.SMTP)
        message["From"], message["To"], message["Subject"] = "a@example.org", "b@example.com", "Hello"
        message.set_content("Hello\n")
        short = max(map(len, html.encode("utf-8", "replace").splitlines()), default=0) < 900
        message.add_alternative(html, subtype="html", cte=encoding if short else "base64")
        message.add_attachment(b"\0\1\n", maintype="application", subtype="octet-stream", filename="a.bin")
        raw = message.as_bytes()
        (copy,) = site.mailtrack.prepare(raw)
        part, sent = Mime(raw).parts["html"], Mime(copy.as_bytes()).parts["html"]
        try:
            if PIXEL.search(sent.text) or TRACKED.search(sent.text):
                tracked += 1
                _assert_only_links_differ(html, sent.text, pixels=0 if AMP.search(html) else 1)
            else:
                assert copy.as_bytes() == raw
            assert copy.as_bytes()[: part.start] == raw[: part.start]
            assert copy.as_bytes().endswith(raw[part.end :])
        except AssertionError as error:
            wrong.append(f"{name}: {error}")
    assert wrong == []
    assert tracked >= 0.98 * len(_corpus())


def _follow_all(site: Site, author: str, sent: str) -> int:
    """Follow each tracked link that a browser sees, and arrive where the author's own would have led."""
    followed = 0
    for href, url in zip(hrefs(sent), hrefs(author), strict=True):
        if href.startswith(BASE_URL):
            answer = site.client.get(path_of(href))
            assert same_destination(answer.headers["Location"], url)
            followed += 1
        else:
            assert href == url
    return followed


def test_a_scanner_that_looks_like_a_person(make_site: MakeSite) -> None:
    """Whoever follows every link of a mail at once is found out, also for the first click, and the figures know."""
    site = make_site(MAILTRACK_THRESHOLDS={"sweep": 10})
    html = "".join(f'<a href="https://example.com/{n}">{n}</a>' for n in range(4))
    heard: list[tuple[str, str]] = []
    with link_clicked.connected_to(lambda app, event: heard.append((event.verdict, event.first_verdict))):
        reader = Reader(site.client, site.send(html))
        for link in range(3):
            reader.click(link)
        assert site.mailtrack.stats().clicked.total == 3
        reader.click(3)
    (message,) = site.rows("Message")
    assert (message.link_count, message.clicked_at, message.click_count, message.machine_count) == (4, None, 0, 4)
    assert [(e.verdict, e.verdict_reasons, e.first_verdict) for e in site.rows("Event")] == [
        ("scanner", ["sweep"], "human")
    ] * 4
    assert site.mailtrack.stats().clicked.total == 0
    # Each click was announced once, with what was known then.
    assert heard == [("human", "")] * 3 + [("scanner", "human")]


def test_a_host_without_verdicts(make_site: MakeSite) -> None:
    """With verdicts off a script that follows every link at once is a person, and keeps being one."""
    site = make_site(MAILTRACK_VERDICTS=False, MAILTRACK_THRESHOLDS={"sweep": 10, "burst": 5})
    html = "".join(f'<a href="https://example.com/{n}">{n}</a>' for n in range(4))
    reader = Reader(site.client, site.send(html), {"User-Agent": "python-requests/2.28.2"})
    for link in range(4):
        reader.click(link)
    assert [(event.verdict, event.verdict_reasons) for event in site.rows("Event")] == [("human", ["verdicts_off"])] * 4
    assert site.mailtrack.stats().clicked.total == 4


@pytest.mark.parametrize(("oldest", "verdict"), [(100, "scanner"), (80, "human")])
def test_a_host_with_thresholds_of_its_own(oldest: int, verdict: str, make_site: MakeSite) -> None:
    """A threshold that a host moves is the one by which its readers are judged."""
    site = make_site(MAILTRACK_THRESHOLDS={"min_chrome": oldest})
    headers = {
        "User-Agent": "Mozilla/5.0 (Windows NT 10.0) Chrome/88.0.4324.150 Safari/537.36",
        "Accept-Language": "en",
    }
    Reader(site.client, site.send('<a href="https://example.com/">a</a>'), headers).click()
    assert [event.verdict for event in site.rows("Event")] == [verdict]
