"""Every setting is checked at start-up, and a mistake says what is wrong and what to write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thorough import some

from flask_mailtrack.config import Settings, keys, load
from flask_mailtrack.errors import ConfigError

SECRET = "a secret that is long enough for anybody"
BASE_URL = "https://links.example.com"
OLDER = "an older secret, long enough for anybody"


def configured(*, testing: bool = False, **config: Any) -> Settings:
    """Load a config that is complete but for what is given; ``None`` leaves ``SECRET_KEY`` out."""
    given = {"SECRET_KEY": SECRET, "MAILTRACK_BASE_URL": BASE_URL} | config
    return load(given, instance_path=os.path.join("var", "instance"), testing=testing)


def mistake(**config: Any) -> ConfigError:
    """Load a config that must be refused."""
    with pytest.raises(ConfigError) as caught:
        configured(**config)
    return caught.value


def test_the_defaults_are_the_documented_ones() -> None:
    """With nothing but a base URL and a secret every setting has the default that the README prints."""
    loaded = configured()
    special = {
        "MAILTRACK_BASE_URL": BASE_URL,
        "MAILTRACK_SECRET_KEYS": (SECRET,),
        "MAILTRACK_SPOOL_DIR": os.path.join("var", "instance", "mailtrack"),
    }
    for key, default, doc in keys():
        assert getattr(loaded, key.removeprefix("MAILTRACK_").lower()) == special.get(key, default), key
        assert doc.endswith(".")


def test_the_list_of_keys_is_complete() -> None:
    """Every documented key can be set, and nothing can be set that is not documented."""
    assert [key for key, _, _ in keys()] == [f"MAILTRACK_{name.upper()}" for name in Settings.__dataclass_fields__]


WRONG: dict[str, list[Any]] = {
    "APPLE_APP_SITE_ASSOCIATION": [None, [], "x", {"a": {1, 2}}, {"a": float("nan")}],
    "ASSETLINKS": [None, {}, "x", [{1}], [b"x"]],
    "APP_ID": [1, None, b"shop", "a\0b", "\ud800", ["a"]],
    "BASE_URL": [1, b"https://x.com", ["https://x.com"], True],
    "CNAME_TARGET": [None, 1, "https://links.example.com", "a b", "links.example.com:8000"],
    "DNS_SERVERS": [None, "127.0.0.1", ["localhost"], ["127.0.0.1:0"], ["127.0.0.1:65536"], ["[::1"], [53]],
    "ALLOW_PRIVATE_HOSTS": [None, 1, "yes"],
    "ASK_SECRET": [None, 1, "a\nb"],
    "BLOCKED": [None, "evil.example", {"evil.example"}, [1], ["not a host"], ["a\0b"], [None]],
    "CLICKS": [1, "yes", None, "true"],
    "SERVICES": [
        *(None, [], {1: {}}, {"postmak": {}}, {"postmark": None}),
        *({"postmark": about} for about in ({}, {"secret": "short"}, {"secret": SECRET}, {"secret": []})),
        {"postmark": {"secret": "a" * 16, "key": "x"}},
        *({"mailgun": {"secret": "a" * 16} | more} for more in ({}, {"key": ""}, {"key": 1}, {"key": []})),
        *({"resend": {"secret": "a" * 16, "key": key}} for key in ("x", "whsec_", "whsec_äöü")),
        *({"sendgrid": {"secret": "a" * 16, "key": key}} for key in ("x", "AAAA", "MFkwEwYHKoZIzj0CAQ==")),
        *({"ses": {"secret": "a" * 16, "topics": topics}} for topics in ("mail", [], ["arn:aws:sqs:eu-west-1:1:x"])),
        {"mandrill": {"secret": "a" * 16, "key": "x", "url": "example.com"}},
    ],
    "DOWNSTREAM": [None, "smtp", "SendGrid", True],
    "ENCODING": [None, "base64", "Quoted-Printable", True],
    "DRAIN": ["threads", True, None, ["thread"], {}],
    "DRAIN_SECONDS": [0, 3601, "2", True, None, float("nan"), float("inf"), [2]],
    "FOOTER": [0, "off", None],
    "FOREIGN_PLACEHOLDERS": [0, "off", None],
    "FOREIGN_HEADERS": [0, "off", None],
    "HONOUR_GPC": [1, "yes", None],
    "ENABLED": [0, "off", None],
    "FRONT_DOOR": [0, "off", None],
    "GEO_DATABASE": [1, None, b"x.mmdb", "a\0b"],
    "GEO_DETAIL": ["", "City", "street", None, True, ["city"]],
    "HONEYPOT": [1, "on", None],
    "IP": ["", "Truncate", None, True, ["full"]],
    "KEEP_BODIES": [None, 1, "yes", "true"],
    "KEEP_DAYS": [None, 365, {"optouts": 1}, {"events": 0}, {"events": "365"}, {"messages": None}, {"events": True}],
    "LANGUAGE": [None, 1, "xx", "pt-BR", "DE", ["de"]],
    "LISTS": [None, [], "news", {"news": "News"}, {"news": {}}, {"news": {"title": 1}}, {1: {"title": "News"}}],
    "TAGS": [None, "welcome", {"welcome"}, [1], [""], [" "], ["a\nb"], ["x" * 256]],
    "TIMEZONE": [None, 1, "", "Berlin", "Europe/berlin\n", "../etc/passwd", ["UTC"]],
    "RELAY_LISTEN": [
        None,
        25,
        "",
        "localhost:25",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:70000",
        "::1:25",
        "[::1]",
        "1.2:25",
    ],
    "RELAY_USERS": [
        None,
        [],
        "shop",
        {"shop": "secret"},
        {"shop": None},
        {"": "0" * 64},
        {1: "0" * 64},
        {"a\n": "0" * 64},
    ],
    "RELAY_CERTIFICATE": [None, 1, b"x", "a\0b"],
    "RELAY_PRIVATE_KEY": [None, 1, b"x", "a\0b"],
    "RELAY_WITHOUT_TLS": [1, "yes", None],
    "RELAY_MAX_BYTES": [0, 1.5, "9", None, True, 1_000_000_001],
    "REPORTS_BIND": [None, 1, b"replica", "a\n", ["replica"]],
    "MAX_SECONDS": [0, 61, "2", None, True, float("nan")],
    "MODE": ["", "Aggregate", "anonymous", None, True, ["aggregate"]],
    "PIXEL": ["", "middle", None, True],
    "SCAM_GUARD": [1, "on", None],
    "SINK": [
        None,
        1,
        True,
        b"redis://x",
        "x",
        "redis:",
        "redis://",
        "http://localhost",
        "unix://",
        "redis://x:port",
        "redis://x:99999",
        "redis://[::1",
        "redis://x y\n",
    ],
    "SINK_MAX": [0, 1.5, "9", None, True, 1_000_000_001],
    "SINK_VOLATILE": [1, "yes", None],
    "SKIP_LINKS": ["(", "[a", 1, None, "a\0"],
    "SUPPRESS_BOUNCES": [None, 1, "no"],
    "SUPPRESS_COMPLAINTS": [None, 0, "yes"],
    "TEXT_CLICKS": [1, "on", None],
    "THRESHOLDS": [
        None,
        [],
        5,
        {"bursts": 5},
        {"instants": 5},
        {1: 5},
        {"burst": "5"},
        {"burst": True},
        {"burst": -1},
        {"burst": 86_401},
        {"sweep": None},
        {"min_chrome": float("nan")},
    ],
    "UA_PARSER": [1, "on", None],
    "UTM": [None, [], "source", {"source": 1}, {1: "x"}, {"sour ce": "x"}, {"source": ""}, {"source": "a\nb"}],
    "NETWORKS": [1, None, b"networks.txt", "a\0b", ["networks.txt"]],
    "OPENS": [1, "yes", None],
    "OWN_NETWORKS": [None, "203.0.113.0/24", [1], ["office"], ["203.0.113.1/24"], ["fe80::1%eth0"], [""]],
    "SENDER_DOMAINS": [
        None,
        [],
        "example.com",
        {"example.com": None},
        {"example.com": ["opens"]},
        {"example.com": {"opens": 1}},
        {"example.com": {"opening": True}},
        {"example.com": {1: True}},
        {"example.com": {"base_url": "ftp://x"}},
        {"example.com": {"base_url": ""}},
        {"@example.com": {}},
        {"ada@example.com": {}},
        {"": {}},
        {"example..com": {}},
        {"*.example.com": {}},
        {"ü" * 64: {}},
        {1: {}},
    ],
    "SPLIT": [0, "off", None],
    "SPOOL_DIR": [1, None, b"spool", "a\0b", ["spool"]],
    "SPOOL_FALLBACK_DIR": [1, None, b"spool", "a\0b", ["spool"]],
    "SPOOL_SYNC": ["always", True, False, None],
    "TRACK_WHEN_UNKNOWN": [1, "no", None],
    "UNSUBSCRIBE": [1, "yes", None],
    "UNSUBSCRIBE_MAILTO": [
        None,
        1,
        b"leave@example.com",
        "leave",
        "mailto:leave@example.com",
        "Leave <leave@example.com>",
        "leave@example",
        "leave@example.com\n",
        "leave@example.com>, <https://evil.example",
        "a..b@example.com",
        "leäve@example.com",
        "x" * 65 + "@example.com",
        "leave@" + "x" * 190 + ".com",
        ["leave@example.com"],
    ],
    "URL_PREFIX": [
        1,
        None,
        "",
        "/",
        "m",
        "//m",
        "/m//n",
        "/é",
        "/m n",
        "/m?",
        "/m\n",
        "/..",
        "/<m>",
        "/٣",
        [],
        ["/m", "x"],
        [["/m"]],
        {"/m"},
    ],
    "USER_AGENT": ["all", None, 1],
    "VERDICTS": [0, "off", None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_value_is_explained(name: str, value: Any) -> None:
    """A value of the wrong type or range is refused with key, value and cure."""
    error = mistake(**{f"MAILTRACK_{name}": value})
    assert error.key.startswith(f"MAILTRACK_{name}")
    assert error.code.startswith("E1")
    assert error.cure.startswith(("Write ", "Known: "))
    shown = [repr(value), *(map(repr, value.values()) if isinstance(value, dict) else ())]
    shown += [
        repr(v)
        for inner in (value.values() if isinstance(value, dict) else ())
        if isinstance(inner, dict)
        for v in (*inner, *inner.values())
    ]
    shown += map(repr, value) if isinstance(value, dict | list) else ()
    assert any(text in str(error) for text in shown) or not value
    assert str(error) == f"[{error.code}] {error.key}: {error.problem} {error.cure}"


def test_every_key_has_wrong_values() -> None:
    """No key is without a check; the secrets have tests of their own, for they are never shown."""
    assert {f"MAILTRACK_{name}" for name in WRONG} | {"MAILTRACK_SECRET_KEYS", "MAILTRACK_WEBHOOKS"} == {
        key for key, _, _ in keys()
    }


@pytest.mark.parametrize(
    ("key", "cure"),
    [
        ("MAILTRACK_OPEN", "Did you mean MAILTRACK_OPENS?"),
        ("MAILTRACK_UNSUBSCRIBES", "Did you mean MAILTRACK_UNSUBSCRIBE?"),
        ("MAILTRACK_SECRET_KEY", "Did you mean MAILTRACK_SECRET_KEYS?"),
        ("MAILTRACK_BASEURL", "Did you mean MAILTRACK_BASE_URL?"),
        ("MAILTRACK_opens", "Did you mean MAILTRACK_OPENS?"),
        ("MAILTRACK_QUUX", "Remove it."),
        ("MAILTRACK_", "Remove it."),
    ],
)
def test_an_unknown_key_suggests_the_close_one(key: str, cure: str) -> None:
    """A misspelt key is refused with the key that was meant."""
    error = mistake(**{key: "its value, perhaps a secret"})
    assert (error.code, error.key, error.cure) == ("E100", key, cure)
    assert "perhaps a secret" not in str(error)


def test_keys_of_other_extensions_are_left_alone() -> None:
    """Only keys that begin with MAILTRACK_ are ours."""
    assert configured(MAIL_SERVER="localhost", mailtrack_opens=1, MAILTRACKS=2).opens


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://links.example.com", "https://links.example.com"),
        ("https://links.example.com/", "https://links.example.com"),
        ("https://links.example.com//", "https://links.example.com"),
        ("HTTPS://Links.Example.COM", "https://links.example.com"),
        ("https://example.com/App/x/", "https://example.com/App/x"),
        ("http://localhost:5000", "http://localhost:5000"),
        ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_a_base_url_has_one_spelling(given: str, expected: str) -> None:
    """Attack 91: scheme and host are lower-cased, the closing slash goes, a path stays."""
    loaded = configured(MAILTRACK_BASE_URL=given, MAILTRACK_SENDER_DOMAINS={"a.example": {"base_url": given}})
    assert loaded.base_urls() == [expected, expected]
    assert loaded.https == expected.startswith("https://")


@pytest.mark.parametrize(
    "url",
    [
        "links.example.com",
        "//links.example.com",
        "ftp://links.example.com",
        "javascript:alert(1)",
        "https://",
        "https:///m",
        "https://...",
        "https://links.example.com?x=1",
        "https://links.example.com?",
        "https://links.example.com/#top",
        "https://links.example.com#",
        "https://bücher.example",
        "https://links.example.com:99999",
        "https://links.example.com:port",
        "https://links example.com",
        "https://links.example.com/a b",
        'https://links.example.com/">',
        "https://links.example.com\\evil",
        "https://links.example.com\r\nBcc: x",
        "https://links.exa\tmple.com",
        " https://links.example.com",
        "https://links.example.com\n",
        "\0https://links.example.com",
        "https://[::1",
        "https://{{ host }}",
    ],
)
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    """Attack 91: what cannot be the beginning of a link is refused at start-up, with its value."""
    error = mistake(MAILTRACK_BASE_URL=url)
    assert error.key == "MAILTRACK_BASE_URL"
    assert repr(url) in str(error)


@pytest.mark.parametrize("url", ["", None, False])
def test_a_base_url_is_required(url: Any) -> None:
    """Attack 45: without a base URL there is no start, since a request's host may be forged."""
    assert mistake(MAILTRACK_BASE_URL=url).code == "E106"


