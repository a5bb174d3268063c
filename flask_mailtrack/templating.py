"""Our templates, read as they are written, whatever the host has chosen for its own.

A host may have changed Jinja's delimiters, may not escape by itself, or may fail on names that are not set. Ours need
the delimiters, the escaping and the silence of Jinja, and of Flask, as they come. A host's template that stands in the
place of one of ours is read in the same way. Loader, filters, globals and context processors stay the host's.
"""

from __future__ import annotations

from typing import Any, cast

from flask import Flask, current_app, render_template
from jinja2 import BaseLoader, Environment, Template, Undefined, defaults

_KEY = "mailtrack_templates"
"""Of the environment in ``app.extensions``."""


def template_of(name: str) -> Template:
    """Return one of our templates, or what the current app has in its place."""
    return _environment(current_app._get_current_object()).get_template(name)  # type: ignore[attr-defined]


def rendered(name: str, /, **values: Any) -> str:
    """Return a page, made of one of our templates with the context processors and signals of the current app."""
    return render_template(template_of(name), **values)


def as_written(environment: Environment, loader: BaseLoader | None) -> Environment:
    """Return an environment like another one, but for how templates are read.

    :param loader: of the new one.
    """
    return environment.overlay(
        block_start_string=defaults.BLOCK_START_STRING,
        block_end_string=defaults.BLOCK_END_STRING,
        variable_start_string=defaults.VARIABLE_START_STRING,
        variable_end_string=defaults.VARIABLE_END_STRING,
        comment_start_string=defaults.COMMENT_START_STRING,
        comment_end_string=defaults.COMMENT_END_STRING,
        line_statement_prefix=cast("str", None),
        line_comment_prefix=cast("str", None),
        trim_blocks=False,
        lstrip_blocks=False,
        undefined=Undefined,
        finalize=cast("Any", None),
        autoescape=_escapes,
        loader=loader,
        bytecode_cache=None,  # its keys do not tell the two ways of reading apart
        enable_async=False,
    )


def _environment(app: Flask) -> Environment:
    made: Environment | None = app.extensions.get(_KEY)
    if made is None or made.loader is not app.jinja_env.loader:
        made = app.extensions[_KEY] = as_written(app.jinja_env, app.jinja_env.loader)
    return made


def _escapes(name: str | None) -> bool:
    return name is None or not name.endswith(".txt")
