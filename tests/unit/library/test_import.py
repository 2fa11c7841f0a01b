"""``import mesh`` is for scripts: it brings the library and nothing that a script does not need."""

from __future__ import annotations

import subprocess
import sys

import mesh

SLOW = ("asyncio", "zeroconf", "rich", "click", "sqlite3", "mesh.node")


def test_the_import_leaves_out_what_is_slow() -> None:
    code = f"import sys, mesh; print([name for name in {SLOW} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    assert sorted(mesh.__all__) == mesh.__all__
    assert all(hasattr(mesh, name) for name in mesh.__all__)
