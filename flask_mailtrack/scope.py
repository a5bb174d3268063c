"""Which mail somebody may see: the scope of one tenant, where several share an app."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .lists import folded


@dataclass(frozen=True, slots=True, init=False)
class Scope:
    """The mail of one tenant. Mail is inside if each given dimension has its value; a dimension of nothing has no mail.

    :param sender_domains: what stands behind the last ``@`` of a sender, in any case; ``None``: any.
    :param lists: names of lists, in any spelling; the empty name is mail of no list; ``None``: any.
    :param tags: of messages, as written; ``None``: any.
    :raises TypeError: a dimension is one string, or is no iterable of strings.
    :raises ValueError: a name has a NUL or half a character, so that no database could look for it.
    """

    sender_domains: frozenset[str] | None
    lists: frozenset[str] | None
    tags: frozenset[str] | None

    def __init__(
        self,
        sender_domains: Iterable[str] | None = None,
        lists: Iterable[str] | None = None,
        tags: Iterable[str] | None = None,
    ) -> None:
        object.__setattr__(self, "sender_domains", _names("sender_domains", sender_domains, str.lower))
        object.__setattr__(self, "lists", _names("lists", lists, folded))
        object.__setattr__(self, "tags", _names("tags", tags, str))

    def __and__(self, other: Scope) -> Scope:
        """Return the scope of what is inside both."""
        return Scope(
            _both(self.sender_domains, other.sender_domains),
            _both(self.lists, other.lists),
            _both(self.tags, other.tags),
        )


def _names(dimension: str, given: Iterable[str] | None, spelled: Callable[[str], str]) -> frozenset[str] | None:
    if given is None:
        return None
    cure = "Write a set of strings, or None for any."
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{dimension} of a Scope is {given!r}. {cure}")
    names = frozenset(given)
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"{dimension} of a Scope has {name!r}. {cure}")
        if "\0" in name or any("\ud800" <= each <= "\udfff" for each in name):
            raise ValueError(
                f"{dimension} of a Scope has {name!r}. Write it without NUL and without halves of characters."
            )
    return frozenset(map(spelled, names))


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return other if one is None else one if other is None else one & other
