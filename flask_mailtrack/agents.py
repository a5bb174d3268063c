"""The programs behind User-Agent headers: the tables, and the two ways to read them.

Every sign is a regular expression for the beginning of a word, in lower case. Kinds are tried in the order of
:data:`KINDS`. Mail clients and image proxies come before the list of crawlers, because such lists take Outlook and
Gmail's image proxy for crawlers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

LIST = Path(__file__).with_name("crawlers.txt")

# These words are in the User-Agent of people's browsers, apps and telephones, too.
_PEOPLES = {
    *("008/", "AP3A.240617.008", "Butterfly", "Code/1.", "Expanse", "Fever", "Fluid", "Podimo", "Sogou", "Sonic"),
    *("Feedly", "Notion/", "Viber", "WhatsApp"),
}
_ESCAPED = re.compile(r"\\([^\w\s])")
_MEANING = set("\\^$.|?*+()[]{}")


def is_listed(user_agent: str) -> bool:
    """Say whether the list knows *user_agent*, in its original case, as a crawler.

    A search for each of a thousand words takes less time than one expression of all of them.
    """
    words, rest = _signs()
    return any(word in user_agent for word in words) or bool(rest.search(user_agent))


@cache
def _signs() -> tuple[tuple[str, ...], re.Pattern[str]]:
    """Return the entries that are plain words, and one expression for the others."""
    lines = LIST.read_text("utf-8").splitlines()
    words, rest = [], []
    for line in lines:
        word = _ESCAPED.sub(r"\1", line)
        if not line or line.startswith("#") or word in _PEOPLES:
            continue
        if _MEANING.isdisjoint(_ESCAPED.sub("", line)):
            words.append(word)
        else:
            rest.append(line)
    return tuple(words), re.compile("|".join(f"(?:{expression})" for expression in rest))


LONGEST = 512
"""Characters of a User-Agent that are read. A huge header costs no more than a long one."""

Signs = Mapping[str, tuple[str, ...]]
"""From the name of a provider or a program to the words that give it away."""

GMAIL_PREFETCH = (
    "mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 (khtml, like gecko) "
    "chrome/42.0.2311.135 safari/537.36 edge/12.246 mozilla/5.0"
)
"""Gmail loads images ahead while the user has a session open. This is not its image proxy.

