"""Five places may say what is tracked, and the narrowest wins."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import UserDict
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_mailtrack.config import Settings
from flask_mailtrack.outgoing.options import MAX_NAME, Options, Tracking, block, choose, parse

DOMAIN = "news.example.com"


def chosen(account: bool, domain: bool | None, inside: bool | None, header: str, own: bool | None) -> Tracking:
    """Ask all five places about opens."""
    domains: dict[str, dict[str, Any]] = {} if domain is None else {DOMAIN: {"opens": domain}}
    settings = Settings(base_url="https://a.example", opens=account, sender_domains=domains)
    with block(Options(opens=inside)):
        return choose(settings, DOMAIN, header, None if own is None else Options(opens=own))


@pytest.mark.parametrize(
    ("account", "domain", "inside", "header", "own", "expected"),
    [
        (True, None, None, "", None, True),
        (False, None, None, "", None, False),
        (True, False, None, "", None, False),
        (False, True, None, "", None, True),
        (True, False, True, "", None, True),
        (True, True, False, "", None, False),
        (True, True, False, "opens=on", None, True),
        (True, True, True, "opens=off", None, False),
        (True, True, True, "off", None, False),
        (True, True, True, "opens=off", True, True),
        (True, True, True, "opens=on", False, False),
        (True, None, None, "clicks=off", None, True),
        (False, None, None, "", True, True),
    ],
)
def test_the_narrowest_place_wins(
    account: bool, domain: bool | None, inside: bool | None, header: str, own: bool | None, expected: bool
) -> None:
    """Account, sender domain, block, header, message: each overrules those before it, and silence overrules nothing."""
    assert chosen(account, domain, inside, header, own).opens is expected


def test_another_sender_domain_changes_nothing() -> None:
    """Options of a sender domain hold for that domain alone, and may bring a base URL."""
    domains = {DOMAIN: {"clicks": False, "base_url": "https://l.example.com"}}
    settings = Settings(base_url="https://a.example", sender_domains=domains)
    ours, other = choose(settings, DOMAIN, "", None), choose(settings, "example.com", "", None)
    assert (ours.clicks, ours.base_url) == (False, "https://l.example.com")
    assert (other.clicks, other.base_url) == (True, "https://a.example")
    assert domains == {DOMAIN: {"clicks": False, "base_url": "https://l.example.com"}}


@pytest.mark.parametrize(
    ("account", "own", "expected"),
    [
        (True, Options(), False),
        (True, Options(list_id="news"), True),
        (False, Options(list_id="news"), False),
        (False, Options(list_id="news", unsubscribe=True), True),
        (True, Options(unsubscribe=True), True),
        (True, Options(list_id="news", unsubscribe=False), False),
    ],
)
def test_a_list_can_be_left(account: bool, own: Options, expected: bool) -> None:
    """A message that names a list can be unsubscribed from, unless somebody says otherwise."""
    assert choose(Settings(unsubscribe=account), "", "", own).unsubscribe is expected


def test_blocks_nest() -> None:
    """An inner block completes and overrules the outer one, and is gone when it ends, also by an exception."""
    tags = []

    def note() -> None:
        choice = choose(Settings(), "", "", None)
        tags.append((choice.tag, choice.clicks))

    with block(Options(tag="outer", clicks=False)):
        with suppress(KeyError), block(Options(tag="inner")):
            note()
            raise KeyError
        note()
    note()
    assert tags == [("inner", False), ("outer", False), ("", True)]


def test_a_block_is_of_its_thread() -> None:
    """What one thread says about its mail does not touch the mail of another."""
    tags = []
    with block(Options(tag="mine")):
        thread = threading.Thread(target=lambda: tags.append(choose(Settings(), "", "", None).tag))
        thread.start()
        thread.join()
        contextvars.Context().run(lambda: tags.append(choose(Settings(), "", "", None).tag))
        contextvars.copy_context().run(lambda: tags.append(choose(Settings(), "", "", None).tag))
    assert tags == ["", "", "mine"]


def test_a_block_is_of_its_task() -> None:
    """Two tasks that take turns in one thread keep their own blocks."""

    async def send(tag: str, turns: asyncio.Barrier) -> str:
        with block(Options(tag=tag)):
            await turns.wait()
            return choose(Settings(), "", "", None).tag

    async def both() -> list[str]:
        turns = asyncio.Barrier(2)
        return list(await asyncio.gather(send("one", turns), send("two", turns)))

    assert asyncio.run(both()) == ["one", "two"]


def test_dicts_are_merged() -> None:
    """Metadata and utm of all places come together; of one name the narrowest value holds."""
    with block(Options(metadata={"a": 1, "b": 1}, utm={"source": "block", "medium": "email"})):
        own = Options(metadata={"b": 2}, utm={"source": "own"})
        choice = choose(Settings(), "", "", own)
    assert choice.metadata == {"a": 1, "b": 2}
    assert choice.utm == (("medium", "email"), ("source", "own"))
    assert own.metadata == {"b": 2}


def test_an_empty_name_overrules() -> None:
    """A message can take back a tag or a list that a block names."""
    with block(Options(tag="block", list_id="news")):
        choice = choose(Settings(), "", "", Options(tag="", list_id=""))
    assert (choice.tag, choice.list_id, choice.unsubscribe) == ("", "", False)


LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("opens", 1, TypeError),
        ("clicks", "on", TypeError),
        ("unsubscribe", [], TypeError),
        ("tag", 5, TypeError),
        ("tag", b"x", TypeError),
        ("tag", "x" * (MAX_NAME + 1), ValueError),
        ("tag", "a\nb", ValueError),
        ("tag", "a\0b", ValueError),
        ("tag", "a\ud800", ValueError),
        ("list_id", ["news"], TypeError),
        ("list_id", "a\r\nBcc: x", ValueError),
        ("encoding", "base64", ValueError),
        ("encoding", 8, ValueError),
        ("metadata", [1], TypeError),
        ("metadata", "x", TypeError),
        ("metadata", {"a": object()}, ValueError),
        ("metadata", {(1, 2): 3}, ValueError),
        ("metadata", {"a": {1}}, ValueError),
        ("metadata", {"a": float("nan")}, ValueError),
        ("metadata", {"a": [float("inf")]}, ValueError),
        ("metadata", {"a": "x\0"}, ValueError),
        ("metadata", {"\\\0": 1}, ValueError),
        ("metadata", {"a": "\ud83d"}, ValueError),
        ("metadata", LOOP, ValueError),
        ("metadata", {"a": [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}, ValueError),
        ("metadata", {"a": "x" * 64_000}, ValueError),
        ("metadata", {"a": "ö" * 32_000}, ValueError),
        ("metadata", {"a": DEEP}, ValueError),
        ("utm", "source=x", TypeError),
        ("utm", [("source", "x")], TypeError),
        ("utm", {"source": 5}, TypeError),
        ("utm", {"source": None}, TypeError),
        ("utm", {"source": "a\r\n"}, ValueError),
        ("utm", {"source": "\ud800"}, ValueError),
        ("utm", {"source": "x" * (MAX_NAME + 1)}, ValueError),
        ("utm", {5: "x"}, ValueError),
        ("utm", {"": "x"}, ValueError),
        ("utm", {"a&b": "x"}, ValueError),
        ("utm", {"a#b": "x"}, ValueError),
        ("utm", {"é": "x"}, ValueError),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isidentifier() else "",
)
def test_a_bad_value_is_named_at_once(name: str, value: Any, error: type[Exception]) -> None:
    """A mistake is told where it is made, with the name of the option, and not when the mail is sent."""
    with pytest.raises(error, match=name):
        Options(**{name: value})


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": {"a": [1, 2.5, None, True, {"b": "😀"}], "1": "\\u0000", "path": "C:\\users"}},
        {"metadata": UserDict({"a": 1})},
        {"utm": {"source": "Ünï & co", "id": "", "Content_2": "x"}},
        {"tag": "x" * MAX_NAME, "list_id": "Nachrichten für alle"},
        {"tag": "", "list_id": ""},
    ],
)
def test_good_values_are_taken(options: dict[str, Any]) -> None:
    """Whatever JSON can hold, and names in any language, are taken."""
    taken = Options(**options)
    assert all(getattr(taken, name) is value for name, value in options.items())


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", Options()),
        (" ; ;; ", Options()),
        ("off", Options(opens=False, clicks=False)),
        (" ON ", Options(opens=True, clicks=True)),
        ("opens=on; clicks=off; tag=welcome; list=news", Options(True, False, None, "welcome", "news")),
        ("Opens = OFF;CLICKS=No", Options(False, False)),
        ("opens=yes;clicks=true;unsubscribe=false", Options(True, True, False)),
        ("off; tag=welcome", Options(False, False, tag="welcome")),
        ("tag=welcome; off", Options(False, False, tag="welcome")),
        ("off; clicks=on", Options(False, True)),
        ("opens=on; opens=off", Options(False)),
        ("encoding=quoted-printable", Options(encoding="quoted-printable")),
        ("store=off", Options(store=False)),
        ("tag=a=b", Options(tag="a=b")),
        ("tag=", Options(tag="")),
    ],
)
def test_a_header_is_read(header: str, expected: Options, caplog: pytest.LogCaptureFixture) -> None:
    """A library that knows nothing of us can still choose, in any case and order."""
    assert parse(header) == expected
    assert not caplog.records


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("nonsense", {}),
        ("opens=perhaps; clicks=on", {}),
        ("opens; clicks=on", {}),
        ("open=off", {}),
        ("of", {}),
        ("opens=on; open=off", {}),
        ("colour=red; tag=x", {"tag": "x"}),
        ("on=off", {}),
        ("tag=" + "x" * 300 + "; opens=on", {}),
        ("tag=a\x1bb; opens=on", {}),
        ("metadata={}; utm=x", {}),
        ("stor=off; tag=x", {"store": False, "tag": "x"}),
        ("store=of; open=off", {"store": False}),
        ("store=on; store=perhaps", {"store": False}),
        ("mode=agregate; list=news", {"list_id": "news"}),
        ("=; ==", {}),
    ],
)
def test_junk_in_a_header_is_logged(header: str, expected: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be read may have asked for less, so opens and clicks are off with a warning; the rest still holds."""
    with caplog.at_level(logging.WARNING, "flask_mailtrack.send"):
        assert parse(header) == Options(opens=False, clicks=False, **expected)
    assert all("X-Mailtrack" in record.getMessage() for record in caplog.records)
    assert caplog.records
    assert all(record.getMessage().isprintable() for record in caplog.records)


