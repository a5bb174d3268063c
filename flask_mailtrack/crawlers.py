"""Crawlers by name: a list that others keep, as data in the package, asked last of all.

It is not asked about mail clients and image proxies: general lists take Outlook for a crawler.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("crawlers.txt")

# Each of them is in the User-Agent of browsers, apps and telephones of people, too.
_PEOPLES = {
    *("008/", "AP3A.240617.008", "Butterfly", "Code/1.", "Expanse", "Fever", "Fluid", "Podimo", "Sogou", "Sonic"),
    *("Feedly", "Notion/", "Viber", "WhatsApp"),
}
_ESCAPED = re.compile(r"\\([^\w\s])")
_MEANING = set("\\^$.|?*+()[]{}")


def is_listed(user_agent: str) -> bool:
    """Say whether *user_agent*, in the case in which it came, is a crawler's by the list.

    A search for each of a thousand words takes less time than one expression that is all of them.
    """
    words, rest = _signs()
    return any(word in user_agent for word in words) or bool(rest.search(user_agent))


@cache
def _signs() -> tuple[tuple[str, ...], re.Pattern[str]]:
    """Return the entries that are plain words, and one expression for the others."""
    lines = LIST.read_text("utf-8").splitlines()
    words, rest = [], []
    for line in lines:
        word = _ESCAPED.sub(r"\1", line)
        if not line or line.startswith("#") or word in _PEOPLES:
            continue
        if _MEANING.isdisjoint(_ESCAPED.sub("", line)):
            words.append(word)
        else:
            rest.append(line)
    return tuple(words), re.compile("|".join(f"(?:{expression})" for expression in rest))
