"""Links that went out work for ever: tokens of every released version, pinned."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from flask_mailtrack.events import Kind
from flask_mailtrack.tokens import Signer, Token

GOLDEN = Path(__file__).parent / "golden" / "tokens-1.json"
ENTRIES: list[dict[str, Any]] = json.loads(GOLDEN.read_text("utf-8"))["tokens"]

# Of the first 72 entries, as they were when version 1 was made. New entries go to the end, and these stay.
PINNED = 72
FINGERPRINT = "b06d81d908a5f213569a15dc336b84ce6489e76c8f42304e7a1ea9eead3c3c08"


def secret_of(entry: dict[str, Any]) -> str | bytes:
    """The secret of an entry: text, or bytes in base64."""
    return base64.b64decode(entry["secret_base64"]) if "secret_base64" in entry else str(entry["secret"])


def fingerprint(entries: list[dict[str, Any]]) -> str:
    """A hash over all that is pinned, whatever the layout of the file."""
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def test_no_golden_token_was_removed_or_changed() -> None:
    """The file is append-only: whoever edits an entry breaks links that lie in mailboxes."""
    assert len(ENTRIES) >= PINNED
    assert fingerprint(ENTRIES[:PINNED]) == FINGERPRINT


def test_golden_tokens_are_of_every_sort() -> None:
    """All kinds are pinned, with text and byte secrets, several apps, and short, long and foreign URLs."""
    assert {entry["kind"] for entry in ENTRIES} == set(Kind)
    assert {type(secret_of(entry)) for entry in ENTRIES} == {str, bytes}
    assert len({entry["app_id"] for entry in ENTRIES}) >= 3
    urls = {entry["url"] for entry in ENTRIES if "url" in entry}
    assert any(len(url) == 1_400 for url in urls)
    assert any(not url.isascii() for url in urls)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry['kind']}-{entry['path'][-8:]}")
def test_a_golden_token_is_read(entry: dict[str, Any]) -> None:
    """A link of any released version says what it said when it was sent, also behind a newer key."""
    newer = "a newer key than all of these"
    kind, identifier = Kind(entry["kind"]), uuid.UUID(entry["message_id"])
    for key, signer in enumerate(
        (Signer([secret_of(entry)], entry["app_id"]), Signer([newer, secret_of(entry)], entry["app_id"]))
    ):
        if kind is Kind.CLICK:
            ref = entry["path"][32:48]
            expected = Token(kind, identifier, entry["position"], ref, key)
            assert signer.read_click(entry["path"]) == (expected, entry["url"])
        else:
            token = signer.read(kind, entry["path"])
            assert (token.kind, token.message_id, token.link, token.key) == (kind, identifier, 0, key)
            if "address" in entry:
                assert token.ref == signer.recipient_refs(entry["address"])[key]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry['kind']}-{entry['path'][-8:]}")
def test_a_golden_token_is_made_again(entry: dict[str, Any]) -> None:
    """Signing the same thing with the same key gives the same link, byte for byte, in every release."""
    signer = Signer([secret_of(entry)], entry["app_id"])
    message = signer.message(uuid.UUID(entry["message_id"]))
    match Kind(entry["kind"]):
        case Kind.CLICK:
            stamp = signer.stamp(entry["position"], entry["url"], entry["name"], entry["part"])
            path = message.click(stamp)
        case Kind.OPEN:
            path = message.open()
        case Kind.HONEYPOT:
            path = message.honeypot()
        case Kind.ONLINE:
            path = message.online()
        case kind:
            path = message.recipient(kind, signer.recipient_refs(entry["address"])[0])
    assert path == entry["path"]
