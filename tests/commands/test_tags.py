"""``flask mailtrack tags``: what an operator declares and retires from a terminal."""

from __future__ import annotations

import json

from click.testing import Result
from conftest import MakeSite, Site


def run(site: Site, *arguments: str) -> Result:
    """Run a command of tags."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", "tags", *arguments])


def test_tags_are_declared_listed_and_retired(make_site: MakeSite) -> None:
    """Each line says who and when, or that the configuration says so."""
    site = make_site(MAILTRACK_TAGS=["receipt"])
    assert "welcome may be used" in run(site, "add", "welcome", "--by", "ops").output
    receipt, welcome = run(site, "list").output.splitlines()
    assert receipt.split() == ["receipt", "declared", "MAILTRACK_TAGS"]
    assert welcome.split()[:3] == ["welcome", "declared", "since"]
    assert welcome.endswith("by ops")
    assert run(site, "retire", "welcome", "--by", "eve").output == (
        "welcome is refused, in every process within five seconds\n"
    )
    retired = json.loads(run(site, "list", "--json").output)[1]
    assert (retired["name"], retired["retired"], retired["by"]) == ("welcome", True, "eve")
    assert "any that is not retired may be used" in run(site, "retire", "receipt").output


def test_no_tags_are_told_as_that(site: Site) -> None:
    """An empty list is explained."""
    assert run(site, "list").output == "no tag is declared, so any may be used\n"


def test_a_mistake_is_a_sentence(site: Site) -> None:
    """A name that is none, and a tag that is not declared, end with 1 and no traceback."""
    for arguments in (["add", " "], ["retire", "welcome"]):
        result = run(site, *arguments)
        assert (result.exit_code, result.output.startswith("Error: ")) == (1, True)
