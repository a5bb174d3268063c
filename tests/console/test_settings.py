"""The switches, the tags and the log in the browser."""

from __future__ import annotations

import pytest
from conftest import Site
from console_visitor import Visitor, words

from flask_mailtrack.scope import Scope


def main(html: str) -> str:
    """Return what a reader reads of the page itself."""
    return words(html.partition("<main")[2].join(("<main", "")))


def test_the_configuration_decides_until_somebody_does(site: Site) -> None:
    """Each switch says where it comes from, with the advice that stands for it; a change says who made it."""
    seen = Visitor(site, name="mara")
    page = main(seen.get("/settings"))
    assert page.count("From the app’s configuration.") == 3
    for advice in ("As you need it.", "Recommended.", "Highly recommended."):
        assert advice in page
    assert "all is as in the app’s configuration" in page
    assert seen.submit("/settings", "/settings", opens=None).endswith("?done=settings_saved")
    assert not site.mailtrack.settings.get("opens")
    assert site.mailtrack.settings.get("clicks") is None  # what nobody has touched is not set
    page = main(seen.get("/settings"))
    assert "Set here." in page
    assert "mara Opens As above → Off" in page
    seen.submit("/settings", "/reset")
    assert site.mailtrack.settings.get("opens") is None
    assert "mara Opens Off → As above" in main(seen.get("/settings"))


def test_a_switch_that_is_off_for_one_sender_domain_is_off_in_the_next_mail(site: Site) -> None:
    """An exception says what holds in the end, and the mail of that domain has no pixel; other mail has one."""
    seen = Visitor(site)
    site.send()
    site.send(sender="me@other.example")
    seen.submit("/settings", "/exceptions", **{"opens:example.org": "off"})
    assert "/m/o/" not in site.send().html
    assert "/m/o/" in site.send(sender="me@other.example").html
    page = main(seen.get("/settings"))
    assert "example.org sender domain · 2 sent" in page
    assert "now off" in page
    seen.submit("/settings", "/exceptions", **{"opens:example.org": "-"})
    assert "/m/o/" in site.send().html


def test_an_old_form_undoes_nobody_elses_change(site: Site) -> None:
    """Two operators have the page open: each changes only what they have touched."""
    site.send()
    seen = Visitor(site)
    account, rows = seen.fields("/settings", "/settings"), seen.fields("/settings", "/exceptions")
    site.mailtrack.settings.set("opens", False)
    site.mailtrack.settings.set("opens", False, domain="example.org")
    site.mailtrack.settings.dimension = "account"
    seen.client.post(account["@action"], data=account | {"clicks": "off"})
    seen.client.post(rows["@action"], data=rows | {"clicks:example.org": "off"})
    found = site.mailtrack.settings
    assert (found.get("opens"), found.get("clicks"), found.dimension) == (False, False, "account")
    assert (found.get("opens", domain="example.org"), found.get("clicks", domain="example.org")) == (False, False)


@pytest.mark.parametrize("form", ["/settings", "/exceptions", "/add"])
def test_unsubscribe_is_switched_off_only_by_somebody_who_is_sure(site: Site, form: str) -> None:
    """The first press asks, says why not, and keeps what was filled in; the second one does it."""
    site.send()
    seen = Visitor(site)
    fields = {
        "/settings": {"unsubscribe": None, "clicks": None},
        "/exceptions": {"unsubscribe:example.org": "off", "clicks:example.org": "off"},
        "/add": {"subject": "me@example.org", "key": "unsubscribe", "value": "off"},
    }[form]
    asked = seen.submit("/settings", form, status=200, **fields)
    assert "People who cannot leave will report you as spam" in words(asked)
    assert list(site.mailtrack.settings.history()) == []
    seen.get = lambda *_, **__: asked  # type: ignore[method-assign]
    assert seen.submit("the question", form).endswith("?done=settings_saved")
    changed = {(each.key, each.value) for each in site.mailtrack.settings.history()}
    assert ("unsubscribe", "off") in changed
    assert (("clicks", "off") in changed) == (form != "/add")


def test_a_pause_takes_two_steps_and_shows_on_every_page(site: Site) -> None:
    """The kill switch asks first; then every page says that measuring is paused, until somebody goes on."""
    seen = Visitor(site, name="mara")
    asked = seen.submit("/settings", "/pause", status=200)
    assert not site.mailtrack.settings.paused
    page = seen.get
    seen.get = lambda *_, **__: asked  # type: ignore[method-assign]
    seen.submit("the question", "/pause")
    seen.get = page  # type: ignore[method-assign]
    assert site.mailtrack.settings.paused
    assert "Measuring is paused." in words(seen.get("/domains"))
    assert "In force now: off." in words(seen.get("/settings"))
    assert "/m/o/" not in site.send().html
    seen.submit("/settings", "/resume")
    assert "Measuring is paused." not in words(seen.get("/domains"))


