"""One page of the console."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask.typing import ResponseReturnValue


@dataclass(frozen=True, slots=True)
class Route:
    """A page or a form of the console.

    :param rule: below the prefix of the console.
    :param name: the endpoint.
    :param needs: the permission without which the route answers 404.
    :param view: takes the desk, and what the rule names.
    :param methods: ``GET`` for pages, ``POST`` for what changes something.
    :param most_bytes: of a form, with the files in it.
    """

    rule: str
    name: str
    needs: str
    view: Callable[..., ResponseReturnValue]
    methods: tuple[str, ...] = ("GET",)
    most_bytes: int = 200_000
