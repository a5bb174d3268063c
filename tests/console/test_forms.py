"""Forms: what a POST must carry, with and without a CSRF token of the host, and behind any proxy."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import MakeSite, Site
from console_visitor import ALL, Visitor, words
from flask import request, session
from flask_seasurf import SeaSurf
from flask_wtf.csrf import CSRFProtect

from flask_mailtrack.console.forms import HOURS, FormTokens

OURS, THEIRS = "https://ops.example.com", "https://evil.example"


def test_a_token_is_for_one_route_viewer_app_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody has seen in one form opens no other, for nobody else, in no other app, and not tomorrow."""
    tokens = FormTokens(["new secret", "old secret"], "app")
    token = str(tokens._serializer.dumps(["settings_save", "mara"]))
    assert tokens.fits(token, "settings_save", "mara")
    assert not tokens.fits(token, "settings_pause", "mara")
    assert not tokens.fits(token, "settings_save", "tess")
    assert not FormTokens(["new secret"], "other").fits(token, "settings_save", "mara")
    assert FormTokens(["newest", "new secret"], "app").fits(token, "settings_save", "mara")  # a rotation closes no form
    assert not FormTokens(["another"], "app").fits(token, "settings_save", "mara")
    for wrong in ("", "x", f"{token}x", token[:-1], "é", "a.b.c", "\0"):
        assert not tokens.fits(wrong, "settings_save", "mara")
    monkeypatch.setattr("itsdangerous.timed.TimestampSigner.get_timestamp", lambda signer: 0)
    early = str(tokens._serializer.dumps(["settings_save", "mara"]))
    monkeypatch.setattr("itsdangerous.timed.TimestampSigner.get_timestamp", lambda signer: HOURS * 3600 + 1)
    assert not tokens.fits(early, "settings_save", "mara")


def test_a_form_without_the_right_token_changes_nothing_and_leads_back(site: Site) -> None:
    """The answer says what to do, and leads to the page of the form."""
    seen = Visitor(site, name="mara")
    form = seen.fields("/settings", "/settings") | {"clicks": "off"}
    other = seen.fields("/settings", "/pause")["form_token"]
    for forged in (form | {"form_token": ""}, form | {"form_token": other}):
        answer = seen.client.post(form["@action"], data=forged)
        assert answer.status_code == 400
        assert "This form is too old, or was sent from another place." in words(answer.text)
        assert '<a class="btn main" href="/mt/settings">' in answer.text
    seen.name = "tess"
    assert seen.client.post(form["@action"], data=form).status_code == 400
    seen.name = "mara"
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": THEIRS, "Host": "ops.example.com"}):
        assert seen.client.post(form["@action"], data=form, headers=headers).status_code == 400
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        if method != "GET":
            assert seen.client.open(form["@action"], method=method, data=form).status_code == 405
    assert not site.mailtrack.settings.history()
    assert seen.client.post(form["@action"], data=form, headers={"Origin": OURS}).status_code == 303


def test_the_hosts_limit_of_bodies_holds(make_site: MakeSite) -> None:
    """A body over MAX_CONTENT_LENGTH is not read, and the page says that it did not work."""
    seen = Visitor(make_site(MAX_CONTENT_LENGTH=10_000))
    form = seen.fields("/settings", "/settings") | {"x": "y" * 10_000}
    answer = seen.client.post(form["@action"], data=form)
    assert answer.status_code == 413
    assert "That did not work" in answer.text


@pytest.mark.parametrize(("protect", "field"), [(CSRFProtect, "csrf_token"), (SeaSurf, "_csrf_token")])
@pytest.mark.parametrize("https", [False, True])
def test_the_hosts_own_protection_is_served(make_site: MakeSite, protect: Any, field: str, https: bool) -> None:
    """A form carries the host's token beside ours, so that the host lets the form through, and no other."""
    site = make_site(CSRF_DISABLE=False)
    protect(site.app)
    seen = Visitor(site)
    base = {"base_url": "https://localhost" if https else "http://localhost"}
    seen.get = lambda path, **more: seen.client.get(f"/mt{path}", **base).text  # type: ignore[method-assign]
    form = {name: value for name, value in seen.fields("/settings", "/settings").items() if name != "opens"}
    headers = {"Referer": "https://localhost/mt/settings"}
    action = form["@action"]
    without = {name: value for name, value in form.items() if name != field}
    assert seen.client.post(action, data=without, headers=headers, **base).status_code in (400, 403)
    assert seen.client.post(action, data=form | {"form_token": ""}, headers=headers, **base).status_code == 400
    assert seen.client.post(action, data=form, headers=headers, **base).status_code == 303
    assert site.mailtrack.settings.get("opens") is False


def test_a_host_without_sessions_needs_none(site: Site) -> None:
    """No cookie is set by any page or form of the console."""
    seen = Visitor(site, ALL)
    for path in ("/", "/settings", "/domains"):
        assert "Set-Cookie" not in seen.client.get(f"/mt{path}").headers
    form = seen.fields("/settings", "/settings")
    assert "Set-Cookie" not in seen.client.post(form["@action"], data=form).headers


def logged_in(site: Site) -> None:
    """Give the app a login as simple as many have."""

    @site.app.post("/login")
    def login() -> str:
        session["user_id"] = request.form["name"]
        return ""


def test_viewers_without_a_name_have_forms_of_their_own(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A form that one browser was given is worth nothing in another one, where the session says who is logged in."""
    logged_in(site)
    seen = Visitor(site)
    other = site.app.test_client()
    seen.client.post("/login", data={"name": "mara"})
    other.post("/login", data={"name": "tess"})
    form = seen.fields("/settings", "/settings")
    assert "mara" not in form["form_token"]
    assert other.post(form["@action"], data=form).status_code == 400
    assert seen.client.post(form["@action"], data=form).status_code == 303
    assert not caplog.records


@pytest.mark.parametrize(
    "given", [{"headers": {"Authorization": "Basic eDp5"}}, {"environ_overrides": {"REMOTE_USER": "mara"}}], ids=str
)
def test_forms_are_bound_to_the_login_of_the_server(site: Site, given: dict[str, Any]) -> None:
    """With Basic authentication, or a login in front of the app, others cannot send what somebody was given."""
    seen = Visitor(site)
    page = seen.client.get("/mt/settings", **given).text
    seen.get = lambda path, **more: page  # type: ignore[method-assign]
    form = seen.fields("/settings", "/settings")
    assert seen.client.post(form["@action"], data=form).status_code == 400
    assert seen.client.post(form["@action"], data=form, **given).status_code == 303


def test_the_log_says_once_that_viewers_cannot_be_told_apart(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Without a name and a session nothing is refused, and the log says what to return; who only looks has no forms."""
    seen = Visitor(site, ("view",))
    seen.get("/settings")
    assert not caplog.records
    seen.permissions = ALL
    for _ in range(2):
        seen.submit("/settings", "/settings", opens=None)
    told = [each.getMessage() for each in caplog.records]
    assert len(told) == 1
    assert "Viewer(permissions, name)" in told[0]
