"""``flask mailtrack settings``: what an operator without code sees and does."""

from __future__ import annotations

import json

from click.testing import Result
from conftest import MakeSite, Site


def run(site: Site, *arguments: str) -> Result:
    """Run a command of settings."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", "settings", *arguments])


def test_a_switch_is_turned_shown_and_taken_back(site: Site) -> None:
    """What is set is shown with who and why, and in the history."""
    assert (
        "opens is off for news.example.com"
        in run(site, "set", "opens", "off", "--domain", "news.example.com", "--by", "ops").output
    )
    shown = run(site, "show", "--domain", "news.example.com").output
    assert "Not enabled: off for news.example.com since" in shown
    assert "by ops" in shown
    assert run(site, "unset", "opens", "--domain", "news.example.com", "--by", "eve").exit_code == 0
    assert "Enabled: by the configuration" in run(site, "show").output
    history = run(site, "history").output.splitlines()
    assert [line.split()[2] for line in history] == ["eve", "ops"]
    assert "off -> unset" in history[0]


def test_machines_get_json(site: Site) -> None:
    """Show and history can be read by programs."""
    run(site, "set", "pause", "on", "--by", "ops")
    shown = json.loads(run(site, "show", "--json").output)
    assert (shown["paused"], shown["dimension"]) == (True, "both")
    assert [row["enabled"] for row in shown["switches"]] == [False, False, True]
    assert json.loads(run(site, "history", "--json").output)[0]["key"] == "pause"


def test_every_scope_with_a_setting_is_shown(site: Site) -> None:
    """Without a scope, the account comes first, and then each domain and sender that has a setting of its own."""
    run(site, "set", "opens", "off", "--domain", "news.example.com", "--by", "ops")
    run(site, "set", "clicks", "off", "--sender", "ada@example.com", "--by", "ops")
    shown = run(site, "show").output
    account, _, narrower = shown.partition("\nnews.example.com\n")
    domain, _, sender = narrower.partition("\nada@example.com\n")
    assert "Not enabled" not in account
    assert "  opens       Not enabled: off for news.example.com since" in domain
    assert "  clicks      Not enabled: off for the sender since" in sender
    others = json.loads(run(site, "show", "--json").output)["others"]
    assert [row["enabled"] for row in others["ada@example.com"]] == [True, False, True]
    assert json.loads(run(site, "show", "--domain", "news.example.com", "--json").output)["others"] == {}


def test_the_dimension_is_shown_and_set(site: Site) -> None:
    """Without a word the command says what holds."""
    assert run(site, "dimension").output == "both\n"
    assert run(site, "dimension", "domain", "--by", "ops").output == "domain\n"
    assert "dimension     domain" in run(site, "show").output


def test_a_mistake_is_a_sentence(site: Site) -> None:
    """Wrong keys, domains and words end with 1 and name the right one, without a traceback."""
    for arguments in (["set", "open", "on"], ["set", "opens", "on", "--domain", "x y"], ["dimension", "both!"]):
        result = run(site, *arguments)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert "Traceback" not in result.output


def run_of_tags(site: Site, *arguments: str) -> Result:
    """Run a command of tags."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", "tags", *arguments])


def test_tags_are_declared_listed_and_retired(make_site: MakeSite) -> None:
    """Each line says who and when, or that the configuration says so."""
    site = make_site(MAILTRACK_TAGS=["receipt"])
    assert "welcome may be used" in run_of_tags(site, "add", "welcome", "--by", "ops").output
    receipt, welcome = run_of_tags(site, "list").output.splitlines()
    assert receipt.split() == ["receipt", "declared", "MAILTRACK_TAGS"]
    assert welcome.split()[:3] == ["welcome", "declared", "since"]
    assert welcome.endswith("by ops")
    assert run_of_tags(site, "retire", "welcome", "--by", "eve").output == (
        "welcome is refused, in every process within five seconds\n"
    )
    retired = json.loads(run_of_tags(site, "list", "--json").output)[1]
    assert (retired["name"], retired["retired"], retired["by"]) == ("welcome", True, "eve")
    assert "any that is not retired may be used" in run_of_tags(site, "retire", "receipt").output


def test_no_tags_are_told_as_that(site: Site) -> None:
    """An empty list is explained."""
    assert run_of_tags(site, "list").output == "no tag is declared, so any may be used\n"


def test_a_mistake_is_a_sentence_of_tags(site: Site) -> None:
    """A name that is none, and a tag that is not declared, end with 1 and no traceback."""
    for arguments in (["add", " "], ["retire", "welcome"]):
        result = run_of_tags(site, *arguments)
        assert (result.exit_code, result.output.startswith("Error: ")) == (1, True)