https://bird.com/en-gb/blog/gmail-prefetching-images
"""

IMAGE_PROXIES: Signs = {
    "google": ("googleimageproxy", r"ggpht\.com"),
    "yahoo": ("yahoomailproxy",),
    "seznam": ("seznamemailproxy",),
    "rambler": ("ramblermail/",),
    "ukrnet": (r"secureurl\.fwdcdn\.com", r"mail\.ukr\.net"),
    "fastmail": ("fastmailua/",),
    "hey": (r"hey\.com/imageproxy",),
    "shortwave": ("shortwave",),
    "microsoft": ("outlookimageproxy",),
}
"""Mail providers that fetch an image only when their user looks at the mail."""

# Avast, AVG, Norton, Kaspersky, McAfee and Sophos are missing on purpose: people's own browsers and mail
# programs carry these names.
SECURITY_SCANNERS: Signs = {
    "barracuda": ("barracuda",),
    "proofpoint": ("proofpoint",),
    "mimecast": ("mimecast",),
    "microsoft": ("^microsoft exchange/",),
    "cisco": ("ironport",),
    "symantec": ("symantec", "messagelabs"),
    "trendmicro": ("trend ?micro",),
    "forcepoint": ("forcepoint", "websense"),
    "trellix": ("fireeye", "trellix"),
    "fortinet": ("fortiguard", "fortisandbox"),
    "paloalto": ("palo alto networks",),
    "cloudflare": ("cloudflareradarurlscanner", r"developers\.cloudflare\.com/security-center"),
    "virustotal": ("virustotal",),
    "netcraft": ("netcraft",),
    "ibm": ("xforce-security",),
    "urlscan": ("urlscan",),
    "wheregoes": ("wheregoes",),
    "": (
        *("(?:security|url|mail|phish)[ -]?scanner", "checkphish", "phishtank", "censysinspect"),
        # Unlisted programs often name their work. A word is read from its beginning only.
        r"[\w-]*(?:scann(?:er|ing)|sandbox|phish|malware|threat|detonat|inspector|reputation|safe ?links)",
        r"[\w-]*urldefen[cs]e",
    ),
}

LINK_PREVIEWS: Signs = {
    "microsoft": ("bingpreview", "skypeuripreview", "office 365 connectors"),
    "google": ("chrome privacy preserving prefetch proxy", "google web preview", "google-pagerenderer"),
    "yahoo": ("yahoo link preview",),
    "slack": ("slackbot", "slack-imgproxy"),
    # Anchored: an in-app browser of WhatsApp would name it at the end.
    "meta": ("^whatsapp", "facebookexternalhit", "facebot", "meta-external"),
    "telegram": ("telegrambot",),
    "linkedin": ("linkedinbot",),
    "snap": ("snap url preview",),
    "x": ("twitterbot",),
    "discord": ("discordbot",),
    "pinterest": ("pinterestbot",),
    "reddit": ("redditbot",),
    "": ("link ?preview", "iframely", "embedly"),
}

HEADLESS: Signs = {
    "": (
        *("headlesschrome", "phantomjs", "slimerjs", "htmlunit", "jsdom/", "cypress/"),
        *("puppeteer", "playwright", "selenium", "webdriver"),
    )
}

MAIL_CLIENTS: Signs = {
    "Outlook": (
        *("microsoft outlook", "ms-?office", "microsoft office/", "macoutlook/"),
        *("outlook-ios", "outlook-android", "outlook/", "outlook-express/"),
    ),
    "Windows Mail": ("windowsmail/", "windows live mail"),
    "Apple Mail": (r"^mail/[\d.]+ cfnetwork/", "mobilemail/"),
    "Thunderbird": ("thunderbird/", "icedove/", "betterbird/"),
    "Gmail": ("android-gmail/",),
    "Yahoo Mail": ("yahoo%20mail/", "yahoomobilemail/", r"jp\.co\.yahoo\.ymail/"),
    "eM Client": ("em ?client/",),
    "Mailspring": ("mailspring/",),
    "BlueMail": ("bluemail/",),
    "Mailbird": ("mailbird/",),
    "Airmail": ("airmail[ /]", "airmail%20"),
    "Postbox": ("postbox[ /]",),
    "The Bat!": ("the bat!",),
    "Spark": ("sparkdesktop/",),
    "Superhuman": ("superhuman",),
    "Proton Mail": ("protonmail",),
    "Zoho Mail": ("zohomail",),
    "Naver Mail": ("navermailapp/",),
    "Foxmail": ("foxmail/",),
    "Mail Master": ("mailmaster",),
    "Notes": ("lotus-notes/",),
    "Evolution": ("evolution/",),
    "KMail": ("kmail/", "kontact/"),
}

# CloudFront replaces every User-Agent unless it is told to forward it, so the header says nothing about the reader.
MASKED: Signs = {"": ("amazon cloudfront",)}

HTTP_LIBRARIES: Signs = {
    "": (
        *("python-requests", "python-urllib", "python-httpx", "python/", "aiohttp/", "pycurl/", "scrapy/"),
        *("curl/", "libcurl", "wget", "httpie/", "aria2/", "postmanruntime/", "insomnia/"),
        *("go-http-client", "go-resty", "fasthttp", "okhttp", "^java/", "apache-http", "jakarta commons"),
        *("httpclient", "lua-resty", "libwww-perl", "lwp::", "guzzlehttp", "^php/", "^ruby", "faraday"),
        *("typhoeus", "httparty", "^node", "undici", "axios/", "^got[ /]", "^deno/", "^bun/", "^dart/"),
        *("reqwest/", "^hyper/", "restsharp/", r"\w*powershell/", "winhttp", "microsoft-cryptoapi"),
        # Office and Windows make these requests before they open a link, and not for a person who browses.
        *(r"microsoft office (?:\w+ )?discovery", "microsoft data access internet publishing", "microsoft-webdav"),
        *("microsoft office upload", "microsoft url control", "ms ?frontpage"),
    )
}

GENERIC_BOTS: Signs = {
    "": (
        # CUBOT makes phones. A word is read from its beginning only, else a long word would cost its square.
        r"\w*(?<!cu)bots?(?![a-z])",
        r"\w*(?:crawl|spider)",
        # Crawlers usually name a page about themselves: "(compatible; +https://…)".
        r"(?<=\+)https?://",
        *("slurp", "ia_archiver", "archiver", "mediapartners-google", "googleother", "feedfetcher"),
        *("uptime", "pingdom", "statuscake", "site24x7", "datadog", "chrome-lighthouse", "link-?check"),
        *("nutch", "heritrix", "nmap", "nikto", "masscan", "zgrab", "nuclei", "sqlmap", "dataaccessd"),
    )
}

NATIVE_HTTP: Signs = {"": ("dalvik/", "cfnetwork/")}

KINDS: tuple[tuple[str, Signs], ...] = (
    ("ua_security_scanner", SECURITY_SCANNERS),
    ("ua_image_proxy", IMAGE_PROXIES),
    ("ua_link_preview", LINK_PREVIEWS),
    ("ua_headless", HEADLESS),
    ("ua_mail_client", MAIL_CLIENTS),
    ("ua_cdn_masked", MASKED),
    ("ua_http_library", HTTP_LIBRARIES),
    ("ua_generic_bot", GENERIC_BOTS),
    ("ua_native_http", NATIVE_HTTP),
)
"""The kinds of program, in the order of the tries. All other programs are browsers, crawlers or unknown."""

BROWSER_SIGNS: Signs = {
    "": (
        *("applewebkit", "gecko/", r"rv:\d", "khtml", "konqueror/", "webkit", "trident/", "msie ", "iemobile"),
        *("presto/", "opera", "opr/", "chrom(?:e|ium)/", "crios/", "firefox/", "fxios/", "safari/", "browser/"),
        # On old telephones, and in terminals.
        *("netfront", "uc ?browser", "ucweb", r"up\.(?:browser|link)", "openwave", "polaris/", "obigo", "dolfin"),
        *("teleca", "jasmine/", "semc-browser", "blackberry", "nokia", "series40", "docomo/", "kddi", "softbank"),
        *("vodafone", "sonyericsson", "samsung-", "lg-", "mot-", "alcatel", "playstation", "nintendo", "espial"),
        *("lynx/", r"links \(", "elinks", "w3m/", "dillo/", "netsurf/"),
    )
}
"""Engines and browsers. A User-Agent without any of them does not count as a person's."""

