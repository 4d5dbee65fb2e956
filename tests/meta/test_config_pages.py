"""Pages of ``config.*`` codes: one for each, and the TOML in it gives exactly that code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kap.config.check import check
from kap.document.toml import parse

REPO = Path(__file__).resolve().parents[2]
PAGES = sorted((REPO / "docs" / "codes").glob("config.*.md"))


def test_pages_and_codes_are_the_same_set() -> None:
    source = "\n".join(path.read_text() for path in (REPO / "src" / "kap").rglob("*.py"))
    assert {page.stem for page in PAGES} == set(re.findall(r'"(config\.[a-z][a-z0-9-]+)"', source))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_its_parts_and_its_example_gives_its_code(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == ["What it means", "Why", "What to do", "Example"]
    for example in re.findall(r"```toml\n(.*?)\n```", text, re.DOTALL):
        assert [problem.code for problem in check(parse(example)).problems] == [page.stem]