def test_a_password_in_a_base_url_is_not_repeated() -> None:
    """A base URL with user name and password is refused without showing them."""
    assert "hunter2" not in str(mistake(MAILTRACK_BASE_URL="https://ada:hunter2@example.com"))
    domains = {"a.example": {"base_url": "https://ada:hunter2@example.com"}}
    assert "hunter2" not in str(mistake(MAILTRACK_SENDER_DOMAINS=domains))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, (SECRET,)),
        ({"SECRET_KEY_FALLBACKS": [OLDER, b"bytes too"]}, (SECRET, OLDER, b"bytes too")),
        ({"SECRET_KEY_FALLBACKS": ("short", None, "")}, (SECRET, "short")),
        ({"SECRET_KEY_FALLBACKS": None}, (SECRET,)),
        ({"SECRET_KEY": SECRET.encode()}, (SECRET.encode(),)),
        ({"MAILTRACK_SECRET_KEYS": []}, (SECRET,)),
        ({"MAILTRACK_SECRET_KEYS": [OLDER, "x"], "SECRET_KEY_FALLBACKS": ["y"]}, (OLDER, "x")),
        ({"MAILTRACK_SECRET_KEYS": (OLDER,), "SECRET_KEY": None}, (OLDER,)),
    ],
)
def test_keys_are_read_newest_first(config: dict[str, Any], expected: tuple[str | bytes, ...]) -> None:
    """Links are signed by MAILTRACK_SECRET_KEYS, or else by SECRET_KEY and then its fallbacks."""
    assert configured(**config).secret_keys == expected


