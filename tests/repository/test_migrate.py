"""The statements of the page about other tools, run on tables as those tools make them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import MakeSite, Site

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "migrate.md").read_text(encoding="utf-8")
NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
EACH = pytest.mark.parametrize("database_url", list(NAMES), indirect=True)
# As ActiveRecord writes ahoy_email's two migrations, and Laravel the six of mail-tracker.
TABLES = {
    "ahoy_email": {
        "postgresql": """CREATE TABLE ahoy_messages (id bigserial PRIMARY KEY, user_type varchar, user_id bigint,
            "to" varchar, mailer varchar, subject text, sent_at timestamp(6) without time zone, campaign varchar)""",
        "sqlite": """CREATE TABLE ahoy_messages (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, user_type varchar,
            user_id integer, "to" varchar, mailer varchar, subject text, sent_at datetime(6), campaign varchar)""",
    },
    "mail-tracker": {
        "postgresql": """CREATE TABLE sent_emails (id serial PRIMARY KEY, hash char(32) NOT NULL UNIQUE, headers text,
            subject varchar(255), content text, opens integer, clicks integer, created_at
            timestamp(0) without time zone, updated_at timestamp(0) without time zone, message_id varchar(255),
            meta text, sender_name varchar(255), sender_email varchar(255), recipient_name varchar(255),
            recipient_email varchar(255), opened_at timestamp(0) without time zone,
            clicked_at timestamp(0) without time zone);
            CREATE TABLE sent_emails_url_clicked (id serial PRIMARY KEY, sent_email_id integer NOT NULL REFERENCES
            sent_emails (id) ON DELETE CASCADE, url text, hash char(32) NOT NULL, clicks integer NOT NULL DEFAULT 1,
            created_at timestamp(0) without time zone, updated_at timestamp(0) without time zone)""",
        "sqlite": """CREATE TABLE sent_emails (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, hash varchar NOT NULL,
            headers text, subject varchar, content text, opens integer, clicks integer, created_at datetime,
            updated_at datetime, message_id varchar, meta text, sender_name varchar, sender_email varchar,
            recipient_name varchar, recipient_email varchar, opened_at datetime, clicked_at datetime);
            CREATE TABLE sent_emails_url_clicked (id integer PRIMARY KEY AUTOINCREMENT NOT NULL, sent_email_id integer
            NOT NULL, url text, hash varchar NOT NULL, clicks integer NOT NULL DEFAULT '1', created_at datetime,
            updated_at datetime, FOREIGN KEY (sent_email_id) REFERENCES sent_emails (id) ON DELETE CASCADE)""",
    },
}
HASH = "0123456789abcdef0123456789abcdef"


def statements(tool: str, name: str) -> list[str]:
    """Return the statements of the page for one tool and one kind of database."""
    section = PAGE.split(f"## From {tool}\n")[1].split("\n## ")[0]
    (block,) = re.findall(rf"On {NAMES[name]}:\n\n```sql\n(.*?)```", section, re.DOTALL)
    return [each for each in block.split(";\n") if each.strip()]


def run(site: Site, *given: str) -> None:
    """Run statements one after the other, and commit."""
    for statement in given:
        site.db.session.connection().exec_driver_sql(statement)
    site.db.session.commit()


def copied_twice(site: Site, tool: str, *old: str) -> None:
    """Make the tables of a tool, fill them, run what the page says, twice, and sum the rows."""
    name = site.db.engine.dialect.name
    run(site, *TABLES[tool][name].split(";"), *old)
    run(site, *statements(tool, name))
    run(site, *statements(tool, name))
    result = site.app.test_cli_runner().invoke(args=["mailtrack", "rebuild"])
    assert result.exit_code == 0, result.output


@EACH
def test_the_mails_of_ahoy_email_are_taken_over(database_url: str, make_site: MakeSite) -> None:
    """Each mail of ahoy_email is in the figures of its campaign or mailer, once, at its own time."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    columns = 'INSERT INTO ahoy_messages (id, "to", mailer, subject, sent_at, campaign) VALUES'
    copied_twice(
        site,
        "ahoy_email",
        f"{columns} (1, 'Ada@Example.com', 'UserMailer#hello', 'Hi', '2026-01-02 09:30:00.250000', 'spring')",
        f"{columns} (2, 'bob@example.com', 'UserMailer#hello', NULL, '2026-01-03 09:30:00.000000', NULL)",
        f"{columns} (3, 'eve@example.com', 'UserMailer#hello', 'Never', NULL, NULL)",
    )
    sent = {line.name: line.totals.sent for line in site.mailtrack.reports.campaigns().lines}
    assert sent == {"spring": 1, "UserMailer#hello": 1}
    found = site.rows("Message")
    assert [(row.recipient, row.subject, f"{row.sent_at:%Y-%m-%dT%H:%M:%S.%f%z}") for row in found] == [
        ("ada@example.com", "Hi", "2026-01-02T09:30:00.250000+0000"),
        ("bob@example.com", "", "2026-01-03T09:30:00.000000+0000"),
    ]


@EACH
def test_the_mails_and_clicks_of_mail_tracker_are_taken_over(database_url: str, make_site: MakeSite) -> None:
    """Each mail of mail-tracker is counted once; its clicks are in its timeline, and are nobody's."""
    site = make_site(SQLALCHEMY_DATABASE_URI=database_url)
    columns = "id, hash, subject, opens, clicks, created_at, message_id, sender_email, recipient_email"
    mail = f"INSERT INTO sent_emails ({columns}) VALUES"
    link = "INSERT INTO sent_emails_url_clicked (id, sent_email_id, url, hash, clicks, created_at) VALUES"
    copied_twice(
        site,
        "mail-tracker",
        f"{mail} (1, '{HASH}', 'Hi', 3, 2, '2026-01-02 09:30:00', '<1@x>', 'News@Example.org', 'Ada@Example.com')",
        f"{mail} (2, '{HASH[::-1]}', 'Old', 0, 0, '2026-01-02 09:30:00', NULL, NULL, NULL)",
        f"{link} (1, 1, 'https://example.com/tea', '{HASH}', 2, '2026-01-02 10:00:00')",
        f"{link} (2, 2, 'https://example.com/tea', '{HASH}', 1, '2026-01-02 10:00:00')",
    )
    (row,) = site.rows("Message")
    assert (row.recipient, row.sender, row.header_message_id) == ("ada@example.com", "news@example.org", "<1@x>")
    totals = site.mailtrack.reports.totals()
    assert (totals.sent, totals.clicked.total) == (1, 0)
    assert totals.unidentified_clicks == 1
    timeline = site.mailtrack.reports.timeline(row.id)
    assert [(step.type, step.url) for step in timeline.events] == [("clicked", "https://example.com/tea")]
    (event,) = site.rows("Event")
    assert f"{event.occurred_at:%Y-%m-%dT%H:%M:%S%z}" == "2026-01-02T10:00:00+0000"
