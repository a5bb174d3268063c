"""The endpoints of webhooks, as a host writes them down."""

from __future__ import annotations

from typing import Any

import pytest

from flask_mailtrack.endpoints import TYPES, webhooks
from flask_mailtrack.errors import ConfigError

KEY, URL = "MAILTRACK_WEBHOOKS", "https://example.com/hook"
SECRET = "whsec_" + "a" * 43 + "="
GOOD = {"secret": SECRET}
WRONG: list[tuple[str, Any]] = [
    *(("E122", each) for each in (None, [], URL, {URL: None}, {URL: GOOD | {"retry": 1}})),
    *(("E123", {url: GOOD}) for url in (1, "", "example.com", "http://example.com/", "ftp://example.com/")),
    *(("E123", {url: GOOD}) for url in ("https://me:hunter2@example.com/", "https://example.com/#a", "https:///hook")),
    *(("E123", {url: GOOD}) for url in ("https://example.com:99999/", "https://example.com:0/", "https://[::1")),
    *(("E123", {url: GOOD}) for url in ("https://ex ample.com/", "https://exämple.com/", "https://a/\n")),
    ("E123", {f"https://example.com/{'b' * 2048}": GOOD}),
    *(
        ("E124", {URL: {"secret": each}})
        for each in (None, "", [], "hunter2", "whsec_", "whsec_hunter2=", [SECRET, ""])
    ),
    ("E124", {URL: {}}),
    *(("E125", {URL: GOOD | {"events": each}}) for each in ([], None, "message.sent", ["sent"], [1])),
    *(("E101", {URL: GOOD | {name: 1}}) for name in ("allow_http", "allow_private")),
]


@pytest.mark.parametrize(("code", "value"), WRONG)
def test_a_wrong_endpoint_is_explained(code: str, value: Any) -> None:
    """The app does not start; the text names the key and a cure, and never a secret or a password."""
    with pytest.raises(ConfigError) as seen:
        webhooks(KEY, value)
    assert seen.value.code == code
    assert seen.value.key.startswith(KEY)
    assert seen.value.cure
    assert not [each for each in (SECRET, "hunter2") if each in str(seen.value)]


def test_an_endpoint_is_read() -> None:
    """Host, port, path and secrets are as written; without events, all of them are wanted."""
    both = {URL: GOOD, "http://[::1]:8000?a=1": {"secret": [SECRET, SECRET], "allow_http": True, "events": TYPES[:1]}}
    one, other = webhooks(KEY, both).values()
    assert (one.host, one.port, one.target, one.secrets, one.events) == (
        "example.com",
        443,
        "/hook",
        (SECRET,),
        {*TYPES},
    )
    assert (other.host, other.port, other.target, other.events) == ("::1", 8000, "/?a=1", {"message.sent"})
    assert one.key != other.key
    assert SECRET not in repr(both | {"read": one})[len(repr(both)) :]