SECRETS: list[tuple[dict[str, Any], str]] = [
    ({"SECRET_KEY": None}, "SECRET_KEY"),
    ({"SECRET_KEY": ""}, "SECRET_KEY"),
    ({"SECRET_KEY": None, "SECRET_KEY_FALLBACKS": [OLDER]}, "SECRET_KEY"),
    ({"SECRET_KEY": "hunter2"}, "SECRET_KEY"),
    ({"SECRET_KEY": 31337313373133731337}, "SECRET_KEY"),
    ({"SECRET_KEY": "hunter2\ud800" * 9}, "SECRET_KEY"),
    ({"SECRET_KEY_FALLBACKS": "hunter2 hunter2 hunter2"}, "SECRET_KEY_FALLBACKS"),
    ({"SECRET_KEY_FALLBACKS": {"hunter2": 1}}, "SECRET_KEY_FALLBACKS"),
    ({"SECRET_KEY_FALLBACKS": [31337]}, "SECRET_KEY_FALLBACKS"),
    ({"MAILTRACK_SECRET_KEYS": "hunter2 hunter2 hunter2"}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": b"hunter2 hunter2 hunter2"}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": None}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": 31337}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": {"hunter2 hunter2 hunter2"}}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": {"hunter2 hunter2 hunter2": 1}}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": [""]}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": [OLDER, ""]}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": [OLDER, b""]}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": [OLDER, None]}, "MAILTRACK_SECRET_KEYS"),
    ({"MAILTRACK_SECRET_KEYS": ["hunter2"]}, "MAILTRACK_SECRET_KEYS"),
]