def test_who_decides_is_chosen(site: Site) -> None:
    """With the choice of domains, mail of a domain without a setting is not tracked."""
    seen = Visitor(site)
    seen.submit("/settings", "/settings", dimension="domain")
    assert site.mailtrack.settings.dimension == "domain"
    assert "/m/o/" not in site.send().html
    seen.submit("/settings", "/settings", dimension="nonsense")
    assert site.mailtrack.settings.dimension == "domain"


@pytest.mark.parametrize(("subject", "told"), [("nobody@", "is not a domain name"), ("a b", "is not a domain name")])
def test_an_exception_for_nobody_is_refused_at_its_field(site: Site, subject: str, told: str) -> None:
    """What is no sender is told under the field, and stays in it."""
    page = Visitor(site).submit("/settings", "/add", status=422, subject=subject)
    assert told in page
    assert f'value="{subject}" aria-invalid="true"' in page


def test_tags_are_declared_retired_and_used_again(site: Site) -> None:
    """The page says which tags mail may carry, and a wrong one is told at its field."""
    seen = Visitor(site)
    seen.submit("/settings", "/tags", button="Declare", tag="welcome")
    seen.submit("/settings", "/retire")
    assert site.mailtrack.tags.list()[0].retired
    assert "Retired" in words(seen.get("/settings"))
    seen.submit("/settings", "/tags", button="Use again")
    assert not site.mailtrack.tags.list()[0].retired
    assert "cannot be a tag" in seen.submit("/settings", "/tags", status=422, button="Declare", tag="x" * 256)


def test_who_may_not_change_sees_the_facts(site: Site) -> None:
    """Without the permission to manage there is no field and no button, and the address of a sender is masked."""
    site.mailtrack.settings.set("opens", False, sender="boss@example.org", by="mara@example.org")
    seen = Visitor(site, ("view", "export"))
    page = seen.get("/settings")
    inside = page.partition("<main")[2]
    assert "<form" not in inside
    assert "Opens: On" in words(page)
    for shown in (page, seen.get("/settings?format=csv")):
        assert "boss@example.org" not in shown
        assert "mara@example.org" not in shown
        assert "b•••@e•••.org" in shown


def test_a_sender_is_changed_by_who_may_see_the_address(site: Site) -> None:
    """A form that names an address is not for viewers of masked ones, and cannot be made up by them either."""
    site.mailtrack.settings.set("opens", False, sender="boss@example.org")
    seen = Visitor(site, ("view", "manage"))
    site.send()
    page = seen.get("/settings")
    assert "boss@example.org" not in page
    form = seen.fields("/settings", "/exceptions")
    forged = form | {"subject": "boss@example.org", "seen": "off,-,-", "opens:boss@example.org": "on"}
    assert seen.client.post(form["@action"], data=forged).status_code == 404
    assert site.mailtrack.settings.get("opens", sender="boss@example.org") is False


def test_many_senders_come_in_pages(site: Site) -> None:
    """The page stays small, whatever number of sender domains there is."""
    for number in range(30):
        site.mailtrack.settings.set("opens", False, domain=f"n{number:02}.example.org")
    seen = Visitor(site)
    first = seen.get("/settings")
    assert len(first.encode()) < 60_000
    assert "n24.example.org</th>" in first.replace("<small>", "</th>")
    assert "n25.example.org, " not in first
    assert "n29.example.org" in seen.get("/settings?page=25")
    for odd in ("-1", "x", "٣", "9" * 40, "1e9"):
        assert "n00.example.org" in seen.get(f"/settings?page={odd}")


def test_a_tenant_changes_what_is_of_their_sender_domains(site: Site) -> None:
    """Account, pause, tags and the senders of others are not there for a tenant, in no page, file or form."""
    for sender in ("a@one.example", "b@two.example"):
        site.send(sender=sender)
    site.mailtrack.settings.set("clicks", False, domain="two.example", by="tess")
    site.mailtrack.tags.add("secret")
    seen = Visitor(site)
    forms = {name: seen.fields("/settings", name) for name in ("/settings", "/pause", "/tags", "/exceptions", "/add")}
    seen.scope = Scope(sender_domains={"one.example"})
    for page in (seen.get("/settings"), seen.get("/settings?format=csv")):
        assert "two.example" not in page
        assert "secret" not in page
        assert "tess" not in page
    for name in ("/settings", "/pause", "/tags"):
        assert seen.client.post(forms[name]["@action"], data=forms[name]).status_code == 404
    theirs = forms["/exceptions"] | {"subject": "two.example", "seen": "-,off,-", "clicks:two.example": "on"}
    assert seen.client.post(theirs["@action"], data=theirs).status_code == 404
    for spelling in ("two.example", "b@two.example", "<b@two.example> a@one.example", "TWO.example."):
        added = forms["/add"] | {"subject": spelling, "key": "opens", "value": "off"}
        assert seen.client.post(added["@action"], data=added).status_code == 422, spelling
    assert len(site.mailtrack.settings.history()) == 2
    seen.submit("/settings", "/add", subject="a@one.example", key="opens", value="off")
    assert site.mailtrack.settings.get("opens", sender="a@one.example") is False
