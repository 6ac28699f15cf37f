"""The page docs/reproduction.md: prose by hand, tables between markers from the stored results."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

Lines = Iterator[list[object]]

MADE = re.compile(r"(<!-- made: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(header: str) -> Callable[[Callable[[], Lines]], Callable[[], str]]:
    """Makes a Markdown table of the lines that a function gives."""
    return lambda lines: lambda: markdown(header, lines())


def markdown(header: str, lines: Iterable[Iterable[object]]) -> str:
    """A Markdown table; `header` has its columns between bars."""
    names = [name.strip() for name in header.split("|")]
    rows = [names, ["---"] * len(names), *([str(cell) for cell in line] for line in lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(page: str, fragments: Mapping[str, str]) -> str:
    """The page with every marked place made anew; each fragment has a place, each place a fragment."""
    places = {match[2] for match in MADE.finditer(page)}
    if places != set(fragments):
        raise SystemExit(f"places without a fragment, or fragments without a place: {places ^ set(fragments)}")
    return MADE.sub(lambda match: f"{match[1]}{fragments[match[2]]}{match[3]}", page)
