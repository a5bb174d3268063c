"""The rules of a tracking domain's name, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.administration.host_names import (
    ADVICE,
    Cname,
    advice,
    caddy_block,
    host_name,
    nginx_block,
    tracking_host,
)
from flask_mailtrack.errors import DomainError, MailtrackError

GOOD = ["abc", "click", "a-b", "a1b", "1ab", "A-Z", "x" * 63, "xn--mnchen-3ya"]
BAD = {
    "": "0 characters",
    "ab": "2 characters",
    "x" * 64: "64 characters",
    "-ab": "hyphen",
    "ab-": "hyphen",
    "123": "digits alone",
    "a.b": "letters a to z",
    "a_b": "letters a to z",
    "a b": "letters a to z",
    "müll": "letters a to z",
    "abc\n": "letters a to z",
    "٣٣٣": "letters a to z",
}


@pytest.mark.parametrize("prefix", GOOD)
def test_a_good_prefix_makes_a_host(prefix: str) -> None:
    """Three to 63 letters, digits and hyphens are a prefix, in lower case afterwards."""
    assert tracking_host("Example.COM.", prefix) == f"{prefix.lower()}.example.com"


@pytest.mark.parametrize("prefix", BAD, ids=ascii)
def test_a_bad_prefix_is_refused_with_its_rule(prefix: str) -> None:
    """The error names the rule that the prefix breaks, and is one of ours and a ValueError."""
    with pytest.raises(DomainError, match=BAD[prefix]) as caught:
        tracking_host("example.com", prefix)
    assert isinstance(caught.value, MailtrackError | ValueError)


@pytest.mark.parametrize("prefix", ["1ab", "abc"])
def test_a_prefix_better_starts_with_a_letter(prefix: str) -> None:
    """A digit at the start is allowed, with a word of advice."""
    assert advice(prefix) == (ADVICE if prefix[0].isdigit() else "")


NO_DOMAINS = [
    "",
    "com",
    "127.0.0.1",
    "[::1]",
    "a..b",
    "-a.com",
    "a@b.com",
    "http://a.com",
    "a b.com",
    "x." * 130 + "com",
]


@pytest.mark.parametrize("primary", NO_DOMAINS)
def test_a_primary_domain_must_be_a_domain(primary: str) -> None:
    """An address, a single label or free text is no primary domain."""
    with pytest.raises(DomainError, match="domain"):
        tracking_host(primary, "click")


def test_the_whole_name_must_be_valid() -> None:
    """A good prefix on a long domain may still be too long."""
    long = ".".join(["x" * 60] * 4)
    assert len(long) <= 253
    with pytest.raises(DomainError, match="at most 253"):
        tracking_host(long, "y" * 20)


def test_an_internationalised_domain_has_one_spelling() -> None:
    """Names are compared in A-labels."""
    assert host_name("Bücher.example") == "xn--bcher-kva.example"


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    """Free text never raises anything but our error, and what passes stays as it is."""
    try:
        name = host_name(text)
    except DomainError:
        return
    assert host_name(name) == name


def test_the_record_is_ready_to_copy() -> None:
    """The same record as fields and as a line of a zone file, where both names end in a dot."""
    assert Cname("click.example.com", "links.example.net").zone_line == (
        "click.example.com. 300 IN CNAME links.example.net."
    )


def test_web_servers_serve_only_our_paths() -> None:
    """Both blocks name the host, pass our paths on, and answer 404 to the rest."""
    nginx = nginx_block("click.example.com", ("/m", "/old"))
    caddy = caddy_block("click.example.com", ("/m",), "http://127.0.0.1:8000/m/d/ask")
    assert "server_name click.example.com;" in nginx
    assert nginx.count("proxy_pass") == 2
    assert "return 404" in nginx
    assert "@tracking path /m/*" in caddy
    assert "respond 404" in caddy
