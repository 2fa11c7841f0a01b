"""Writes docs/reference/cli.md from the commands' own help: ``python docs/generate_cli.py``; with ``--check`` it only compares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

PAGE = Path(__file__).parent / "reference" / "cli.md"
WIDTH = 100

HEAD = """# The command line

Generated from the commands' own help by `docs/generate_cli.py`. Options win over the environment, the environment over
`config.toml` (in `MESH_HOME/<mesh>/`, then in `MESH_HOME/`), the file over the default.

| variable | key in the file | default |
|---|---|---|
"""

OTHER_VARIABLES = """| `MESH_HOME` | | the platform's user state directory |
| `MESH_SECRET` | | |
| `MESH_MACHINE_ID` | | for containers that share a machine id: what tells this one apart |
| `MESH_DEBUG` | | 0 |

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not let in or not found. Errors are one line on stderr.
"""


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """Path and help of a command and of all beneath it."""
    context.terminal_width = context.max_content_width = WIDTH
    yield context.command_path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from walk(child, click.Context(child, info_name=name, parent=context, terminal_width=WIDTH, max_content_width=WIDTH))


def page() -> str:
    """The whole page."""
    from mesh.cli.main import cli

    from mesh.client.options import KEYS

    rows = "".join(f"| `{key.variable}` | `{name}` | {_default(key.default)} |\n" for name, key in KEYS.items())
    parts = [HEAD + rows + OTHER_VARIABLES]
    for path, text in walk(cli, click.Context(cli, info_name="mesh", **cli.context_settings)):
        lines = "\n".join(line.rstrip() for line in text.splitlines())
        parts.append(f"## `{path}`\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


def _default(value: object) -> str:
    return f"`{value}`" if value not in (None, "", ()) else ""


def main() -> int:
    """Write the page, or compare it with what is there; 1 when it differs."""
    if "--check" in sys.argv[1:]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
            print(f"{PAGE} is not up to date; run: python docs/generate_cli.py", file=sys.stderr)
            return 1
        return 0
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