@pytest.mark.parametrize(("config", "key"), SECRETS)
def test_a_bad_secret_is_refused_and_not_shown(config: dict[str, Any], key: str) -> None:
    """Attack 88 and 89: a missing, weak or mistyped key stops the app, and the text has no part of it."""
    error = mistake(**config)
    assert error.key == key
    assert not any(secret in f"{error} {error!r}" for secret in ("hunter2", "31337", SECRET, OLDER))


def test_a_string_of_fallbacks_is_not_a_list_of_letters() -> None:
    """A string where a list belongs would make each of its letters a key with which anybody can sign."""
    with pytest.raises(ConfigError, match="SECRET_KEY_FALLBACKS"):
        configured(testing=True, SECRET_KEY_FALLBACKS=OLDER)


def test_a_secret_is_measured_in_bytes() -> None:
    """A short secret is refused, but not under TESTING."""
    assert mistake(SECRET_KEY="x" * 15).code == "E112"
    assert "MAILTRACK_SECRET_KEYS" in mistake(SECRET_KEY="dev").cure
    assert configured(SECRET_KEY="x" * 16).secret_keys == ("x" * 16,)
    assert configured(SECRET_KEY="é" * 8).secret_keys == ("é" * 8,)
    assert configured(SECRET_KEY="dev", testing=True).secret_keys == ("dev",)


