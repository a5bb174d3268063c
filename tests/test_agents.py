"""What a User-Agent tells about the program, the system and the device."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flask_mailtrack.agents import IMAGE_PROXIES, PROXY_CLIENTS, Client, identify, recognise

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
ANDROID = "Mozilla/5.0 (Linux; Android 13; SM-G991U) AppleWebKit/537.36 (KHTML, like Gecko)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
CHROME = "Chrome/126.0.0.0"

CLIENTS = [
    (f"{WINDOWS} {CHROME} Safari/537.36", Client("Chrome", "Windows", "desktop")),
    (f"{WINDOWS} {CHROME} Safari/537.36 Edg/126.0.0.0", Client("Edge", "Windows", "desktop")),
    (f"{WINDOWS} {CHROME} Safari/537.36 OPR/112.0.0.0", Client("Opera", "Windows", "desktop")),
    (
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        Client("Firefox", "Linux", "desktop"),
    ),
    (
        f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 {CHROME} Safari/537.36",
        Client("Chrome", "ChromeOS", "desktop"),
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.5 Safari/605.1.15",
        Client("Safari", "macOS", "desktop"),
    ),
    (f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1", Client("Safari", "iOS", "phone")),
    (f"{IPHONE} CriOS/126.0.0.0 Mobile/15E148 Safari/604.1", Client("Chrome", "iOS", "phone")),
    (f"{IPHONE} Mobile/15E148", Client("", "iOS", "phone")),
    (
        "Mozilla/5.0 (iPad; CPU OS 16_5 like Mac OS X) AppleWebKit/605.1.15 FxiOS/126.0 Safari/605.1.15",
        Client("Firefox", "iOS", "tablet"),
    ),
    (f"{ANDROID} {CHROME} Mobile Safari/537.36", Client("Chrome", "Android", "phone")),
    (f"{ANDROID} {CHROME} Safari/537.36", Client("Chrome", "Android", "tablet")),
    (
        f"{ANDROID} SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
        Client("Samsung Internet", "Android", "phone"),
    ),
    (
        f"Mozilla/5.0 (Linux; Android 13; SM-G991U; wv) Version/4.0 {CHROME} Mobile Safari/537.36",
        Client("Android WebView", "Android", "phone"),
    ),
    (
        "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) Chrome/52.0.2743.116 "
        "Mobile Safari/537.36 Edge/15.15063",
        Client("Edge", "Windows Phone", "phone"),
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
        Client("Internet Explorer", "Windows", "desktop"),
    ),
    ("Mozilla/4.0 (compatible; ms-office; MSOffice 16)", Client("Outlook", "Windows", "desktop")),
    (
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.1; Tablet PC 2.0; Microsoft Outlook 14.0.7113)",
        Client("Outlook", "Windows", "desktop"),
    ),
    ("MacOutlook/16.46 (Intelx64 Mac OS X 11.2.2 (Build 20D80))", Client("Outlook", "macOS", "desktop")),
    ("Outlook-iOS/709.2042344.prod.iphone (3.21.0)", Client("Outlook", "iOS", "phone")),
    ("Outlook-iOS-Android/1.0", Client("Outlook", "Android", "")),
    (
        "Mozilla/5.0 (Windows NT 6.1; rv:45.0) Gecko/20100101 Thunderbird/45.0",
        Client("Thunderbird", "Windows", "desktop"),
    ),
    (f"{WINDOWS} Chrome/55.0.2883.87 eM Client/8.2", Client("eM Client", "Windows", "desktop")),
    ("Airmail 1.4 rv:238 (Macintosh; Mac OS X 10.9.2)", Client("Airmail", "macOS", "desktop")),
    ("Mail/3696.120 CFNetwork/1335 Darwin/21.6.0", Client("Apple Mail", "", "")),
    ("Android-Gmail/64562652 (sw411dp; 420dpi)", Client("Gmail", "Android", "")),
    ("Mozilla/5.0 (Windows NT 5.1) Firefox/11.0 (via ggpht.com GoogleImageProxy)", Client("Gmail", "", "")),
    ("YahooMailProxy; https://help.yahoo.com/kb/", Client("Yahoo Mail", "", "")),
    ("Dalvik/2.1.0 (Linux; U; Android 12; SM-G970U)", Client("", "Android", "")),
    ("Mozilla/5.0", Client("", "", "")),
    (f"{WINDOWS} HeadlessChrome/74.0 Safari/537.36", Client("", "", "")),
    ("something new", Client("", "", "")),
    ("", Client("", "", "")),
]


@pytest.mark.parametrize(("user_agent", "client"), CLIENTS)
def test_clients(user_agent: str, client: Client) -> None:
    """A reader's program, system and device are told, and left empty where they cannot be known."""
    assert identify(user_agent) == client


def test_every_proxy_has_a_name() -> None:
    """Each mail service whose image proxy is known can be shown to a reader by name."""
    assert PROXY_CLIENTS.keys() == IMAGE_PROXIES.keys()


@pytest.mark.parametrize(("user_agent", "client"), CLIENTS)
def test_case_and_space_do_not_matter(user_agent: str, client: Client) -> None:
    """Gateways that change the case of a header or pad it do not change the answer."""
    assert identify(f"  {user_agent.upper()}\t") == client


@pytest.mark.parametrize(
    ("user_agent", "chrome"),
    [
        (f"{WINDOWS} {CHROME} Safari/537.36", ("126", "0", "0", "0")),
        (f"{WINDOWS} Chrome/126.0.1 Safari/537.36", ("126", "0", "1")),
        (f"{WINDOWS} Chrome/126", ("126",)),
        (f"{WINDOWS} Chrome/beta", ()),
        (f"{IPHONE} CriOS/126.0.0.0", ()),
    ],
)
def test_chrome_version(user_agent: str, chrome: tuple[str, ...]) -> None:
    """The version of Chrome is read part by part, since forged ones have too few."""
    assert recognise(user_agent).chrome == chrome


@settings(deadline=None)
@given(st.text() | st.lists(st.sampled_from([ua for ua, _ in CLIENTS]) | st.text(max_size=9)).map("".join))
def test_anything_can_be_read(user_agent: str) -> None:
    """No header makes the reading fail, and the device is one of the three or empty."""
    assert recognise(user_agent).reason.startswith("ua_")
    assert identify(user_agent).device in {"desktop", "phone", "tablet", ""}


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_can_be_read(header: bytes) -> None:
    """Bytes that are no text at all, as a server hands them over, are read as well."""
    assert recognise(header.decode("latin-1")).reason
    assert identify(header.decode("utf-8", "surrogateescape")) is not None
