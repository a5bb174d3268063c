"""The texts of the public pages and of the footer of mails."""

from __future__ import annotations

from jinja2 import Environment, nodes

from flask_mailtrack.events import REASONS
from flask_mailtrack.incoming import pages
from flask_mailtrack.languages import FOLDER

TEMPLATES = FOLDER.parent / "templates" / "mailtrack"
SAME = {("de", "Tracking")}
"""Texts that a language writes as English does."""


def said() -> set[str]:
    """Return every English text of pages and footers, found by Jinja's own parser."""
    # ``t(text)`` names a variable, whose texts are added by hand.
    texts = {*REASONS.values(), *pages._IP.values(), *pages._USER_AGENT.values()}
    for path in [*TEMPLATES.glob("*.html"), *TEMPLATES.glob("*.txt")]:
        tree = Environment().parse(path.read_text(encoding="utf-8"))  # noqa: S701 - it parses, and renders nothing
        for call in tree.find_all(nodes.Call):
            of = call.node.node if isinstance(call.node, nodes.Getattr) else call.node
            if isinstance(of, nodes.Name) and of.name == "t":
                # ``t(a if … else b)`` has both.
                texts |= {each.value for part in call.args for each in _consts(part)}
    return texts


def _consts(part: nodes.Node) -> list[nodes.Const]:
    found = [part] if isinstance(part, nodes.Const) else list(part.find_all(nodes.Const))
    return [each for each in found if isinstance(each.value, str)]
