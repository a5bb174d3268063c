"""Whose address a hit has: the connection's, unless the host has said how many proxies stand before it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import MakeSite, Site

from flask_mailtrack.testing import BROWSER, Reader

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "proxy.md").read_text(encoding="utf-8")
HTML = '<p><a href="https://example.com/">a</a></p>'
FORGED = {
    "X-Forwarded-For": "40.107.1.2",
    "X-Real-IP": "40.107.1.2",
    "Forwarded": "for=40.107.1.2",
    "CF-Connecting-IP": "40.107.1.2",
    "True-Client-IP": "40.107.1.2",
}


def click(site: Site, address: str, headers: dict[str, str]) -> tuple[str, str]:
    """Click from *address*, and return what is stored of it, and the verdict."""
    client = site.client
    client.environ_base["REMOTE_ADDR"] = address
    Reader(client, site.send(HTML), BROWSER | headers).click()
    event = site.rows("Event")[-1]
    return event.ip, event.verdict


def test_headers_are_not_believed(site: Site) -> None:
    """Attack 42: whoever writes an address into a header changes neither the row nor the verdict."""
    assert click(site, "203.0.113.77", FORGED) == ("203.0.113.0", "human")


def test_behind_one_proxy(site: Site) -> None:
    """The lines of the documentation take the reader's address from the proxy, and only what the proxy itself added."""
    (block,) = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "ProxyFix" in code]
    exec(block, {"app": site.app})  # noqa: S102 - the documentation's own code
    assert click(site, "10.0.0.1", {"X-Forwarded-For": "40.107.1.2, 198.51.100.7"}) == ("198.51.100.0", "human")
    assert click(site, "10.0.0.1", {"X-Forwarded-For": "198.51.100.7, 40.107.1.2"}) == ("40.107.1.0", "scanner")
    assert click(site, "10.0.0.1", {"X-Forwarded-For": "<script>"}) == ("", "human")


@pytest.mark.parametrize(
    ("mode", "kept"), [("truncate", "40.107.1.0"), ("full", "40.107.1.2"), ("none", ""), ("hash", "[0-9a-f]{24}")]
)
def test_the_whole_address_is_judged_and_not_kept(mode: str, kept: str, make_site: MakeSite) -> None:
    """The network is looked up by the whole address, and the journal holds what the host lets it hold."""
    site = make_site(MAILTRACK_IP=mode, MAILTRACK_DRAIN="manual")
    client = site.client
    client.environ_base["REMOTE_ADDR"] = "::ffff:40.107.1.2"
    Reader(client, site.send(HTML)).click()
    journal = "".join(p.read_text() for p in Path(site.mailtrack._state().journals[0].directory).glob("*.jsonl"))
    assert ("40.107.1.2" in journal) == (mode == "full")
    site.mailtrack.flush()
    (event,) = site.rows("Event")
    assert re.fullmatch(kept, event.ip)
    assert (event.verdict, event.verdict_reasons, event.provider) == ("scanner", ["network_scanner"], "microsoft")
