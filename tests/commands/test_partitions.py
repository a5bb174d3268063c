"""``flask mailtrack partitions`` where there are none."""

from __future__ import annotations

import pytest
from conftest import MakeSite


@pytest.mark.parametrize("database_url", ["sqlite", "mariadb"], indirect=True)
def test_elsewhere_it_says_that_there_are_none(database_url: str, make_site: MakeSite) -> None:
    """On another database than PostgreSQL the command ends with one sentence, and changes nothing."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    result = site.app.test_cli_runner().invoke(args=["mailtrack", "partitions", "--convert"])
    assert result.exit_code == 1
    assert "only PostgreSQL has partitions of this kind" in result.output
