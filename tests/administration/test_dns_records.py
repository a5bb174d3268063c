"""Where a name leads, asked of a real name server."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from dns_server import NameServer, name_server

from flask_mailtrack.administration import dns_records
from flask_mailtrack.administration.dns_records import Names, RecordState

ZONES: dict[str, str | None] = {
    "customer.test": """
right IN CNAME track.vendor.test.
upper IN CNAME TRACK.Vendor.TEST.
wrong IN CNAME elsewhere.vendor.test.
nodot IN CNAME track.vendor.test
chain IN CNAME second
second IN CNAME track.vendor.test.
longchain IN CNAME chain
flat IN A 127.0.0.1
other IN A 127.0.0.9
text IN TXT "v=spf1 " "include:x -all"
loop IN CNAME loop2
loop2 IN CNAME loop
dangling IN CNAME gone.vendor.test.
*.wild IN CNAME track.vendor.test.
deep.empty IN A 127.0.0.1
""",
    "vendor.test": "track IN A 127.0.0.1\nelsewhere IN A 127.0.0.9\n",
    "broken.test": None,
}


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[NameServer]:
    """A name server with all these zones."""
    with name_server() as server:
        server.serve(ZONES)
        yield server


CASES = {
    "right": (RecordState.RIGHT, "right.customer.test is a CNAME to track.vendor.test."),
    "upper": (RecordState.RIGHT, "is a CNAME to track.vendor.test"),
    "chain": (RecordState.RIGHT, "through second.customer.test to track.vendor.test"),
    "longchain": (RecordState.RIGHT, "through chain.customer.test, second.customer.test to"),
    "x.wild": (RecordState.RIGHT, "is a CNAME to track.vendor.test"),
    "flat": (RecordState.RIGHT, "has the same address as track.vendor.test"),
    "other": (RecordState.WRONG, "has the address 127.0.0.9, which is not that of track.vendor.test"),
    "wrong": (RecordState.WRONG, "is a CNAME to elsewhere.vendor.test, not to track.vendor.test"),
    "dangling": (RecordState.WRONG, "is a CNAME to gone.vendor.test, not to"),
    "nodot": (RecordState.WRONG, "the zone's own name was added to the target"),
    "loop": (RecordState.WRONG, "leads through more than 8 CNAME records"),
    "nothing": (RecordState.MISSING, "nothing.customer.test has no record"),
    "empty": (RecordState.MISSING, "empty.customer.test has no record"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_name_leads_where_its_records_say(server: NameServer, name: str) -> None:
    """Each kind of record ends in the right finding, with a cure that names the record to set."""
    state, text = CASES[name]
    found = Names([server.address]).look_up(f"{name}.customer.test", "track.vendor.test")
    assert (found.found, text in found.text) == (state, True), found
    if state == RecordState.RIGHT:
        assert (found.cure, found.addresses) == ("", ("127.0.0.1",))
    else:
        assert f"{name}.customer.test. CNAME track.vendor.test." in found.cure


@pytest.mark.parametrize(("host", "word"), [("x.broken.test", "SERVFAIL"), ("x.foreign.example", "REFUSED")])
def test_a_failing_server_proves_nothing(server: NameServer, host: str, word: str) -> None:
    """A server that fails, or refuses, leaves the question open, and the finding names its answer."""
    found = Names([server.address]).look_up(host, "track.vendor.test")
    assert found.found == RecordState.UNSURE
    assert word in found.text


def test_a_silent_server_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never answers costs a bounded time, and leaves the question open."""
    monkeypatch.setattr(dns_records, "TRY_SECONDS", 0.1)
    monkeypatch.setattr(dns_records, "ALL_SECONDS", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        found = Names([f"127.0.0.1:{silent.getsockname()[1]}"]).look_up("a.customer.test", "track.vendor.test")
    assert (found.found, "did not answer in time" in found.text) == (RecordState.UNSURE, True)


def test_texts_are_read(server: NameServer) -> None:
    """The parts of a TXT record are one text; a name without one has none, and a failure is told apart."""
    names = Names([server.address])
    assert names.texts("text.customer.test") == ["v=spf1 include:x -all"]
    assert names.texts("nothing.customer.test") == []
    assert names.texts("right.customer.test") is not None
    assert names.texts("x.broken.test") is None


@pytest.mark.parametrize(
    ("written", "port"), [("127.0.0.1", 53), ("127.0.0.1:5300", 5300), ("[::1]:5300", 5300), ("::1", 53)]
)
def test_a_server_is_named_with_or_without_a_port(written: str, port: int) -> None:
    """An address of either family may have a port."""
    server = dns_records._server(written)
    assert (server.address, server.port) == (written.removesuffix(":5300").strip("[]"), port)