def test_no_key_is_shown() -> None:
    """Attack 89: an error page or a log that prints the settings prints no secret."""
    loaded = configured(MAILTRACK_SECRET_KEYS=[OLDER])
    for text in (repr(loaded), str(loaded), f"{loaded}"):
        assert text == f"<Settings base_url={BASE_URL!r}>"


def test_testing_has_gentler_defaults() -> None:
    """Under TESTING rows arrive at once and a fast click is a person's, unless the host says otherwise."""
    assert (configured(testing=True).drain, configured(testing=True).limits.instant) == ("inline", 0)
    own = configured(testing=True, MAILTRACK_DRAIN="manual", MAILTRACK_THRESHOLDS={"instant": 5})
    assert (own.drain, own.limits.instant) == ("manual", 5)


@pytest.mark.parametrize("given", ["spool/here", Path("spool") / "here"])
def test_the_spool_may_be_anywhere(given: str | Path) -> None:
    """The directory of the journal is a string or a path."""
    assert configured(MAILTRACK_SPOOL_DIR=given).spool_dir == os.path.join("spool", "here")


@pytest.mark.parametrize(("given", "expected"), [("/m", "/m"), ("/m/", "/m"), ("/a/b_c-1", "/a/b_c-1")])
def test_a_prefix_is_a_path(given: str, expected: str) -> None:
    """The prefix is one or more segments, without a closing slash."""
    assert configured(MAILTRACK_URL_PREFIX=given).url_prefix == expected


def test_sender_domains_are_found_in_any_spelling() -> None:
    """A domain is kept as senders are compared: lower-case, and international ones in ASCII."""
    domains = {"News.Example.COM": {"opens": False}, "Bücher.example": {"clicks": False, "base_url": f"{BASE_URL}/"}}
    assert configured(MAILTRACK_SENDER_DOMAINS=domains).sender_domains == {
        "news.example.com": {"opens": False},
        "xn--bcher-kva.example": {"clicks": False, "base_url": BASE_URL},
    }


