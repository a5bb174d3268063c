"""What the console says after a form has done its work."""

from __future__ import annotations

DONE: dict[str, str] = {}
"""Each by a short name, which stands in the address of the page: so nobody can make the console say another thing."""
