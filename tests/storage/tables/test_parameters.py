"""Inserts that are compiled once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from conftest import MakeSite


def test_rows_go_to_the_schema_that_the_host_puts_in_place(make_site: MakeSite, tmp_path: Path) -> None:
    """A host that has its tables in another schema, by an option of its engine, finds all rows there."""
    options: dict[str, Any] = {"execution_options": {"schema_translate_map": {None: "tenant"}}}
    site = make_site(
        tables=False, SQLALCHEMY_ENGINE_OPTIONS=options, SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path}/a.db"
    )

    @sa.event.listens_for(site.db.engine, "connect")
    def attach(connection: Any, _: Any) -> None:
        connection.execute(f"ATTACH '{tmp_path}/tenant.db' AS tenant")

    site.db.create_all()
    with site.db.engine.connect().execution_options(schema_translate_map={None: "main"}) as connection:
        site.db.metadata.create_all(connection)
        connection.commit()
    site.send('<p><a href="https://example.com/">One</a></p>', tag="news")
    site.mailtrack.flush()
    counts = {
        schema: [
            site.db.session.execute(sa.text(f"SELECT count(*) > 0 FROM {schema}.mailtrack_{table}")).scalar()
            for table in ("message", "cohort", "figure")
        ]
        for schema in ("main", "tenant")
    }
    assert counts == {"main": [0, 0, 0], "tenant": [1, 1, 1]}