def test_lists_have_titles() -> None:
    """A list has a title and perhaps a description; a misspelt word is not passed over."""
    about = {"news": {"title": "News", "description": "Every week"}, "tips": {"title": "Tips"}}
    assert configured(MAILTRACK_LISTS=about).lists == about
    assert mistake(MAILTRACK_LISTS={"news": {"title": "News", "descripton": "x"}}).key == "MAILTRACK_LISTS['news']"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
words = st.sampled_from(
    [
        "opens",
        "title",
        "base_url",
        "https://a.example",
        "a.example",
        "full",
        "/m",
        SECRET,
        "description",
    ]
)
hashable = words | scalars
anything = st.recursive(
    hashable, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hashable, inner, max_size=3), max_leaves=8
)
names = st.sampled_from([key for key, _, _ in keys()] + ["SECRET_KEY", "SECRET_KEY_FALLBACKS"])


@settings(max_examples=some(400))
@given(config=st.dictionaries(names, anything, max_size=3))
def test_any_config_is_taken_or_explained(config: dict[str, Any]) -> None:
    """Whatever stands in a config file, it gives settings or an explanation, never another error."""
    for testing in (True, False):
        try:
            loaded = configured(testing=testing, **config)
        except ConfigError as error:
            seen = str(error)
            assert "SECRET_KEY" in seen or "MAILTRACK_" in seen
        else:
            assert loaded.secret_keys
            assert all(loaded.secret_keys)
            assert SECRET not in repr(loaded)


LINKS_OF_A_SERVICE = {
    "MAILTRACK_PORT": "tcp://10.0.171.239:80",
    "MAILTRACK_SERVICE_HOST": "10.0.171.239",
    "MAILTRACK_SERVICE_PORT": 80,
    "MAILTRACK_SERVICE_PORT_HTTP": 80,
    "MAILTRACK_PORT_80_TCP": "tcp://10.0.171.239:80",
    "MAILTRACK_PORT_80_TCP_PROTO": "tcp",
    "MAILTRACK_PORT_80_TCP_PORT": 80,
    "MAILTRACK_PORT_80_TCP_ADDR": "10.0.171.239",
    "MAILTRACK_WORKER_PORT": "udp://10.0.171.240:53",
    "MAILTRACK_WORKER_PORT_53_UDP": "udp://10.0.171.240:53",
}


def test_the_links_of_a_service_do_not_stop_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """What Kubernetes makes of a service named flask-mailtrack is named in the log with the cure, and passed over."""
    assert configured(**LINKS_OF_A_SERVICE).url_prefix == "/m"
    (line,) = [record.getMessage() for record in caplog.records]
    assert [name for name in LINKS_OF_A_SERVICE if name not in line] == []
    assert "enableServiceLinks: false" in line
    assert "10.0.171.239" not in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MAILTRACK_PORT", 8080),
        ("MAILTRACK_PORT", "x"),
        ("MAILTRACK_PORT_80_TCP", "x"),
        ("MAILTRACK_SERVICE", "tcp://x"),
    ],
)
def test_what_only_resembles_such_a_link_is_a_mistake(key: str, value: Any) -> None:
    """A key that somebody wrote is refused, beside the links of a service too."""
    assert mistake(**{**LINKS_OF_A_SERVICE, key: value}).key == key
    assert mistake(**LINKS_OF_A_SERVICE, MAILTRACK_OPEN=True).code == "E100"


@pytest.mark.parametrize("kind", [list, tuple])
def test_prefixes_may_be_several(kind: type) -> None:
    """A list of prefixes has the one of new links first, and each once."""
    prefix = configured(MAILTRACK_URL_PREFIX=kind(["/new", "/m/", "/a/b", "/m"])).url_prefix
    assert (prefix, prefix.older, prefix.every) == ("/new", ("/m", "/a/b"), ("/new", "/m", "/a/b"))
    assert mistake(MAILTRACK_URL_PREFIX=kind()).code == "E185"
    assert mistake(MAILTRACK_URL_PREFIX=kind(["/m", "no"])).code == "E105"
