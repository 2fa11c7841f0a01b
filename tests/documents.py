"""The documents as data: pages, links, headings and blocks of code with what is said about running them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tests import repository

LANGUAGES = ("python", "console", "toml", "text", "mermaid")
EXECUTED = ("python", "console", "toml")
_FENCE = re.compile(r"^```(\w*)$")
_NOTE = re.compile(r"^<!-- (not run|with|ready): (.+) -->$")
_LINK = re.compile(r"(?<!\\)\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$")


@dataclass
class Block:
    """One fenced block. ``notes`` are the comments right above it: ``not run``, ``with`` (files), ``ready``."""

    line: int
    language: str
    text: str = ""
    notes: dict[str, str] = field(default_factory=dict)


@dataclass
class Page:
    """One Markdown file."""

    path: Path
    blocks: list[Block]
    links: list[tuple[int, str]]
    anchors: set[str]

    @property
    def runs(self) -> bool:
        """Whether any of its blocks is for running."""
        return any(block.language in EXECUTED and "not run" not in block.notes for block in self.blocks)


def pages() -> list[Page]:
    """Every Markdown file of the repository."""
    return [read(path) for path in repository.files() if path.suffix == ".md"]


def read(path: Path) -> Page:
    """A page, relative to the repository's root."""
    page = Page(path, [], [], set())
    notes: dict[str, str] = {}
    block: Block | None = None
    for number, line in enumerate(repository.text(path).splitlines(), 1):
        fence = _FENCE.match(line)
        if block is not None:
            if line == "```":
                page.blocks.append(block)
                block, notes = None, {}
            else:
                block.text += line + "\n"
        elif fence:
            block = Block(number, fence[1], notes=notes)
        elif note := _NOTE.match(line):
            notes[note[1]] = note[2]
        else:
            page.links += [(number, target) for target in _LINK.findall(line)]
            if heading := _HEADING.match(line):
                page.anchors.add(anchor(heading[1]))
    assert block is None, f"{path}: a block without an end"
    return page


def anchor(heading: str) -> str:
    """What a heading is linked by: lower case, spaces as hyphens, without punctuation (GitHub's rule)."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def fields_by_heading(path: Path) -> dict[str, set[str]]:
    """The names in the first columns of a page's tables, by the heading above; before the first heading of level 2 it is empty."""
    found: dict[str, set[str]] = {"": set()}
    heading = ""
    for line in repository.text(path).splitlines():
        if line.startswith("## "):
            heading = line.strip("# `")
            found[heading] = set()
        elif cell := re.match(r"\| `(\w+)` \|", line):
            found[heading].add(cell[1])
    return found


@dataclass
class Command:
    """One command of a console block and what it is to print."""

    machine: str
    text: str
    expected: list[str] = field(default_factory=list)

    @property
    def stays(self) -> bool:
        """Whether it runs until it is stopped: a worker, a node in the foreground."""
        return bool(re.search(r"\bmesh worker\b", self.text))


_PROMPT = re.compile(r"^(\w*)\$ (.+)$")


def commands(block: Block) -> list[Command]:
    """The commands of a console block, in order."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if prompt := _PROMPT.match(line):
            found.append(Command(prompt[1] or "server", prompt[2]))
        else:
            assert found, f"line {block.line}: a console block begins with a prompt"
            found[-1].expected.append(line)
    return found


# -- what differs from run to run --------------------

_VARIABLE = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z)?", "<instant>"),
    (r"\d+\.\d+\.\d+\.\d+(:\d+)?", "<address>"),
    (r"\b[a-z2-7]{32}\b", "<secret>"),
    (r"\b[a-z2-7]{16}\b", "<mesh id>"),
    (r"\bpid \d+", "<pid>"),
    (r"\b[\w.]+-\d+\b", "<worker>"),
    (r"\s+", " "),
)


def plain(line: str) -> str:
    """A line of output without ids, addresses, instants, pids and the width of columns."""
    for pattern, name in _VARIABLE:
        line = re.sub(pattern, name, line)
    return line.strip()


def fits(output: str, expected: list[str]) -> bool:
    """Whether an output is as a page shows it. ``...`` alone stands for any lines, within a line for anything."""
    wanted = ""
    for line in expected:
        wanted += r"(?:.*\n)*?" if line.strip() == "..." else re.escape(plain(line)).replace(r"\.\.\.", ".*") + "\n"
    said = "".join(f"{plain(line)}\n" for line in output.splitlines() if line.strip())
    return re.fullmatch(wanted, said) is not None
