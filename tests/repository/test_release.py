"""A release is one thing: its tag, its version and its place in the changelog agree."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def differences(version: str, changelog: str, tags: list[str], readme: str = "") -> list[str]:
    """Say in what a version differs from its changelog, and from the tags of its commit, and what its page lacks."""
    (name, day), *_ = re.findall(r"^## (\S+) - (\S+)$", changelog, re.MULTILINE)
    found = [] if name == version else [f"the changelog begins with {name}"]
    released = [tag for tag in tags if re.match(r"v\d", tag)]
    found += [f"the tag is {tag}" for tag in released if tag != f"v{version}"]
    if released and not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
        found.append(f"the changelog says {day}")
    relative = re.findall(r'(?:\]\(|\b(?:src|srcset|href)=")(?!https?:|#)([^)"]+)', readme)
    found += [f"{link} leads nowhere on the page of the package" for link in relative if released]
    return found


def test_this_commit_agrees_with_itself() -> None:
    """The changelog begins with the version of the package; a tagged commit has the tag's version, and a date."""
    command = ["git", "tag", "--points-at", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)  # no git in an sdist: no tags
    changelog, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("CHANGELOG.md", "README.md"))
    shown = page if "readme" in PROJECT else ""  # else the page is made when the package is built
    assert differences(PROJECT["version"], changelog, done.stdout.split(), shown) == []


@pytest.mark.parametrize(
    ("heading", "tags", "found"),
    [
        ("## 1.2.0 - unreleased", [], []),
        ("## 1.2.0 - 2027-01-02", ["v1.2.0", "demo"], []),
        ("## 1.2.0 - unreleased", ["v1.2.0"], ["the changelog says unreleased"]),
        ("## 1.2.0 - 2027-01-02", ["v1.3.0"], ["the tag is v1.3.0"]),
        ("## 1.1.0 - 2027-01-02\n## 1.0.0 - 2026-01-02", [], ["the changelog begins with 1.1.0"]),
    ],
)
def test_a_release_that_differs_is_found(heading: str, tags: list[str], found: list[str]) -> None:
    """A forgotten date, a wrong tag or a forgotten version is named before the upload."""
    assert differences("1.2.0", f"# Changelog\n\n{heading}\n", tags) == found


def test_a_link_that_is_relative_is_found_at_a_release() -> None:
    """The page of a package is not in the repository, so its pictures and links name their host."""
    readme = '[a](docs/a.md) [b](https://b.example/) [c](#c) <img src="docs/c.png"> <a href="https://d.example/">d</a>'
    changelog = "## 1.2.0 - 2027-01-02"
    assert differences("1.2.0", changelog, ["v1.2.0"], readme) == [
        f"{link} leads nowhere on the page of the package" for link in ("docs/a.md", "docs/c.png")
    ]
    assert differences("1.2.0", changelog, [], readme) == []


def test_the_lowest_versions_are_those_of_the_project(tmp_path: Path) -> None:
    """Each run-time dependency has a lower bound, which the gate installs and runs."""
    place = tmp_path / "lowest.txt"
    subprocess.run([sys.executable, ".ci/lowest.py", place], cwd=ROOT, check=True)
    pins = place.read_text(encoding="utf-8").splitlines()
    assert [pin for pin in pins if not re.fullmatch(r"[\w-]+==[\d.]+", pin)] == []
    assert "sqlalchemy==2.0.16" in pins
