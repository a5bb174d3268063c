"""Who was behind a hit."""

from __future__ import annotations

import random
import re

import pytest
from conftest import MakeSite
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_mailtrack.agents import KINDS, LIST, is_listed
from flask_mailtrack.events import EventType, Verdict
from flask_mailtrack.incoming.verdict import (
    WEAK_SIGNALS,
    Evidence,
    Judgement,
    judge,
)
from flask_mailtrack.networks import NOWHERE, Network
from flask_mailtrack.thresholds import Thresholds

OPEN, CLICK = EventType.OPENED, EventType.CLICKED
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{} Safari/537.36"
BROWSER = CHROME.format("126.0.0.0")
STALE = CHROME.format("88.0.4324.150")
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
MAILSPRING = (
    "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Mailspring/1.7.4 "
    "Chrome/69.0.3497.128 Electron/4.2.2 Safari/537.36"
)
NORMAL = {"Accept": "text/html", "Accept-Language": "en-GB,en;q=0.9", "Accept-Encoding": "gzip"}

# Verdict, reason, event, User-Agent: seen in logs and in the test data of public user-agent parsers. The
# moment of sending is unknown and there is no header, so that the User-Agent decides alone.
AGENTS = [
    (
        Verdict.PREFETCH,
        "ua_gmail_prefetch",
        OPEN,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
    ),
    (
        Verdict.PROXY,
        "ua_image_proxy",
        OPEN,
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    ),
    (Verdict.PROXY, "ua_image_proxy", OPEN, "Mozilla/5.0 (via ggpht.com GoogleImageProxy)"),
    (
        Verdict.PROXY,
        "ua_image_proxy",
        OPEN,
        "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    ),
    (Verdict.PROXY, "ua_image_proxy", OPEN, "RamblerMail/6.0 (incompatible; ImageProxy/6.0)"),
    (
        Verdict.PROXY,
        "ua_image_proxy",
        OPEN,
        "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/55.0.2883.87 "
        "Safari/537.36 (via secureurl.fwdcdn.com - mail.ukr.net proxy)",
    ),
    (Verdict.PROXY, "ua_image_proxy", OPEN, "FastmailUA/1.0"),
    (Verdict.PROXY, "ua_apple_mpp", OPEN, "Mozilla/5.0"),
    (Verdict.SCANNER, "ua_security_scanner", CLICK, "Barracuda Sentinel (EE)"),
    (Verdict.SCANNER, "ua_security_scanner", CLICK, "Proofpoint-Sandbox/1.0"),
    (
        Verdict.SCANNER,
        "ua_security_scanner",
        CLICK,
        "Mozilla/5.0 (compatible; CloudflareRadarURLScanner; +https://radar.cloudflare.com/)",
    ),
    (
        Verdict.SCANNER,
        "ua_security_scanner",
        CLICK,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/92.0.4515.107 Safari/537.36 (compatible; "
        "+https://developers.cloudflare.com/security-center/)",
    ),
    (
        Verdict.SCANNER,
        "ua_security_scanner",
        CLICK,
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/112.0.0.0 "
        "Safari/537.36 AppEngine-Google; (+http://code.google.com/appengine; appid: s~virustotalcloud)",
    ),
    (
        Verdict.SCANNER,
        "ua_security_scanner",
        CLICK,
        "Mozilla/5.0 (compatible; NetcraftSurveyAgent/1.0; +info@netcraft.com)",
    ),
    (
        Verdict.SCANNER,
        "ua_security_scanner",
        CLICK,
        "Mozilla/5.0 (compatible; oBot/2.3.1; http://www.xforce-security.com/crawler/)",
    ),
    (Verdict.SCANNER, "ua_security_scanner", CLICK, "Wheregoes.com Redirect Checker/1.0"),
    (Verdict.SCANNER, "ua_security_scanner", CLICK, "Mozilla/5.0 (compatible; SecurityScanner/1.0)"),
    (Verdict.SCANNER, "ua_security_scanner", OPEN, "Microsoft Exchange/15.20 (Windows NT 10.0; Win64; x64)"),
    (Verdict.BOT, "ua_bare_mozilla", CLICK, "Mozilla/5.0"),
    (
        Verdict.BOT,
        "ua_link_preview",
        CLICK,
        "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b",
    ),
    (
        Verdict.BOT,
        "ua_link_preview",
        CLICK,
        "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    ),
    (Verdict.BOT, "ua_link_preview", CLICK, "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"),
    (
        Verdict.BOT,
        "ua_link_preview",
        CLICK,
        "Mozilla/5.0 (compatible; Yahoo Link Preview; https://help.yahoo.com/kb/mail/yahoo-link-preview-SLN23615.html)",
    ),
    (Verdict.BOT, "ua_link_preview", CLICK, "Chrome Privacy Preserving Prefetch Proxy"),
    (Verdict.BOT, "ua_link_preview", CLICK, "WhatsApp"),
    (Verdict.BOT, "ua_link_preview", CLICK, "TelegramBot (like TwitterBot)"),
    (
        Verdict.BOT,
        "ua_link_preview",
        CLICK,
        "LinkedInBot/1.0 (compatible; Mozilla/5.0; Jakarta Commons-HttpClient/3.1 +http://www.linkedin.com)",
    ),
    (
        Verdict.BOT,
        "ua_link_preview",
        CLICK,
        "Snap URL Preview Service; bot; snapchat; https://developers.snap.com/robots",
    ),
    (Verdict.BOT, "ua_link_preview", OPEN, "Office 365 Connectors"),
    (
        Verdict.BOT,
        "ua_headless",
        CLICK,
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "HeadlessChrome/74.0.3729.169 Safari/537.36",
    ),
    (Verdict.BOT, "ua_http_library", CLICK, "python-requests/2.28.2"),
    (Verdict.BOT, "ua_http_library", CLICK, "Python/3.9 aiohttp/3.7.3"),
    (Verdict.BOT, "ua_http_library", CLICK, "Go-http-client/1.1"),
    (Verdict.BOT, "ua_http_library", OPEN, "okhttp/4.10.0"),
    (Verdict.BOT, "ua_http_library", CLICK, "Wget/1.9.1"),
    (Verdict.BOT, "ua_http_library", CLICK, "Java/17.0.2"),
    (Verdict.BOT, "ua_http_library", OPEN, "lua-resty-http/0.10 (Lua) ngx_lua/10019"),
    (Verdict.BOT, "ua_http_library", CLICK, "Apache-HttpClient/4.5.1 (Java/1.8.0_172)"),
    (Verdict.BOT, "ua_generic_bot", OPEN, "iOS/16.5 (20F66) dataaccessd/1.0"),
    (
        Verdict.BOT,
        "ua_generic_bot",
        CLICK,
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    ),
    (Verdict.UNKNOWN, "ua_cdn_masked", OPEN, "Amazon CloudFront"),
    (
        Verdict.UNKNOWN,
        "ua_native_http",
        OPEN,
        "Dalvik/2.1.0 (Linux; U; Android 12; SM-G970U Build/SP1A.210812.016)",
    ),
    (Verdict.HUMAN, "ua_mail_client", OPEN, "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"),
    (
        Verdict.HUMAN,
        "ua_mail_client",
        OPEN,
        "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.6326; Pro)",
    ),
    (
        Verdict.HUMAN,
        "ua_mail_client",
        OPEN,
        "MacOutlook/15.27.0.161010 (Intelx64 Mac OS X Version 10.11.6 (Build 15G1108))",
    ),
    (Verdict.HUMAN, "ua_mail_client", OPEN, "Outlook-iOS/665.29827.prod.iphone (2.63.0)"),
    (Verdict.HUMAN, "ua_mail_client", OPEN, "WindowsMail/17.5.9600.22013"),
    (
        Verdict.HUMAN,
        "ua_mail_client",
        OPEN,
        "Mozilla/5.0 (Windows NT 6.1; rv:45.0) Gecko/20100101 Thunderbird/45.0",
    ),
    (
        Verdict.HUMAN,
        "ua_mail_client",
        OPEN,
        "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Mailspring/1.7.4 "
        "Chrome/69.0.3497.128 Electron/4.2.2 Safari/537.36",
    ),
    (
        Verdict.HUMAN,
        "ua_mail_client",
        OPEN,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/55.0.2883.87 Safari/537.36 eM Client/8.2.1659.0",
    ),
    (Verdict.HUMAN, "ua_mail_client", OPEN, "NaverMailApp/2.2.2 (Android 10; SM-G986N)"),
    (Verdict.HUMAN, "ua_mail_client", OPEN, "Android-Gmail/64562652 (sw411dp; 420dpi) (r7 TP1A.220624.014)"),
    (
        Verdict.HUMAN,
        "ua_browser",
        OPEN,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    ),
    (
        Verdict.HUMAN,
        "ua_browser",
        CLICK,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
        "Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    ),
    (
        Verdict.HUMAN,
        "ua_browser",
        CLICK,
        "Mozilla/5.0 (Linux; Android 13; SM-G991U Build/TP1A; wv) AppleWebKit/537.36 (KHTML, like "
        "Gecko) Version/4.0 Chrome/125.0.6422.165 Mobile Safari/537.36",
    ),
    (
        Verdict.HUMAN,
        "ua_browser",
        CLICK,
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ),
]


def of(
    type: EventType = CLICK,
    user_agent: str = BROWSER,
    age: float | None = None,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    network: Network = NOWHERE,
) -> Judgement:
    """Judge a click of a normal browser that differs only in what a test names."""
    return judge(Evidence(type, user_agent, NORMAL if headers is None else headers, age, method, network))


@pytest.mark.parametrize(("verdict", "reason", "type", "user_agent"), AGENTS)
def test_known_agents(verdict: Verdict, reason: str, type: EventType, user_agent: str) -> None:
    """Every program that was seen to touch mail is told for what it is, by its name alone."""
    judgement = judge(Evidence(type, user_agent))
    assert (judgement.verdict, judgement.reasons) == (verdict, (reason,))


@pytest.mark.parametrize(
    ("type", "age", "verdict", "reason"),
    [
        (CLICK, 1, Verdict.SCANNER, "timing_instant"),
        (CLICK, 0, Verdict.SCANNER, "timing_instant"),
        (CLICK, 3, Verdict.HUMAN, "ua_browser"),
        (CLICK, 20, Verdict.HUMAN, "ua_browser"),
        (OPEN, 20, Verdict.HUMAN, "ua_browser"),
        (OPEN, 1, Verdict.SCANNER, "timing_instant"),
        (CLICK, -5, Verdict.HUMAN, "ua_browser"),
        (CLICK, float("nan"), Verdict.HUMAN, "ua_browser"),
        (CLICK, float("inf"), Verdict.HUMAN, "ua_browser"),
        (CLICK, None, Verdict.HUMAN, "ua_browser"),
    ],
)
def test_time_since_sending(type: EventType, age: float | None, verdict: Verdict, reason: str) -> None:
    """Only a hit that follows its mail faster than a person can is a machine's by time alone."""
    assert of(type, age=age) == Judgement(verdict, (reason,), "")


def test_password_mail() -> None:
    """A person who waits for a mail and clicks after 20 seconds in a normal browser stays a person."""
    assert of(CLICK, age=20).verdict is Verdict.HUMAN


@pytest.mark.parametrize(
    ("type", "user_agent", "age", "headers", "signs"),
    [
        (CLICK, BROWSER, 20, {}, "timing_window+header_no_accept_language"),
        (CLICK, BROWSER, 20, {"Accept-Language": " "}, "timing_window+header_no_accept_language"),
        (CLICK, STALE, 12, NORMAL, "timing_window+ua_stale_browser"),
        (OPEN, STALE, 59, NORMAL, "timing_window+ua_stale_browser"),
        (OPEN, CHROME.format("126.0.0"), 59, {}, "timing_window+ua_malformed_version"),
        (CLICK, STALE, None, {}, "ua_stale_browser+header_no_accept_language"),
        (
            *(CLICK, CHROME.format("88.0.1"), 12, {}),
            "timing_window+ua_stale_browser+ua_malformed_version+header_no_accept_language",
        ),
    ],
)
def test_two_weak_signs(
    type: EventType, user_agent: str, age: float | None, headers: dict[str, str], signs: str
) -> None:
    """Two weak signs together make a scanner, and the reason names them all."""
    judgement = of(type, user_agent, age, headers)
    assert judgement == Judgement(Verdict.SCANNER, (f"weak:{signs}",), "")


@pytest.mark.parametrize(
    ("type", "user_agent", "age", "headers"),
    [
        (CLICK, BROWSER, 29, NORMAL),
        (CLICK, BROWSER, 30, {}),
        (CLICK, STALE, 30, NORMAL),
        (OPEN, STALE, 60, NORMAL),
        (OPEN, BROWSER, 20, {}),
        (CLICK, CHROME.format("126.0.0"), None, NORMAL),
        (OPEN, MAILSPRING, 20, {}),
        (CLICK, MAILSPRING, 20, {}),
    ],
)
def test_one_weak_sign(type: EventType, user_agent: str, age: float | None, headers: dict[str, str]) -> None:
    """One weak sign is not enough, and the old Chrome inside a mail program is none."""
    assert of(type, user_agent, age, headers).verdict is Verdict.HUMAN


CERTAIN, PROBABLE, APPLE = Network("certain", "barracuda"), Network("probable", "proofpoint"), Network("apple", "apple")


@pytest.mark.parametrize(
    ("network", "type", "age", "verdict", "reason"),
    [
        (CERTAIN, CLICK, None, Verdict.SCANNER, "network_scanner"),
        (CERTAIN, OPEN, 100_000, Verdict.SCANNER, "network_scanner"),
        (PROBABLE, CLICK, 400, Verdict.HUMAN, "ua_browser"),
        (PROBABLE, CLICK, 20, Verdict.SCANNER, "weak:timing_window+network_probable"),
        (PROBABLE, CLICK, None, Verdict.HUMAN, "ua_browser"),
        (APPLE, OPEN, 400, Verdict.PROXY, "ip_apple_egress"),
        (APPLE, OPEN, 1, Verdict.PROXY, "ip_apple_egress"),
        (APPLE, CLICK, 400, Verdict.HUMAN, "ua_browser"),
        (APPLE, CLICK, 1, Verdict.SCANNER, "timing_instant"),
    ],
)
def test_networks(network: Network, type: EventType, age: float | None, verdict: Verdict, reason: str) -> None:
    """A filter's network convicts, one that people share needs a second sign, and Apple's loads pictures only."""
    judgement = of(type, age=age, network=network)
    assert (judgement.verdict, judgement.reasons) == (verdict, (reason,))
    convicted_by_network = reason in ("network_scanner", "ip_apple_egress")
    assert judgement.provider == (network.provider if convicted_by_network else "")


@pytest.mark.parametrize(("age", "verdict"), [(599, Verdict.SCANNER), (600, Verdict.HUMAN)])
def test_a_probable_network_counts_for_ten_minutes(age: float, verdict: Verdict) -> None:
    """With one other weak sign a filter's network convicts in the first ten minutes, and later no more."""
    assert of(CLICK, STALE, age, network=PROBABLE).verdict is verdict
    assert of(CLICK, BROWSER, age, headers={}, network=PROBABLE).verdict is verdict


def test_what_a_program_says_of_itself_comes_before_its_network() -> None:
    """Whoever loads ahead says so from any network, and a mail program behind Apple's proxies is a person's."""
    assert of(headers={**NORMAL, "Sec-Purpose": "prefetch"}, network=CERTAIN).verdict is Verdict.PREFETCH
    assert of(OPEN, MAILSPRING, 400, network=APPLE).verdict is Verdict.HUMAN
    assert of(OPEN, "okhttp/4.10.0", 400, network=APPLE).verdict is Verdict.BOT
    assert of(user_agent="Proofpoint-Sandbox/1.0", network=CERTAIN).reasons == ("network_scanner",)


@pytest.mark.parametrize(
    ("type", "user_agent", "method", "verdict", "reason"),
    [
        (CLICK, BROWSER, "HEAD", Verdict.SCANNER, "method_head"),
        (CLICK, " ", "GET", Verdict.BOT, "ua_missing"),
        (CLICK, "python-requests/2.28.2", "GET", Verdict.HUMAN, "verdicts_off"),
        (OPEN, GMAIL, "GET", Verdict.HUMAN, "verdicts_off"),
        (OPEN, "Mozilla/5.0", "GET", Verdict.HUMAN, "verdicts_off"),
    ],
)
def test_verdicts_switched_off(type: EventType, user_agent: str, method: str, verdict: Verdict, reason: str) -> None:
    """A host that wants no verdicts gets people, but for what no reader's program ever sends."""
    evidence = Evidence(type, user_agent, {"Sec-Purpose": "prefetch"}, 0, method, CERTAIN)
    assert judge(evidence, strict=False) == Judgement(verdict, (reason,), "")


@pytest.mark.parametrize("name", ["Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"])
@pytest.mark.parametrize("value", ["prefetch", "prefetch;prerender", "Preview", "prefetch;anonymous-client-ip"])
def test_prefetch_headers(name: str, value: str) -> None:
    """A page that a browser loads ahead is a prefetch, in the old words for it and the new ones."""
    judgement = of(headers={**NORMAL, name: value})
    assert judgement.verdict is Verdict.PREFETCH
    assert judgement.reasons == (f"header_{name.lower().replace('-', '_')}",)


@pytest.mark.parametrize("name", ["sec-purpose", "SEC-PURPOSE", "Sec-Purpose", "sEc-pUrPoSe"])
def test_header_names_in_any_case(name: str) -> None:
    """Servers spell header names in several ways; all are read."""
    assert of(headers={**NORMAL, name: "prefetch"}).verdict is Verdict.PREFETCH
    assert of(age=20, headers={"ACCEPT-LANGUAGE": "en"}).verdict is Verdict.HUMAN


def test_other_purposes() -> None:
    """A purpose header that does not speak of loading ahead means nothing."""
    assert of(headers={**NORMAL, "Purpose": "navigation", "X-Moz": ""}).verdict is Verdict.HUMAN


@pytest.mark.parametrize("method", ["HEAD", "head"])
def test_head_requests(method: str) -> None:
    """Whoever asks with HEAD is checking links, whatever name it gives."""
    assert of(method=method) == Judgement(Verdict.SCANNER, ("method_head",), "")
    assert of(user_agent=GMAIL, method=method).verdict is Verdict.SCANNER


@pytest.mark.parametrize("user_agent", ["", " ", "\t\r\n", "\0", " \0 "])
def test_missing_user_agent(user_agent: str) -> None:
    """A request that does not say what sent it is a bot's."""
    assert of(user_agent=user_agent) == Judgement(Verdict.BOT, ("ua_missing",), "")


@pytest.mark.parametrize(
    ("type", "age", "verdict", "reason"),
    [
        (OPEN, None, Verdict.PROXY, "ua_image_proxy"),
        (OPEN, 3, Verdict.PROXY, "ua_image_proxy"),
        (OPEN, -1, Verdict.PROXY, "ua_image_proxy"),
        (OPEN, 1, Verdict.PREFETCH, "timing_instant"),
        (CLICK, 500, Verdict.SCANNER, "proxy_on_click"),
    ],
)
def test_image_proxy(type: EventType, age: float | None, verdict: Verdict, reason: str) -> None:
    """Gmail's proxy shows a reader, unless it comes at once or follows a link."""
    assert of(type, GMAIL, age) == Judgement(verdict, (reason,), "google")


def test_apple_mail_privacy() -> None:
    """Apple's proxies are named on an open; the same bare words on a click are some bot's."""
    assert of(OPEN, "Mozilla/5.0", 1) == Judgement(Verdict.PROXY, ("ua_apple_mpp",), "apple")
    assert of(CLICK, "Mozilla/5.0") == Judgement(Verdict.BOT, ("ua_bare_mozilla",), "")


@pytest.mark.parametrize(
    ("user_agent", "provider"),
    [
        (GMAIL, "google"),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", "yahoo"),
        ("SeznamEmailProxy/3.0", "seznam"),
        ("Barracuda Sentinel (EE)", "barracuda"),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "slack"),
        ("python-requests/2.28.2", ""),
        ("WindowsMail/17.5.9600.22013", ""),
        (BROWSER, ""),
    ],
)
def test_provider(user_agent: str, provider: str) -> None:
    """A machine whose owner is known carries the owner's name; a person's program does not."""
    assert of(OPEN, user_agent).provider == provider


@pytest.mark.parametrize("type", [EventType.UNSUBSCRIBED, EventType.SUBSCRIBED])
def test_other_events(type: EventType) -> None:
    """What is not an open is judged like a click."""
    assert of(type, GMAIL).reasons == ("proxy_on_click",)
    assert of(type, age=20, headers={}).verdict is Verdict.SCANNER


def test_thresholds_can_be_moved() -> None:
    """Every threshold is the host's to choose."""
    slow = Evidence(CLICK, STALE, NORMAL, age=40)
    assert judge(slow).verdict is Verdict.HUMAN
    assert judge(slow, Thresholds(instant=50)).reasons == ("timing_instant",)
    assert judge(slow, Thresholds(click_window=50)).reasons == ("weak:timing_window+ua_stale_browser",)
    assert judge(slow, Thresholds(click_window=50, min_chrome=80)).verdict is Verdict.HUMAN


def test_thresholds_of_zero() -> None:
    """With all thresholds at zero, neither time nor version is held against anybody."""
    off = Thresholds(instant=0, open_window=0, click_window=0, probable=0, min_chrome=0)
    assert judge(Evidence(CLICK, STALE, {}, age=0, network=PROBABLE), off).verdict is Verdict.HUMAN
    assert judge(Evidence(CLICK, STALE, {}, age=0), off).verdict is Verdict.HUMAN
    assert judge(Evidence(OPEN, GMAIL, {}, age=0), off).verdict is Verdict.PROXY


@pytest.mark.parametrize(
    "user_agent",
    [
        "Mozilla/5.0 (Linux; Android 9; CUBOT X19 S) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
        f"{BROWSER} Avast/126.0.0.0",
        f"{BROWSER} Norton/126.0.0.0",
        "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; McAfee; Tablet PC 2.0)",
        f"{BROWSER} WhatsApp/2.24",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
        f"{BROWSER} [Pinterest/iOS]",
    ],
)
def test_people_who_look_like_machines(user_agent: str) -> None:
    """A phone called CUBOT or a browser made by a virus scanner is still a person's."""
    assert of(user_agent=user_agent).verdict is Verdict.HUMAN


def test_long_user_agent() -> None:
    """Only the beginning of a very long header is read, so that it cannot cost time."""
    assert of(user_agent=f"{BROWSER} {'x ' * 300}python-requests/2.28.2").verdict is Verdict.HUMAN
    assert of(user_agent="python-requests/2.28.2" + "x" * 1_000_000).verdict is Verdict.BOT
    assert of(user_agent=" " * 240 * 1024 + "python-requests/2.28.2").reasons == ("ua_missing",)


def test_nul_does_not_hide_a_name() -> None:
    """A NUL inside a name does not hide it."""
    assert of(user_agent="python-\0requests/2.28.2").reasons == ("ua_http_library",)


headers = st.dictionaries(
    st.sampled_from(["Sec-Purpose", "x-moz", "ACCEPT-LANGUAGE", "Purpose"]) | st.text(), st.text()
)
words = st.sampled_from([*(ua for *_, ua in AGENTS), "Chrome/", "Chrome/..", "Chrome/1.2.3 ", "bot", "\0", "+http://"])


@settings(deadline=None)
@given(
    type=st.sampled_from(EventType),
    user_agent=st.text() | st.lists(words | st.text(max_size=9)).map("".join),
    headers=headers,
    age=st.none() | st.floats() | st.integers(),
    method=st.text() | st.sampled_from(["GET", "HEAD", "POST"]),
)
def test_anything_gets_a_verdict(
    type: EventType, user_agent: str, headers: dict[str, str], age: float | None, method: str
) -> None:
    """Whatever a client sends, there is a verdict, always the same one, and at least one reason for it."""
    evidence = Evidence(type, user_agent, headers, age, method)
    judgement = judge(evidence)
    assert judgement.reasons
    assert all(judgement.reasons)
    assert judge(evidence) == judgement


def test_noise() -> None:
    """Twenty thousand random headers, as a server would decode their bytes, all get a verdict."""
    noise = random.Random(20_000)
    for _ in range(20_000):
        user_agent = noise.randbytes(noise.randrange(120)).decode("latin-1")
        judgement = judge(Evidence(noise.choice([OPEN, CLICK]), user_agent, {}, noise.uniform(-9, 99)))
        assert judgement.reasons


def test_reasons_are_documented_words() -> None:
    """Reasons are stable words that a host may query for, so a new one is a decision, made here."""
    kinds = {reason for reason, _ in KINDS}
    seen = {reason for _, reason, *_ in AGENTS}
    assert kinds <= seen
    assert [name for name, _ in WEAK_SIGNALS] == [
        "timing_window",
        "network_probable",
        "ua_stale_browser",
        "ua_malformed_version",
        "header_no_accept_language",
    ]


@pytest.mark.parametrize(
    ("user_agent", "verdict", "reason"),
    [
        ("Acme-Link-Service/3.1", Verdict.UNKNOWN, "ua_unknown"),
        ("Mozilla/5.0 (compatible; AcmeMail/2.0)", Verdict.UNKNOWN, "ua_unknown"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64)", Verdict.UNKNOWN, "ua_unknown"),
        ("HTTPS", Verdict.UNKNOWN, "ua_unknown"),
        ("Acme-URL-Sandbox/3.1", Verdict.SCANNER, "ua_security_scanner"),
        (f"{BROWSER} AcmePhishDetector", Verdict.SCANNER, "ua_security_scanner"),
        ("Microsoft Office Existence Discovery", Verdict.BOT, "ua_http_library"),
        ("Microsoft Office Protocol Discovery", Verdict.BOT, "ua_http_library"),
        ("Microsoft Data Access Internet Publishing Provider DAV 1.1", Verdict.BOT, "ua_http_library"),
        ("Microsoft-WebDAV-MiniRedir/10.0.19045", Verdict.BOT, "ua_http_library"),
        ("Netvibes", Verdict.BOT, "ua_listed_crawler"),
        (f"{BROWSER} Netvibes", Verdict.BOT, "ua_listed_crawler"),
        ("Mozilla/5.0 (Linux; Android 7.0; M bot 54) AppleWebKit/537.36 Chrome/126.0.0.0", Verdict.HUMAN, "ua_browser"),
    ],
)
def test_who_is_no_person_by_name(user_agent: str, verdict: Verdict, reason: str) -> None:
    """Only a browser or a mail client is a person's; of others their name, or a kept list, says what they are."""
    judged = of(CLICK, user_agent)
    assert (judged.verdict, judged.reasons) == (verdict, (reason,))


def test_mail_clients_and_proxies_are_asked_before_the_list() -> None:
    """A list of crawlers has Outlook and image proxies in it; people read their mail with them."""
    for user_agent in ("Microsoft Office/16.0 (Microsoft Outlook 16.0.6326; Pro) Netvibes", "FastmailUA/1.0 Netvibes"):
        assert of(OPEN, user_agent).verdict in (Verdict.HUMAN, Verdict.PROXY)


def test_the_list_says_whose_it_is() -> None:
    """The file names its source, its version, its day and its licence, and each entry can be asked."""
    text = LIST.read_text("utf-8")
    for said in ("crawler-user-agents", "Martin Monperrus", "MIT License", "2026-08-06"):
        assert said in text.partition("\nGooglebot")[0]
    assert is_listed("Googlebot/2.1")
    assert not is_listed(BROWSER)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("ip", ["203.0.113.9", "::ffff:203.0.113.9", "2001:db8::7"])
def test_the_senders_own_office_is_nobody(make_site: MakeSite, ip: str, strict: bool) -> None:
    """A hit from MAILTRACK_OWN_NETWORKS is unknown, whatever else happens, and counts for nobody."""
    own = ["203.0.113.0/24", "2001:db8::/32"]
    limits = {"burst": 5, "sweep": 10, "shadow": 60}
    site = make_site(
        MAILTRACK_OWN_NETWORKS=own, MAILTRACK_VERDICTS=strict, MAILTRACK_THRESHOLDS=limits, MAILTRACK_DRAIN="manual"
    )
    sent = site.send("".join(f'<a href="https://example.com/{n}">{n}</a> ' for n in range(4)))
    for path in re.findall(r"/m/c/[^\"]+", sent.html):
        site.client.get(path, headers=NORMAL, environ_overrides={"REMOTE_ADDR": ip})
    site.mailtrack.flush()
    assert {(e.verdict, tuple(e.verdict_reasons)) for e in site.rows("Event")} == {("unknown", ("own_network",))}
    found = site.mailtrack.stats()
    assert (found.clicked.total, found.machine, found.unidentified) == (0, 0, 4)
    assert site.mailtrack.classify(BROWSER, ip=ip).verdict_reasons == ("own_network",)
    assert site.mailtrack.classify(BROWSER, ip="198.51.100.1").verdict is Verdict.HUMAN
