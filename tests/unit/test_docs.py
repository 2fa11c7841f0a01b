"""The documents: links lead somewhere, generated pages are what the generators write, every block says how it is run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests import documents, repository

DOCS = repository.ROOT / "docs"
GENERATORS = sorted(path.name for path in DOCS.glob("*.py") if "PAGES" in path.read_text(encoding="utf-8") and path.name != "generated.py")
RULE = re.compile(r"\b[RI]\d{1,2}b?\b")


def test_every_relative_link_leads_to_a_file_and_a_heading_of_it() -> None:
    pages = {page.path: page for page in documents.pages()}
    broken = []
    for page in pages.values():
        for line, target in page.links:
            if re.match(r"https?://", target):
                continue
            name, _, heading = target.partition("#")
            path = Path(repository.ROOT / page.path).parent.joinpath(name).resolve() if name else repository.ROOT / page.path
            known = path.relative_to(repository.ROOT) if path.is_relative_to(repository.ROOT) else path
            if not path.exists() or (heading and heading not in pages[known].anchors):
                broken.append(f"{page.path}:{line}: {target}")
    assert broken == []


def test_every_page_is_linked_from_another_one() -> None:
    linked = {
        (repository.ROOT / page.path).parent.joinpath(target.partition("#")[0]).resolve()
        for page in documents.pages()
        for _, target in page.links
    }
    folders = {path for path in linked if path.is_dir()}
    lost = [
        str(page.path)
        for page in documents.pages()
        if page.path != Path("README.md") and not {repository.ROOT / page.path, (repository.ROOT / page.path).parent} & (linked | folders)
    ]
    assert lost == []


@pytest.mark.parametrize("name", GENERATORS)
def test_generated_files_are_what_their_generator_writes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    generator = runpy.run_path(str(DOCS / name))
    stale = runpy.run_path(str(DOCS / "generated.py"))["out_of_date"](generator["PAGES"])
    assert stale == [], f"run: python docs/{name}"


def test_every_block_is_of_a_known_kind() -> None:
    odd = [
        f"{page.path}:{block.line}: {block.language!r}"
        for page in documents.pages()
        for block in page.blocks
        if block.language not in documents.LANGUAGES
    ]
    assert odd == []


def test_the_rules_that_the_code_cites_are_written_down() -> None:
    rules = set(RULE.findall(repository.text(Path("docs/rules.md"))))
    cited = {
        f"{path}: {rule}"
        for path in repository.python_files("mesh", "cli", "discovery", "tests")
        for line in repository.text(path).splitlines()
        for rule in RULE.findall(line)
        if rule not in rules
    }
    assert sorted(cited) == []


def test_every_decision_has_a_number_of_its_own() -> None:
    numbers = [path.name[:3] for path in repository.files() if path.parts[:2] == ("docs", "decisions")]
    assert sorted(set(numbers)) == sorted(numbers)


def test_every_rule_has_a_test_that_says_it_and_every_test_a_rule() -> None:
    listing = runpy.run_path(str(DOCS / "list_rules.py"))
    rules, proved = set(listing["rules"]()), listing["tests"]()
    assert {f"R{number}" for number in [*range(1, 25), 28, 29]} <= rules
    assert sorted(rules - set(proved)) == [], "rules without a test"
    assert sorted(set(proved) - rules) == [], "tests of rules that docs/rules.md does not have"


@pytest.mark.parametrize("page", ["README.md", "docs/guarantees.md"])
def test_r29_the_first_pages_say_that_there_is_no_promise_of_order(page: str) -> None:
    begin = " ".join(repository.text(Path(page)).split())[:2500]
    assert re.search(r"no promise of order", begin), "whoever reads no further must know"
