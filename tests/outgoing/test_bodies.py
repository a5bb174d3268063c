"""A body is prepared once for all of its recipients, or goes out as the author wrote it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flask_mailtrack.config import Settings
from flask_mailtrack.errors import RewriteError
from flask_mailtrack.outgoing.bodies import MAX_NAME, REMEMBERED, Bodies, Plan
from flask_mailtrack.outgoing.options import Options, choose
from flask_mailtrack.outgoing.rewriting import rewrite
from flask_mailtrack.tokens import Signer

SETTINGS = Settings(base_url="https://a.example", text_clicks=True)
SIGNER = Signer(["a secret that is long enough for anybody"])
BOTH = Plan(opens=True, clicks=True, foreign=True, utm=())
NEITHER = Plan(opens=False, clicks=False, foreign=True, utm=())
CHOICE = choose(SETTINGS, "", "", None)
HTML = "<p><a href='https://x.test/'>x</a></p>"


@pytest.fixture(name="bodies")
def _bodies() -> Bodies:
    return Bodies(SETTINGS, SIGNER)


def test_body_of_which_nothing_is_measured_goes_out_as_written(bodies: Bodies) -> None:
    """Neither links nor a pixel: only the placeholders are filled, and nothing has failed."""
    for body in (bodies.html(HTML, NEITHER), bodies.text("https://x.test/", NEITHER)):
        assert (body.stamps, body.targets, body.pixel, body.starts, body.failure) == ((), (), False, False, None)
    leave = bodies.html(f"{HTML}%unsubscribe_url%", NEITHER)
    assert leave.found == {"foreign"}
    assert leave.template.render(None, {"foreign": "F"}) == f"{HTML}F"


def test_preview_of_what_is_not_measured_is_empty(bodies: Bodies) -> None:
    """Where nothing changes, nothing is shown; a body that is declined says why."""
    preview = bodies.preview(HTML, replace(CHOICE, opens=False, clicks=False))
    assert (preview.changes, preview.pixel, preview.failure) == ((), False, None)
    declined = bodies.preview("", CHOICE)
    assert (declined.changes, declined.pixel) == ((), False)
    assert declined.failure is not None
    assert declined.failure.reason == "empty"


def test_body_that_takes_too_long_goes_out_as_written(bodies: Bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its placeholders are filled and the reason is known; it is not remembered, so the next mail has its links."""

    def slow(html: str, **options: Any) -> rewrite.Template:
        raise RewriteError("too_slow")

    source = f"{HTML}%unsubscribe_url%"
    with monkeypatch.context() as busy:
        busy.setattr(rewrite, "compile", slow)
        body = bodies.html(source, BOTH)
    assert body.failure is not None
    assert (body.failure.reason, body.found, body.stamps, body.pixel) == ("too_slow", {"foreign"}, (), False)
    assert body.template.render(None, {"foreign": "F"}) == f"{HTML}F"
    assert len(bodies.html(source, BOTH).stamps) == 1


@pytest.mark.parametrize(
    ("place", "opens", "starts"),
    [("bottom", True, False), ("top", True, True), ("both", True, True), ("top", False, False)],
)
def test_place_at_the_start_is_made_where_a_pixel_is_to_stand_there(place: str, opens: bool, starts: bool) -> None:
    """A body without a pixel, or with one at its end, is not also proven with a place that nothing fills."""
    body = Bodies(replace(SETTINGS, pixel=place), SIGNER).html(HTML, replace(BOTH, opens=opens))
    assert (body.starts, body.failure) == (starts, None)


@pytest.mark.parametrize("opens", [True, False])
def test_preview_shows_each_change(bodies: Bodies, opens: bool) -> None:
    """Before a mail is sent, its author sees which links would be tracked, and whether there is a pixel."""
    preview = bodies.preview(HTML, replace(CHOICE, opens=opens))
    assert (len(preview.changes), preview.pixel, preview.failure) == (1, opens, None)


def test_newsletters_bodies_are_remembered(bodies: Bodies) -> None:
    """The last 64 bodies are prepared once, and an older one again."""
    first = bodies.html(HTML, BOTH)
    for number in range(1, REMEMBERED):
        bodies.html(f"{HTML}{number}", BOTH)
    assert REMEMBERED == 64
    assert bodies.html(HTML, BOTH) is first
    for number in range(REMEMBERED):
        bodies.html(f"{number}{HTML}", BOTH)
    assert bodies.html(HTML, BOTH) is not first


def test_link_is_called_what_its_author_or_its_text_says(bodies: Bodies) -> None:
    """A name fits its column; a link in plain text has none."""
    (named,) = bodies.html(f"<a href='https://x.test/' data-mailtrack-name={'n' * 300}>x</a>", BOTH).targets
    assert (named.name, named.part, MAX_NAME) == ("n" * 255, "html", 255)
    assert [link.name for link in bodies.html(HTML, BOTH).targets] == ["x"]
    (plain,) = bodies.text("https://x.test/", BOTH).targets
    assert (plain.name, plain.part, plain.url) == ("", "text", "https://x.test/")
    assert not bodies.text("https://x.test/", BOTH).stamps[0].app


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("resolved", [True, False])
def test_others_placeholders_count_where_the_host_wants_them(wanted: bool, resolved: bool) -> None:
    """They are filled in unless the mail or the host says no; where the host has a use for them, nobody is warned."""
    settings = Settings(base_url="https://a.example", foreign_placeholders=resolved)
    plan = Plan.of(choose(settings, "", "", Options(unsubscribe=wanted)))
    body = Bodies(settings, SIGNER).text("Leave: %unsubscribe_url%", plan)
    assert body.found == ({"foreign"} if wanted and resolved else set())
    assert body.staying == (("%unsubscribe_url%",) if resolved and not wanted else ())