@pytest.mark.parametrize(
    ("header", "nearest"),
    [
        ("open=off", "Did you mean opens?"),
        ("click=off", "Did you mean clicks?"),
        ("list_id=news", "Did you mean list?"),
        ("of", "Did you mean off?"),
        ("opens=of", "Write opens=on or opens=off."),
        ("zzz=off", "Write one of opens, clicks,"),
    ],
)
def test_the_log_names_what_the_header_may_have_meant(
    header: str, nearest: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has misspelt an item of the header finds the right word in the log."""
    parse(header)
    assert nearest in caplog.text


@pytest.mark.parametrize("name", ["clicks", "unsubscribe"])
def test_one_place_cannot_contradict_itself(name: str) -> None:
    """Transactional mail has no tracked links and nothing to leave: who asks for both at once is told so."""
    with pytest.raises(ValueError, match=name):
        Options(**{"transactional": True, name: True})
    with block(Options(**{name: True})):
        choice = choose(Settings(), "", "", Options(transactional=True))
    assert not choice.clicks
    assert not choice.unsubscribe


@given(
    st.text(st.characters()) | st.lists(st.sampled_from(["opens", "=", ";", "off", "tag", "\n", "\ud800"])).map("".join)
)
def test_any_header_can_be_read(header: str) -> None:
    """Whatever a header holds, it never stops a mail."""
    assert isinstance(parse(header), Options)
