"""The verdict on a hit: a person, an image proxy, or one of the machines that read mail before people do.

The verdict is a label and never changes the answer: the pixel is served and the redirect is done in any case.
The verdict rests on one request alone. Rules that need the history of a message are applied later, by
:mod:`flask_mailtrack.storage.tables.second_look`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from flask_mailtrack.agents import Agent, recognise
from flask_mailtrack.config import Settings
from flask_mailtrack.events import OWN_NETWORK, EventType, Hit, Verdict, new_id, now
from flask_mailtrack.networks import NOWHERE, OWN, Network
from flask_mailtrack.privacy import MAX_USER_AGENT, clean, keep_ip
from flask_mailtrack.storage.tables.second_look import Enrichment
from flask_mailtrack.thresholds import DEFAULTS, Thresholds


@dataclass(frozen=True, slots=True)
class Evidence:
    """The evidence of one request.

    :param type: ``OPENED``, or any other type, which is judged like a click.
    :param user_agent: the User-Agent header as it came, of any length and content.
    :param headers: the request's headers; the case of their names does not matter.
    :param age: seconds since the mail was sent. ``None`` if unknown, and negative if clocks disagree. In both
        cases the time is no evidence.
    :param method: the HTTP method.
    :param network: the network of the address, from :meth:`.Networks.find`.
    """

    type: EventType
    user_agent: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    age: float | None = None
    method: str = "GET"
    network: Network = NOWHERE


@dataclass(frozen=True, slots=True)
class Judgement:
    """The label of one hit."""

    verdict: Verdict
    reasons: tuple[str, ...]
    """The reasons, in stable words; never empty."""
    provider: str
    """The owner of the machine: ``google``, ``apple``, ``barracuda``, …; empty if unknown, or a person."""


@dataclass(frozen=True, slots=True)
class _Case:
    """The evidence, with the facts that every rule asks for worked out once."""

    evidence: Evidence
    agent: Agent
    headers: Mapping[str, str]
    thresholds: Thresholds

    @property
    def is_open(self) -> bool:
        return self.evidence.type == EventType.OPENED

    @property
    def provider(self) -> str:
        # A mail client is a person's own program, so its name is not a provider.
        return "" if self.agent.reason == "ua_mail_client" else self.agent.name

    def within(self, seconds: float) -> bool:
        """Whether the hit came less than *seconds* after the mail; false if that is unknown."""
        return self.evidence.age is not None and 0 <= self.evidence.age < seconds

    def judged(self, verdict: Verdict, reason: str, provider: str | None = None) -> Judgement:
        return Judgement(verdict, (reason,), self.provider if provider is None else provider)


Rule = Callable[[_Case], Judgement | None]


def judge(evidence: Evidence, thresholds: Thresholds = DEFAULTS, *, strict: bool = True) -> Judgement:
    """Return the verdict on a hit. Never fails, whatever a client sends.

    :param evidence: the evidence of the request.
    :param thresholds: the limits of the signs that rest on time and version.
    :param strict: off (``MAILTRACK_VERDICTS``): only HEAD requests and requests without a User-Agent, which no
        reader sends, are machines. All others count as people.
    """
    headers = {name.lower(): value for name, value in evidence.headers.items()}
    case = _Case(evidence, recognise(evidence.user_agent), headers, thresholds)
    rules = RULES if strict else LENIENT
    return next(judgement for rule in rules if (judgement := rule(case)))


def hit_of(evidence: Evidence, ip: str | None, settings: Settings, enrichment: Enrichment) -> Hit:
    """Return the hit that a request would be, with the client's facts. Nothing is stored.

    :param ip: the address of the visitor.
    """
    judgement = judge(evidence, settings.limits, strict=settings.verdicts)
    hit = Hit(
        id=new_id(),
        message_id=new_id(),
        type=evidence.type,
        occurred_at=now(),
        ip=keep_ip(ip, settings.ip, b"", now().date()),
        user_agent=clean(evidence.user_agent, MAX_USER_AGENT),
        verdict=judgement.verdict,
        verdict_reasons=judgement.reasons,
        provider=judgement.provider,
    )
    return enrichment.enrich(hit)


def _head(case: _Case) -> Judgement | None:
    """Link checkers ask with HEAD; browsers and mail clients never do."""
    return case.judged(Verdict.SCANNER, "method_head") if case.evidence.method.upper() == "HEAD" else None


_AHEAD = re.compile("prefetch|prerender|preview", re.IGNORECASE)
_AHEAD_HEADERS = ("sec-purpose", "purpose", "x-purpose", "x-moz")
HEADERS_JUDGED = (*_AHEAD_HEADERS, "accept-language")
"""The headers that the rules ask for besides User-Agent. A caller need not give others."""


def _ahead(case: _Case) -> Judgement | None:
    """Believe a browser that says that it loads the page before anybody asked for the page.

    ``Sec-Purpose`` is the standard (https://fetch.spec.whatwg.org/#sec-purpose-header); ``Purpose`` is
    Chrome's, ``X-Purpose`` Safari's and ``X-Moz`` Firefox's older word for it.
    """
    for name in _AHEAD_HEADERS:
        if _AHEAD.search(case.headers.get(name, "")):
            return case.judged(Verdict.PREFETCH, f"header_{name.replace('-', '_')}")
    return None


def _scanner_network(case: _Case) -> Judgement | None:
    """Some networks only filter mail, and nobody reads mail there."""
    network = case.evidence.network
    return case.judged(Verdict.SCANNER, "network_scanner", network.provider) if network.kind == "certain" else None


def _proxy_click(case: _Case) -> Judgement | None:
    """An image proxy that follows a link does not show a mail to anybody."""
    seen = case.agent.reason == "ua_image_proxy" and not case.is_open
    return case.judged(Verdict.SCANNER, "proxy_on_click") if seen else None


def _proxy_at_once(case: _Case) -> Judgement | None:
    """Gmail's proxy also fetches some images within seconds of delivery, without a view."""
    seen = case.agent.reason == "ua_image_proxy" and case.within(case.thresholds.instant)
    return case.judged(Verdict.PREFETCH, "timing_instant") if seen else None


def _apple_privacy(case: _Case) -> Judgement | None:
    """Apple Mail Privacy Protection loads all images through proxies that say ``Mozilla/5.0`` and no more.

    https://postmarkapp.com/support/article/1257-open-tracking-and-apple-mail
    """
    seen = case.agent.reason == "ua_bare_mozilla" and case.is_open
    return case.judged(Verdict.PROXY, "ua_apple_mpp", "apple") if seen else None


def _apple_egress(case: _Case) -> Judgement | None:
    """Apple's proxies fetch images for its mail programs. People browse behind the same addresses.

    So a click from there is a person's, with iCloud Private Relay (https://support.apple.com/102602).
    """
    seen = case.evidence.network.kind == "apple" and case.is_open and case.agent.reason == "ua_browser"
    return case.judged(Verdict.PROXY, "ip_apple_egress", "apple") if seen else None


def _at_once(case: _Case) -> Judgement | None:
    """Nobody reads that fast. Gateways that open every link look like an ordinary browser otherwise."""
    seen = case.within(case.thresholds.instant)
    return case.judged(Verdict.SCANNER, "timing_instant") if seen else None


def _window(case: _Case) -> bool:
    return case.within(case.thresholds.open_window if case.is_open else case.thresholds.click_window)


def _probable_network(case: _Case) -> bool:
    """Some filters also show people a page in a browser of their own, hours later. Time tells the two apart."""
    return case.evidence.network.kind == "probable" and case.within(case.thresholds.probable)


def _stale_browser(case: _Case) -> bool:
    """Scanners invent a Chrome of years ago. Some mail programs really contain one, so the rule skips them."""
    major = case.agent.chrome[:1]
    return bool(major) and int(major[0] or 0) < case.thresholds.min_chrome


def _malformed_version(case: _Case) -> bool:
    """Chrome's version has had four parts since 2008. A version of three parts is forged (CIDRAM issue 682)."""
    return len(case.agent.chrome) == 3


def _no_language(case: _Case) -> bool:
    """Every browser sends Accept-Language when a link is followed. Image requests and apps may not send it."""
    browser_click = case.agent.reason == "ua_browser" and not case.is_open
    return browser_click and not case.headers.get("accept-language", "").strip()


WEAK_SIGNALS: tuple[tuple[str, Callable[[_Case], bool]], ...] = (
    ("timing_window", _window),
    ("network_probable", _probable_network),
    ("ua_stale_browser", _stale_browser),
    ("ua_malformed_version", _malformed_version),
    ("header_no_accept_language", _no_language),
)
"""Weak signs. A person may give one of them, too, so a verdict needs two."""


def _weak_signals(case: _Case) -> Judgement | None:
    """Two weak signs together. With one alone, a reader who clicks a password mail at once would be a machine."""
    found = [name for name, present in WEAK_SIGNALS if present(case)]
    return case.judged(Verdict.SCANNER, f"weak:{'+'.join(found)}") if len(found) > 1 else None


def _known(reason: str, verdict: Verdict) -> Rule:
    """Return a rule that gives a verdict to one kind of program, by the name from :func:`.agents.recognise`."""
    return lambda case: case.judged(verdict, reason) if case.agent.reason == reason else None


def _own_network(case: _Case) -> Judgement | None:
    """The sender's own office looks at its mails, too, but does not read them as a recipient."""
    return case.judged(Verdict.UNKNOWN, OWN_NETWORK, "") if case.evidence.network.kind == OWN else None


RULES: tuple[Rule, ...] = (
    _own_network,
    _head,
    _ahead,
    _known("ua_missing", Verdict.BOT),
    _known("ua_gmail_prefetch", Verdict.PREFETCH),
    _scanner_network,
    _known("ua_security_scanner", Verdict.SCANNER),
    _proxy_click,
    _proxy_at_once,
    _known("ua_image_proxy", Verdict.PROXY),
    _apple_privacy,
    _known("ua_bare_mozilla", Verdict.BOT),
    _known("ua_link_preview", Verdict.BOT),
    _known("ua_headless", Verdict.BOT),
    _known("ua_cdn_masked", Verdict.UNKNOWN),
    _known("ua_http_library", Verdict.BOT),
    _known("ua_generic_bot", Verdict.BOT),
    _known("ua_listed_crawler", Verdict.BOT),
    _known("ua_native_http", Verdict.UNKNOWN),
    _known("ua_unknown", Verdict.UNKNOWN),
    _apple_egress,
    # The rules from here on see hits that look like a person's, and ask for circumstances against that.
    _at_once,
    _weak_signals,
    _known("ua_mail_client", Verdict.HUMAN),
    _known("ua_browser", Verdict.HUMAN),
)
"""The rules. Their order has a meaning: the first rule with an answer gives it, and the last rule always has one."""

LENIENT: tuple[Rule, ...] = (
    _own_network,
    _head,
    _known("ua_missing", Verdict.BOT),
    lambda case: case.judged(Verdict.HUMAN, "verdicts_off", ""),
)
"""The rules for a host that wants no verdicts."""