PROXY_CLIENTS: Mapping[str, str] = {
    "google": "Gmail",
    "yahoo": "Yahoo Mail",
    "seznam": "Seznam Email",
    "rambler": "Rambler Mail",
    "ukrnet": "ukr.net",
    "fastmail": "Fastmail",
    "hey": "HEY",
    "shortwave": "Shortwave",
    "microsoft": "Outlook",
}

# The order matters, because nearly every browser also calls itself Chrome and Safari.
BROWSERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Edge", ("edg/", "edga/", "edgios/", "edge/")),
    ("Opera", ("opr/", "opios/", "opera")),
    ("Samsung Internet", ("samsungbrowser/",)),
    ("Vivaldi", ("vivaldi/",)),
    ("Yandex Browser", ("yabrowser/",)),
    ("DuckDuckGo", ("duckduckgo/", "ddg/")),
    ("Facebook", ("fban/", "fbav/")),
    ("Instagram", ("instagram ",)),
    ("Firefox", ("firefox/", "fxios/")),
    ("Android WebView", ("; wv)",)),
    ("Chrome", ("chrome/", "crios/")),
    ("Safari", ("safari/",)),
    ("Internet Explorer", ("msie ", "trident/")),
)

# The order matters: Windows Phone claims to be Android and iPhone, and an iPhone is "like Mac OS X".
SYSTEMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Windows Phone", ("windows phone",)),
    ("Android", ("android",)),
    ("iOS", ("iphone", "ipad", "ipod", "outlook-ios", "yjapp-ios")),
    ("macOS", ("macintosh", "mac os x", "macoutlook")),
    ("ChromeOS", ("; cros ", "(cros ")),
    ("Windows", ("windows", "ms-office", "mailbird", "the bat!")),
    ("Linux", ("linux", "x11;")),
)

# System, word, device. An Android browser without "Mobile" is on a tablet; apps never say "Mobile".
DEVICES: tuple[tuple[str, str, str], ...] = (
    ("iOS", "ipad", "tablet"),
    ("iOS", "iphone", "phone"),
    ("iOS", "ipod", "phone"),
    ("Android", "mobile", "phone"),
    ("Android", "mozilla/", "tablet"),
    ("Windows Phone", "", "phone"),
    ("macOS", "", "desktop"),
    ("ChromeOS", "", "desktop"),
    ("Windows", "", "desktop"),
    ("Linux", "", "desktop"),
)


