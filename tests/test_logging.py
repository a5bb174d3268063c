"""What is logged: enough to find a fault, and nothing about people."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from conftest import MakeSite
from sqlalchemy.exc import DataError

from flask_mailtrack import signals
from flask_mailtrack.errors import OptOutsUnavailable
from flask_mailtrack.storage.tables.batch import Batch
from flask_mailtrack.testing import Reader

HTML = '<p><a href="https://example.com/secret-offer">go</a></p>'
SECRET = "the-signing-secret-of-this-story"
ADDRESSES = ("ada@example.com", "bob@example.com", "carol@example.com")


@pytest.mark.parametrize("mode", ["inline", "manual"])
def test_a_whole_story_names_nobody(
    make_site: MakeSite, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Sending, hits, an opt-out, bad tokens, a failing database and its tracebacks log no address, token or secret."""
    caplog.set_level(logging.DEBUG, "flask_mailtrack")
    site = make_site(SECRET_KEY=SECRET, MAILTRACK_DRAIN=mode)
    reader = Reader(site.client, site.send(HTML, list_id="news"))
    urls = [link.url for link in reader.links] + [str(reader.message.extra_headers["List-Unsubscribe"]).strip("<>")]
    reader.open()
    reader.click("go")
    for url in urls:
        reader.get(url[:-8] + "aaaaaaaa")
        reader.get(url[:40])
    reader.get(urls[-1])
    reader.unsubscribe()
    site.mailtrack.flush()
    assert site.send(HTML, to=["ada@example.com"], list_id="news") == []

    def refuse(batch: Batch, records: Any) -> Any:
        raise DataError("INSERT", {"recipient": "bob@example.com"}, Exception("too long"))

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "write", refuse)
        site.send(HTML, to="bob@example.com")
        site.mailtrack.flush()
    site.mailtrack.models.OptOut.__table__.drop(site.db.engine)
    reader.get(urls[-1])  # knows the address by now, and asks with it
    site.db.drop_all()
    reader.click("go")
    reader.get(urls[-1])
    reader.unsubscribe()
    site.send(HTML, to="bob@example.com")
    with pytest.raises(OptOutsUnavailable):
        site.send(HTML, to="carol@example.com", list_id="news")
    site.mailtrack._state().drain.try_run()
    formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")
    said = [formatter.format(record) for record in caplog.records if record.name.startswith("flask_mailtrack")]
    assert {"flask_mailtrack.hit", "flask_mailtrack.drain", "flask_mailtrack.send"} <= {
        line.split()[0] for line in said
    }
    tokens = [url.split("/")[5].split("?")[0] for url in urls]
    for line in said:
        for private in (*ADDRESSES, SECRET, *tokens, *(token[:20] for token in tokens), "secret-offer"):
            assert private not in line, line


def test_a_lost_record_has_a_logger_of_its_own(make_site: MakeSite, caplog: pytest.LogCaptureFixture) -> None:
    """What must hold a row, to be recovered, is told by one logger alone, so that it can go to a file of its own."""
    site = make_site()
    for journal in site.mailtrack._state().journals:
        for spool in journal.spools:
            spool.directory.parent.mkdir(exist_ok=True)
            spool.directory.write_text("")  # nothing can be written into a file, by root either
    told: list[str] = []

    def receive(app: Any, reason: str, error: Exception) -> None:
        told.append(reason)

    with signals.tracking_failed.connected_to(receive, site.app):
        site.send(HTML, to="ada@example.com")
    private = {record.name for record in caplog.records if "ada@example.com" in record.getMessage()}
    assert private == {"flask_mailtrack.spool.lost"}
    assert told == ["spool"] * 3  # the links, the mail, its fate
    assert site.mailtrack.health().lost == 3
    assert not site.mailtrack.health().ok
