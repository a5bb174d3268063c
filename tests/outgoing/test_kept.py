"""Mail that is not to be kept, and options that are misspelt."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Site
from flask_mail import Message

HTML = '<p><a href="https://example.com/">go</a></p>'


def unkept(site: Site, by: str, **options: Any) -> list[Message]:
    """Send a mail that is not to be kept, as said in one of three ways."""
    if by == "track":
        return list(site.send(HTML, ["ada@example.com"], store=False, **options))
    if by == "header":
        return list(site.send(HTML, ["ada@example.com"], extra_headers={"X-Mailtrack": "store=off"}, **options))
    with site.mailtrack.options(store=False):
        return list(site.send(HTML, ["ada@example.com"], **options))


@pytest.mark.parametrize("by", ["track", "header", "block"])
@pytest.mark.parametrize("options", [{}, {"opens": True, "clicks": True}])
def test_mail_that_is_not_to_be_kept_leaves_nothing(site: Site, by: str, options: dict[str, Any]) -> None:
    """It goes out as the author wrote it, and no row says to whom or about what."""
    (sent,) = unkept(site, by, **options)
    assert sent.html == HTML
    site.mailtrack.flush()
    assert site.rows("Message") == []
    assert site.rows("Link") == []


@pytest.mark.parametrize("by", ["track", "header", "block"])
def test_who_has_left_gets_no_mail_that_is_not_to_be_kept_either(site: Site, by: str) -> None:
    """The opt-outs of its list are asked, and the refusal leaves no row with address and subject."""
    site.mailtrack.suppress("ada@example.com", list_id="news")
    assert unkept(site, by, list_id="news") == []
    site.mailtrack.flush()
    assert site.rows("Message") == []


def test_a_list_can_be_left_from_mail_that_is_not_kept(site: Site) -> None:
    """Its unsubscribe link works, though no row says of which list it is: the person leaves them all."""
    (sent,) = unkept(site, "track", list_id="news")
    url = str(sent.extra_headers["List-Unsubscribe"]).strip("<>")
    assert site.client.post(url, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert site.send(HTML, ["ada@example.com"], list_id="news") == []


@pytest.mark.parametrize(
    ("name", "nearest"), [("list", "list_id"), ("open", "opens"), ("Clicks", "clicks"), ("zzz", "Write one of opens")]
)
def test_a_misspelt_option_is_told_with_the_nearest(site: Site, name: str, nearest: str) -> None:
    """A wrong name is a TypeError where it is written, in a block, too."""
    wrong: dict[str, Any] = {name: "news"}
    with pytest.raises(TypeError, match=nearest):
        site.mailtrack.track(Message("Hi"), **wrong)
    with pytest.raises(TypeError, match=nearest):
        site.mailtrack.options(**wrong)


def test_a_misspelt_header_does_not_go_out_tracked(site: Site) -> None:
    """A library that asks for less, and misspells it, is not given more."""
    assert site.send(HTML, extra_headers={"X-Mailtrack": "open=off"}).html == HTML


def test_one_call_that_contradicts_itself_is_refused(site: Site) -> None:
    """Transactional mail has no tracked links; a wider place may have asked for them all the same."""
    with pytest.raises(ValueError, match="transactional"):
        site.mailtrack.track(Message("Hi"), transactional=True, clicks=True)
    with site.mailtrack.options(clicks=True):
        assert "https://example.com/" in site.send(HTML, transactional=True).html