@dataclass(frozen=True, slots=True)
class Agent:
    """The kind of program behind a User-Agent."""

    reason: str
    """The kind, in the words of a verdict's reasons: ``ua_image_proxy``, ``ua_browser``, …"""
    name: str = ""
    """The provider, or the program of a mail client; empty if only the kind is known."""
    chrome: tuple[str, ...] = ()
    """The parts of the Chrome version of a browser: ``("126", "0", "0", "0")``."""


@dataclass(frozen=True, slots=True)
class Client:
    """The client of a reader. Unknown fields are empty."""

    name: str = ""
    os: str = ""
    device: str = ""
    """``desktop``, ``phone``, ``tablet`` or empty."""


def recognise(user_agent: str) -> Agent:
    """Return the kind of program behind *user_agent*. Never fails.

    :param user_agent: the header as it came; NUL is dropped and only :data:`LONGEST` characters are read.
    """
    return _asked(_cut(user_agent))


def identify(user_agent: str) -> Client:
    """Return the mail client or browser, the operating system and the device. Never fails.

    Machines have no client. For a reader behind an image proxy only the mail service is returned, because the system in
    such a User-Agent is invented. Apple's bare ``Mozilla/5.0`` tells nothing.

    :param user_agent: the header as it came, treated as in :func:`recognise`.
    """
    return _identify(_cut(user_agent))


def _cut(user_agent: str) -> str:
    return user_agent[:LONGEST].replace("\0", "").strip()


def _pattern(signs: Signs) -> re.Pattern[str]:
    """Return one expression with one group per name, all behind one word boundary."""
    groups = "|".join(f"({'|'.join(words)})" for words in signs.values())
    return re.compile(rf"\b(?:{groups})", re.ASCII)


_MATCHERS = tuple((reason, _pattern(signs), tuple(signs)) for reason, signs in KINDS)
_DEVICE = re.compile(r"\bandroid [\d.]+; [^;()]*")
"""The name of an Android device. It is left out of the search, because there are telephones named Bot and Spider."""
_BROWSER = _pattern(BROWSER_SIGNS)
_LISTED = {"ua_native_http", "ua_browser", "ua_unknown"}
"""The kinds for which the list of crawlers is asked."""
_CHROME = re.compile(r"\bchrome/([0-9.]+)", re.ASCII)


@lru_cache(maxsize=4096)
def _asked(cut: str) -> Agent:
    agent = _recognise(cut.lower())
    return Agent("ua_listed_crawler") if agent.reason in _LISTED and is_listed(cut) else agent


def _recognise(cleaned: str) -> Agent:
    if not cleaned:
        return Agent("ua_missing")
    if cleaned == GMAIL_PREFETCH:
        return Agent("ua_gmail_prefetch", "google")
    if cleaned == "mozilla/5.0":
        return Agent("ua_bare_mozilla")
    for reason, pattern, names in _MATCHERS:
        text = _DEVICE.sub("", cleaned) if reason == "ua_generic_bot" else cleaned
        if found := pattern.search(text):
            return Agent(reason, names[(found.lastindex or 1) - 1])
    if not _BROWSER.search(cleaned):
        return Agent("ua_unknown")
    version = _CHROME.search(cleaned)
    return Agent("ua_browser", chrome=tuple(version[1].strip(".").split(".")) if version else ())


@lru_cache(maxsize=4096)
def _identify(cut: str) -> Client:
    agent, cleaned = _asked(cut), cut.lower()
    if agent.reason == "ua_image_proxy":
        return Client(PROXY_CLIENTS[agent.name])
    if agent.reason not in {"ua_mail_client", "ua_browser", "ua_native_http"}:
        return Client()
    system = _first(SYSTEMS, cleaned)
    device = next((kind for os, word, kind in DEVICES if os == system and word in cleaned), "")
    return Client(agent.name or _first(BROWSERS, cleaned), system, device)


def _first(table: tuple[tuple[str, tuple[str, ...]], ...], cleaned: str) -> str:
    return next((name for name, words in table if any(word in cleaned for word in words)), "")
