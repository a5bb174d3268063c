"""Labels: what is remembered of one hit says of the next what the rules would have said."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from conftest import MakeSite

from flask_mailtrack.events import EventType, Hit, Verdict
from flask_mailtrack.incoming.hits import Label, Labels
from flask_mailtrack.incoming.verdict import Evidence, judge
from flask_mailtrack.modes import Mode
from flask_mailtrack.networks import NOWHERE, Network
from flask_mailtrack.storage.records import decode, from_json, to_json
from flask_mailtrack.testing import BROWSER, Reader
from flask_mailtrack.thresholds import Thresholds

USUAL = BROWSER["User-Agent"]
STALE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/88.0.4324.150 Safari/537.36"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
HTML = '<p>Hello <a href="https://shop.example.com/x?a=1&amp;b=ö">x</a></p>'
LIMITS = Thresholds()
LITTLE = {"MAILTRACK_USER_AGENT": "family", "MAILTRACK_IP": "none"}
HEADERS: list[dict[str, str]] = [{}, {"accept-language": "en"}, {"sec-purpose": "prefetch"}]
NETWORKS = [NOWHERE, Network("probable", "x"), Network("apple", "apple"), Network("certain", "x")]
AGES = [-9, *(edge + by for edge in (0, 3, 30, 60, 600) for by in (-0.001, 0, 0.001)), 9_000]


class Given:
    """As much of the settings as a label is made of."""

    limits = LIMITS
    verdicts = True
    user_agent = "full"


@pytest.mark.parametrize("kind", [EventType.OPENED, EventType.CLICKED])
@pytest.mark.parametrize("user_agent", [USUAL, STALE, GMAIL, "", "Mozilla/5.0", "curl/8", "Dalvik/2.1.0"])
def test_a_label_has_the_verdict_of_its_hit(kind: EventType, user_agent: str) -> None:
    """Ages between two thresholds share a label, and each gets the verdict that its own age would get."""
    labels = Labels(Given())  # type: ignore[arg-type]
    for network, headers, age in product(NETWORKS, HEADERS, AGES):
        judged = judge(Evidence(kind, user_agent, headers, age, network=network), LIMITS)
        label = labels.of(Mode.INDIVIDUAL, kind, user_agent, headers, network, age)
        assert label.fields.get("verdict", "unknown") == judged.verdict
        assert label.fields["verdict_reasons"] == judged.reasons
        assert label.fields.get("provider", "") == judged.provider
        assert label.proxied == (judged.verdict == Verdict.PROXY)


def test_a_huge_header_is_not_remembered_whole() -> None:
    """A client that sends long headers fills no memory: they are one as far as they are read."""
    labels = Labels(Given())  # type: ignore[arg-type]

    def label(agent: str, language: str) -> Label:
        return labels.of(Mode.INDIVIDUAL, EventType.OPENED, agent, {"accept-language": language}, NOWHERE, 9.0)

    assert label("x" * 600 + "a", "y" * 600 + "a") is label("x" * 600 + "b", "y" * 600 + "b")
    assert label("x" * 500, "") is not label("x" * 600, "")


@pytest.mark.parametrize("path", ["/o/", "/c/", "/h/"])
@pytest.mark.parametrize("agent", [USUAL, GMAIL, "", "Dalvik/2.1.0"])
@pytest.mark.parametrize("kept", [{}, LITTLE], ids=["default", "little"])
def test_a_line_of_the_spool_is_that_of_a_hit(make_site: MakeSite, path: str, agent: str, kept: dict[str, Any]) -> None:
    """What a hit is written down as, without making one, is what a Hit would have been written down as."""
    site = make_site(MAILTRACK_DRAIN="manual", MAILTRACK_HONEYPOT=True, **kept)
    sent = site.send(HTML)
    site.mailtrack.flush()
    url = next(each for each in (*Reader(site.client, sent)._page.images, *hrefs(sent.html)) if path in each)
    assert site.client.get(url, headers={"User-Agent": agent}).status_code in (200, 204, 302)
    journal = site.mailtrack._state().journals[0]
    (segment,) = journal.directory.glob("events-*")
    body = decode(segment.read_bytes())
    hit = from_json(body)
    assert isinstance(hit, Hit)
    assert json.loads(json.dumps(to_json(hit))) == body


def hrefs(html: str) -> list[str]:
    """Every address in *html*."""
    return [part.partition('"')[0] for part in html.split('href="')[1:]]
