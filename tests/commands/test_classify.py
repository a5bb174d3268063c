"""``flask mailtrack classify`` and ``flask mailtrack networks update``."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import Result
from conftest import MakeSite, Site
from mmdb_writer import MMDBWriter

from flask_mailtrack import networks
from flask_mailtrack.errors import ConfigError
from flask_mailtrack.events import now

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36"
APPLE = "172.224.226.0/31,GB,GB-EN,London,\n2a02:26f7:d580:4000::/64,LS,LS-A,Maseru,\n"


def run(site: Site, *arguments: str) -> Result:
    """Run a command of the app."""
    return site.app.test_cli_runner().invoke(args=["mailtrack", *arguments])


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ([CHROME], ["verdict: human", "reasons: ua_browser", "client: Chrome", "os: Windows", "device: desktop"]),
        (["python-requests/2.28.2"], ["verdict: bot", "reasons: ua_http_library"]),
        (["Mozilla/5.0", "--open"], ["verdict: proxy", "reasons: ua_apple_mpp", "provider: apple"]),
        (
            [CHROME, "--ip", "40.107.1.2"],
            ["verdict: scanner", "reasons: network_scanner", "provider: microsoft"],
        ),
        (
            [CHROME, "--after", "20"],
            ["verdict: scanner", "reasons: weak:timing_window+header_no_accept_language"],
        ),
        ([CHROME, "--after", "20", "--header", "Accept-Language: en"], ["verdict: human"]),
        ([CHROME, "--header", "X-Moz: prefetch"], ["verdict: prefetch", "reasons: header_x_moz"]),
        (["", "--click"], ["verdict: bot", "reasons: ua_missing"]),
    ],
)
def test_classify(arguments: list[str], lines: list[str], site: Site) -> None:
    """Whoever wonders about a verdict tries it out, and sees the reasons."""
    result = run(site, "classify", *arguments)
    assert result.exit_code == 0
    shown = [" ".join(line.split()) for line in result.output.splitlines()]
    assert all(any(line.startswith(wanted) for line in shown) for wanted in lines)


def test_classify_refuses_what_is_no_header(site: Site) -> None:
    """A header without a colon is a slip of the hand, and says so."""
    result = run(site, "classify", CHROME, "--header", "prefetch")
    assert result.exit_code == 2
    assert "'prefetch' is not 'Name: value'" in result.output


def test_networks_update(make_site: MakeSite, tmp_path: Path) -> None:
    """Apple's list is taken over into the host's file, and the app knows it at its next start."""
    path, download = tmp_path / "networks.txt", tmp_path / "egress.csv"
    download.write_text(APPLE)
    site = make_site(MAILTRACK_NETWORKS=str(path))
    result = run(site, "networks", "update", str(download))
    assert result.exit_code == 0
    assert f"apple:           2 networks, {now().date()}" in result.output
    again = make_site(MAILTRACK_NETWORKS=str(path))
    assert "ip_apple_egress" in run(again, "classify", CHROME, "--open", "--ip", "172.224.226.1").output
    assert "network_scanner" in run(again, "classify", CHROME, "--ip", "40.107.1.2").output


def test_networks_update_reports_bad_lines(make_site: MakeSite, tmp_path: Path) -> None:
    """A download that is broken changes nothing, and each bad line is shown with its number."""
    path, download = tmp_path / "networks.txt", tmp_path / "egress.csv"
    download.write_bytes(APPLE.encode() + b"<html>,\n\xff,\n")
    result = run(make_site(MAILTRACK_NETWORKS=str(path)), "networks", "update", str(download))
    assert result.exit_code == 1
    assert "line 3: '<html>' is no network" in result.output
    assert "2 bad lines" in result.output
    assert not path.exists()


def test_networks_update_needs_a_place(site: Site, make_site: MakeSite, tmp_path: Path) -> None:
    """Without a path, or with one that cannot be written, the command says what is missing."""
    download = tmp_path / "egress.csv"
    download.write_text(APPLE)
    assert "Set MAILTRACK_NETWORKS" in run(site, "networks", "update", str(download)).output
    nowhere = make_site(MAILTRACK_NETWORKS=str(tmp_path / "no" / "networks.txt"))
    result = run(nowhere, "networks", "update", str(download))
    assert (result.exit_code, "cannot be written" in result.output) == (1, True)


def test_a_bad_list_stops_the_start(make_site: MakeSite, tmp_path: Path) -> None:
    """A list that was edited into nonsense is found at start-up, with the number of the line."""
    path = tmp_path / "networks.txt"
    path.write_text("[certain] 2026-01-02\nnonsense\n")
    with pytest.raises(ConfigError, match=r"E118.*line 2"):
        make_site(MAILTRACK_NETWORKS=str(path))


@pytest.mark.parametrize(("days", "level"), [(90, "ok"), (91, "warning")])
def test_check_warns_of_an_old_list(days: int, level: str, make_site: MakeSite, tmp_path: Path) -> None:
    """Networks change hands, so check says when the list has not been renewed for a quarter."""
    path = tmp_path / "networks.txt"
    old = networks.Section(now().date() - timedelta(days=days), "", ())
    networks.write(path, {"certain": old})
    lines = run(make_site(MAILTRACK_NETWORKS=str(path)), "check").output.splitlines()
    assert [line.split()[0] for line in lines if " C50 " in line] == [level]


@pytest.mark.parametrize(("content", "level"), [(None, "warning"), (b"no database", "warning"), ("good", "ok")])
def test_check_looks_at_the_country_database(
    content: bytes | str | None, level: str, make_site: MakeSite, tmp_path: Path
) -> None:
    """A country database that is missing or broken is found before somebody wonders where the countries are."""
    path = tmp_path / "countries.mmdb"
    if content == "good":
        MMDBWriter().to_db_file(str(path))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    lines = run(make_site(MAILTRACK_GEO_DATABASE=str(path)), "check").output.splitlines()
    assert [line.split()[0] for line in lines if " C51 " in line] == [level]
