"""What reports find, in the language of who reads the page: no sentence of theirs stays English."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from html import unescape
from itertools import product
from typing import Any

import pytest
from catalogues import PLACEHOLDER, TRANSLATED, catalogue, phrases
from conftest import MakeSite, Site
from console_visitor import Visitor
from reporting.test_attention import TODAY, domain, health, mailing
from reporting.test_reports import event, message

from flask_mailtrack.events import REASONS, EventType, Status, Verdict
from flask_mailtrack.languages import words
from flask_mailtrack.phrases import Phrase
from flask_mailtrack.reporting import timeline
from flask_mailtrack.reporting.attention import of_domains, of_journal
from flask_mailtrack.reporting.check import findings
from flask_mailtrack.reporting.decisions import domain_findings, switch_findings

CATALOGUES = {language: catalogue(language) for language in TRANSLATED}


def untranslated(said: Iterable[object]) -> set[str]:
    """Return the templates of phrases, and of the phrases within them, that some language does not know."""
    missing: set[str] = set()
    for phrase in said:
        if isinstance(phrase, (list, tuple)):
            missing |= untranslated(phrase)
        if not isinstance(phrase, Phrase):
            continue
        missing |= untranslated(phrase.values.values())
        texts = {phrase.template, phrase.many} - {""}
        letters = {text for text in texts if re.search("[a-z]", PLACEHOLDER.sub("", text))}
        missing |= {text for text in letters for known in CATALOGUES.values() if text not in known}
    return missing


def test_every_rule_and_every_event_is_told_in_each_language() -> None:
    """Whoever did whatever by whatever rule: the sentence and its reason are translated."""
    said: list[Phrase] = [timeline.because([rule]) for rule in timeline._WHY]
    said.append(timeline.because([f"weak:{'+'.join(timeline._SIGNS)}"]))
    assert all(said)
    for kind, verdict, provider in product(EventType, [*Verdict, "of_long_ago"], ("", "google")):
        for client, system in product(("", "Firefox"), ("", "Linux")):
            for reason, list_id in (("", ""), ("other", "news"), ("hard", ""), ("soft", "")):
                row = {"type": kind, "verdict": verdict, "provider": provider, "client": client, "os": system}
                row |= {"comment": "550 <ada@example.com>" if client else ""}
                row |= {"link_name": "", "url": "https://example.net/", "reason": reason, "list_id": list_id}
                said.append(timeline.sentence_of(row))
    assert untranslated(said) == set()
    assert untranslated(map(Phrase.of, REASONS.values())) == set()


def test_every_concern_is_told_in_each_language(site: Site) -> None:
    """Each kind of what needs attention is translated."""
    for days in (40, 30, 20):
        mailing(site, days)
    mailing(site, 5, opened=3, left=12, failed=5, machines=3)
    found = list(site.mailtrack.reports.attention())
    for status in ("not_verified", "pending", "verified"):
        about = {"status": status, "failing_since": TODAY, "certificate_ends": TODAY + timedelta(days=5)}
        found += of_domains([domain(**about)], TODAY)
    ill = {"oldest_seconds": 301.0, "rows": 7, "last_error": "OperationalError", "lost": 1, "bad": 2}
    found += of_journal(health(**ill))
    kinds = {"opens", "unsubscribes", "failed", "machines", "domain", "certificate", "journal", "quarantine"}
    assert {each.kind for each in found} == kinds
    assert untranslated(each.text for each in found) == set()


def test_every_note_of_a_timeline_is_told_in_each_language(site: Site) -> None:
    """Why something did not happen, or cannot show, is translated for each fate of a mail."""
    abouts: list[dict[str, Any]] = [{"status": status, "error": "550 no"} for status in Status]
    abouts += [{"mode": "aggregate"}, {"mode": "deliverability"}, {"recipient": ""}]
    abouts += [{"tracks_opens": False, "tracks_clicks": False, "shared": True}]
    for about in abouts:
        found = site.mailtrack.reports.timeline(message(site, **about))
        assert untranslated(found.notes) == set()
        assert all(isinstance(note, Phrase) for note in found.notes)


def test_every_finding_is_told_in_each_language(make_site: MakeSite) -> None:
    """What the check finds of an app is translated, as well as it or as badly."""
    sites = [make_site(), make_site(tables=False), make_site(MAILTRACK_ENABLED=False)]
    found = []
    for site in sites:
        state = site.mailtrack._state_of(site.app)
        with site.app.app_context():
            found += findings(site.app, state.settings, state.database, state.journals, state.stream, lambda: ["X"])
            found += switch_findings(state.administration.settings.overview(), paused=True)
    rows = [
        domain(status=status, checked_at=TODAY, certificate_ends=ends, sender_domains=users)
        for status in ("not_verified", "pending", "verified")
        for ends in (None, TODAY + timedelta(days=5), TODAY + timedelta(days=20))
        for users in ((), ("example.com",))
    ]
    found += [*domain_findings(rows, []), *domain_findings(rows, ["click.example.com"], can_check=False)]
    assert untranslated(each.text for each in found) == set()
    assert {"C10", "C13", "C30", "C40", "C41", "C43", "C44", "C63", "C64"} <= {each.code for each in found}


def of_english() -> list[str]:
    """Return what stands between the places of each phrase, if it is long enough to be told from a name."""
    parts = {part.strip() for text in phrases() for part in PLACEHOLDER.split(text) if part}
    return sorted(part for part in parts if len(part) > 14 and " " in part and not part.startswith("flask mailtrack"))


ENGLISH = of_english()


@pytest.mark.parametrize("language", ["de", "ar"])
def test_no_page_says_a_phrase_in_english(site: Site, language: str) -> None:
    """A German, and a reader of Arabic, meet no English sentence on the pages that show what reports found."""
    for days in (40, 30, 20):
        mailing(site, days)
    mailing(site, 5, opened=3, left=12, failed=5, machines=3)
    key = message(site, TODAY - timedelta(hours=2), shared=True)
    for verdict in Verdict:
        event(site, key, TODAY - timedelta(hours=1), verdict=verdict, verdict_reasons=["ua_browser"])
    event(site, key, TODAY - timedelta(minutes=50), EventType.UNSUBSCRIBED, reason="other", list_id="news")
    visitor = Visitor(site)
    for path in ("/", "/health", "/machines", "/live", f"/messages/{key}"):
        page = unescape(visitor.get(path, headers={"Accept-Language": language}))
        assert f'<html lang="{language}"' in page
        assert [part for part in ENGLISH if part in page] == []
    assert words(language).say(timeline.because(["ua_browser"])) in page
