"""What of the set-up is a tenant's."""

from __future__ import annotations

import dataclasses

import pytest
from conftest import Site
from console_visitor import Visitor

from flask_mailtrack.administration.domain_check import DomainStatus
from flask_mailtrack.administration.host_names import Cname
from flask_mailtrack.administration.tracking_domains import Domain
from flask_mailtrack.console.tenancy import Tenancy
from flask_mailtrack.events import now
from flask_mailtrack.scope import Scope

DOMAIN = Domain(
    "click.one.example",
    Cname("click.one.example", "links.example.com"),
    ("one.example",),
    False,
    DomainStatus.VERIFIED,
    "",
    now(),
    (),
    None,
    None,
    False,
)


def test_an_operator_of_everything_holds_everything() -> None:
    """Without a scope, all domains, senders and the account are the viewer's."""
    whole = Tenancy(None, [])
    assert whole.everything
    assert whole.sees("anybody@anywhere.example")
    assert whole.owns("")
    assert whole.holds_alone(dataclasses.replace(DOMAIN, account_default=True))


@pytest.mark.parametrize("users", [("two.example",), ()])
def test_a_tenant_holds_what_is_below_their_domain(users: tuple[str, ...]) -> None:
    """A host below a tenant's own domain is theirs, but not to remove while others use it."""
    mine = Tenancy(Scope(sender_domains={"One.Example"}), [])
    domain = dataclasses.replace(DOMAIN, sender_domains=users)
    assert mine.holds(domain)
    assert mine.holds_alone(domain) == (not users)
    assert mine.users(domain) == ()
    assert not mine.holds_alone(dataclasses.replace(DOMAIN, account_default=True))


def test_a_tenant_of_lists_sees_and_changes_nothing() -> None:
    """A sender domain may carry mail of others, too, so a scope of lists or tags is no right to change it."""
    listed = Tenancy(Scope(lists={"news"}), ["one.example"])
    assert listed.shows(DOMAIN)
    assert listed.sees("a@one.example")
    assert not listed.holds(DOMAIN)
    assert not listed.owns("one.example")


def test_a_domain_of_nobody_has_no_owner() -> None:
    """An empty scope has nothing, also not what nobody uses."""
    nobody = Tenancy(Scope(sender_domains=()), ["one.example"])
    assert not nobody.shows(DOMAIN)
    assert not nobody.holds_alone(dataclasses.replace(DOMAIN, sender_domains=(), host="x"))


@pytest.mark.parametrize("narrower", [{"lists": {"mine"}}, {"tags": {"mine"}}])
def test_who_shares_a_sender_domain_changes_nothing_of_it(narrower: dict[str, set[str]]) -> None:
    """A tenant of one list, or tag, of a sender domain sees its settings; a change would be about mail of others."""
    shared = Tenancy(Scope(sender_domains={"one.example"}, **narrower), ())
    assert shared.sees("one.example")
    assert not shared.owns("one.example")
    assert not shared.holds(DOMAIN)
    assert not shared.holds_alone(DOMAIN)


def test_a_domain_with_sub_domains_of_others_is_not_a_tenants_to_change() -> None:
    """A switch of a domain, and its tracking domain, count for its sub-domains, which may be another tenant's."""
    scope, known = Scope(sender_domains={"one.example"}), ("one.example", "shop.one.example", "two.example")
    mine = Tenancy(scope, [], known)
    assert mine.sees("one.example")
    assert not mine.owns("one.example")
    assert mine.owns("news@one.example")  # reaches nobody else
    assert mine.reaches_others("@one.example")
    assert mine.holds(DOMAIN)
    assert not mine.holds_alone(DOMAIN)
    both = Tenancy(Scope(sender_domains={"one.example", "shop.one.example"}), [], known)
    assert both.owns("one.example")
    assert Tenancy(scope, [], ("one.example", "phone.example")).owns("one.example")


def test_no_form_of_a_tenant_reaches_the_mail_of_another(site: Site) -> None:
    """Table, form and hand-made request all leave the domain above another tenant's alone."""
    for sender in ("a@one.example", "b@shop.one.example"):
        site.send(sender=sender)
    seen = Visitor(site, scope=Scope(sender_domains={"one.example"}))
    assert "opens:one.example" not in seen.get("/settings")
    page = seen.submit("/settings", "/exceptions/add", 422, subject="one.example", key="opens", value="off")
    assert "sub-domains that are not yours" in page
    assert not site.mailtrack.settings.history()
    seen.submit("/settings", "/exceptions/add", subject="a@one.example", key="opens", value="off")
    seen.scope = Scope(sender_domains={"shop.one.example"})
    seen.submit("/settings", "/exceptions/add", subject="shop.one.example", key="opens", value="off")
    assert [each.subject for each in site.mailtrack.settings.history()] == ["shop.one.example", "a@one.example"]
