"""The documents are true: what they link to is there, what they tell to type exists, and what must be documented is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from mesh.cli.main import COMMANDS

from mesh.wire import messages
from tests import repository

DOCUMENTS = [path for path in repository.files() if path.suffix == ".md"]
PROMISED = ("README.md", "CHANGELOG.md", "docs/architecture.md", "docs/protocol.md", "docs/glossary.md", "docs/hacking.md")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
MESH_COMMAND = re.compile(r"(?:[`$|;(]|&& )\s*(?:MESH_\w+=\S+ )*mesh (?P<name>[a-z][a-z-]*)\b", re.MULTILINE)
MAKE_TARGET = re.compile(r"(?:^|[`$|;(]|&& )\s*(?:sudo )?make (?P<name>[a-z][a-z-]*)\b", re.MULTILINE)


def code(path: Path) -> str:
    """What a document has in code spans and blocks, one per line; prose that says "make sure" is not a command."""
    text = repository.text(path)
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`[^`\n]+`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*blocks, *spans])


def anchor(heading: str) -> str:
    """The fragment that a heading gets on the usual pages."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", repository.text(path), re.MULTILINE)}


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_document_is_there(name: str) -> None:
    assert Path(name) in DOCUMENTS
    assert len(repository.text(Path(name))) > 200


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in (one or other for one, other in LINK.findall(repository.text(path))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, fragment = link.partition("#")
        target = path if not file else Path(*(path.parent / file).parts)
        resolved = (repository.ROOT / target).resolve()
        if not resolved.exists() or (fragment and resolved.suffix == ".md" and fragment not in anchors(resolved)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=str)
def test_commands_that_a_document_names_exist(path: Path) -> None:
    said = code(path)
    targets = set(re.findall(r"^([a-z-]+):", repository.text(Path("Makefile")), re.MULTILINE))
    assert {found["name"] for found in MESH_COMMAND.finditer(said)} - set(COMMANDS) == set()
    assert {found["name"] for found in MAKE_TARGET.finditer(said)} - targets == set()


def test_every_make_target_has_a_line_of_help() -> None:
    makefile = repository.text(Path("Makefile"))
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert targets == set(re.findall(r"^([a-z-]+):[^#\n]*## \w", makefile, re.MULTILINE))


def test_every_message_of_the_protocol_is_documented() -> None:
    protocol = repository.text(Path("docs/protocol.md"))
    unions = (messages.PeerMessage, messages.SessionRequest, messages.SessionReply, messages.LobbyMessage)
    names = {message.__name__ for union in unions for message in get_args(union)}
    assert {name for name in names if not re.search(rf"\b{name}\b", protocol)} == set()
