"""``flask mailtrack preview``: what tracking would change, before anything is sent."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest
from click.testing import Result
from conftest import Site

from flask_mailtrack.destination import location

HTML = """<html><body>
<a href="https://example.com/a?x=1&amp;y=2">one</a>
<a href="mailto:a@example.com">two</a> <a href='https://example.com/reset/1'>three</a>
</body></html>
"""


def preview(site: Site, html: str, tmp_path: Path) -> Result:
    file = tmp_path / "mail.html"
    file.write_text(html, encoding="utf-8")
    return site.app.test_cli_runner().invoke(args=["mailtrack", "preview", str(file)])


def test_each_link_is_shown_with_what_becomes_of_it(site: Site, tmp_path: Path) -> None:
    """The author sees line by line which href would change to what, and why the others would not."""
    result = preview(site, HTML, tmp_path)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[:2] == ["line 2", "- https://example.com/a?x=1&amp;y=2"]
    assert lines[2].startswith("+ https://links.example.com/m/c/")
    assert lines[3:7] == [
        "line 3",
        "  mailto:a@example.com  (not_http)",
        "line 3",
        "  https://example.com/reset/1  (one_time)",
    ]
    assert lines[7] == "1 links tracked, 2 left alone, a pixel; nothing else changes"


def test_a_body_that_would_go_out_as_written_is_an_error(site: Site, tmp_path: Path) -> None:
    """Where the judge disagrees the command says so and exits with 1, for a build to stop at."""
    result = preview(site, "<p>x<select><a href='https://example.com/'>y</a>", tmp_path)
    assert result.exit_code == 1
    assert "unverified" in result.output


@pytest.mark.parametrize(
    ("url", "note"),
    [
        ("https://example.com/ü?q=%C3%BC#a", ""),
        ("https://example.com/a%zz", "malformed"),
        ("https://example.com/a%FF", "malformed"),
        ("https://example.com/a|b", "malformed"),
        ("https://example.com/a^b", "malformed"),
        ("https://example.com/a{b}", "malformed"),
        ("https://example.com/&lt;a&gt;", "malformed"),
        ("https://example.com/&quot;", "malformed"),
        ("https://example.com/#a#b", "malformed"),
        ("http://localhost:5000/", "unreachable"),
        ("http://app.localhost/", "unreachable"),
        ("http://intranet/", "unreachable"),
        ("http://192.168.0.7/", "unreachable"),
        ("http://[::1]/", "unreachable"),
        ("http://93.184.216.34/", ""),
        ("http://10.0.0.1/|", "malformed, unreachable"),
        ("mailto:a@localhost", ""),
    ],
)
def test_what_is_odd_about_an_address_is_said(site: Site, tmp_path: Path, url: str, note: str) -> None:
    """An author sees which addresses are not well-formed, or lead where no reader can go; they are kept as they are."""
    change = site.mailtrack.preview(f'<a href="{url}">x</a>').changes[0]
    assert change.note == note
    assert ("!" in preview(site, f'<a href="{url}">x</a>', tmp_path).output) is bool(note)
    if not url.startswith("mailto"):
        sent = site.send(f'<a href="{url}">x</a>').html
        path = sent.split('href="https://links.example.com')[1].split('"')[0]
        assert site.client.get(path).location == location(unescape(url))


def test_nothing_is_written_down_by_looking(site: Site, tmp_path: Path) -> None:
    """A preview sends no mail and leaves no row."""
    preview(site, HTML, tmp_path)
    assert site.rows("Message") == site.rows("Link") == []
