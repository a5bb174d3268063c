"""``explain``: what a code means, in the words of the documentation."""

from __future__ import annotations

import traceback

import pytest
from click.testing import CliRunner
from conftest import Site

from flask_mailtrack.__main__ import main
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.reporting.mistakes import MISTAKES
from flask_mailtrack.reporting.remedies import REMEDIES


@pytest.mark.parametrize("code", ["E106", "e106", "[E106]"])
def test_an_error_is_explained_without_an_app(code: str) -> None:
    """The code of an error, as the message has it or as somebody types it, gives its cause and its cure."""
    result = CliRunner().invoke(main, ["explain", code])
    assert result.exit_code == 0
    assert result.output == (
        "E106, an error that stops the start\n"
        "Meaning: MAILTRACK_BASE_URL is missing. Links are never built from a request, so nobody else can know it.\n"
        "Cure: Set it to the https address under which readers reach the app.\n"
    )


def test_a_finding_is_explained(site: Site) -> None:
    """The code of a finding gives its meaning and its cure, also below ``flask mailtrack``."""
    result = site.app.test_cli_runner().invoke(args=["mailtrack", "explain", "C30"])
    assert result.exit_code == 0
    assert result.output.startswith("C30, a finding of check and doctor: tables\nMeaning: ")
    assert "Cure: Run db.create_all() or a migration.\n" in result.output


def test_without_a_code_all_are_listed() -> None:
    """Somebody who has lost the code finds it in the list."""
    listed = CliRunner().invoke(main, ["explain"]).output
    assert [line[:4].strip() for line in listed.splitlines()] == [*MISTAKES, *REMEDIES]


def test_a_code_that_does_not_exist_is_refused() -> None:
    """A misread code is told, with exit code 1."""
    result = CliRunner().invoke(main, ["explain", "E999"])
    assert (result.exit_code, "has the code E999" in result.output) == (1, True)


def test_a_traceback_ends_at_the_explanation() -> None:
    """Whoever reads the traceback of an app that does not start finds the command that explains the code."""
    try:
        raise ConfigError("E106", "MAILTRACK_BASE_URL", "is missing.", "Set it.")
    except ConfigError as error:
        shown = traceback.format_exception(error)
    assert shown[-1] == "More about E106: python -m flask_mailtrack explain E106\n"
