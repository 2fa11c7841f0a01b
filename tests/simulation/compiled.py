"""Long runs on a compiled copy of the tree (docs/decisions/083): ``python -m tests.simulation.compiled --seeds 100000``.

The copy lies in ``build/``, under the checksum of its sources, so that edits do not reach it and the next run finds it. Needs a C compiler.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.repository import ROOT

PACKAGES = ("mesh", "tests/simulation")
"""What a run imports, with the modules of tests."""
COMPILED = ("mesh/core/*.py", "mesh/core/*/*.py", "mesh/client/bodies.py", "mesh/worker/holdings.py", "mesh/worker/batches.py")
NOT_COMPILED = ("run.py", "planted.py", "compiled.py", "__init__.py")
"""Of the simulation; nor are its tests."""
INTERPRETED = ("mesh/core/broker/dispatch.py", "mesh/core/broker/topology_draft.py")
"""Of the core: an invariant watches a method of the one (I15), and the other chooses methods by type; compiled classes allow neither."""
COMPARED_SEEDS = 100
BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup
modules = mypycify(["--config-file=", "--ignore-missing-imports", *sys.argv[1:]], opt_level="2", debug_level="0", multi_file=True)
setup(name="simulated", packages=[], py_modules=[], ext_modules=modules, script_args=["--quiet", "build_ext", "--inplace"])
"""
DIGESTS = f"from tests.simulation import run\nfor seed in range({COMPARED_SEEDS}): print(run.simulate(seed).history.digest())"


def sources(root: Path) -> list[Path]:
    """What a run consists of, as paths beneath the root."""
    found = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    return sorted(path.relative_to(root) for path in [*found, *(root / "tests").glob("*.py")])


def checksum(root: Path, files: Iterable[Path]) -> str:
    """Of the sources."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file}\0".encode() + (root / file).read_bytes())
    return digest.hexdigest()[:12]


def compiled_copy() -> Path:
    """The copy, made if it is not there. Raises CalledProcessError when it does not compile, SystemExit when it does something else."""
    files = sources(ROOT)
    copy = ROOT / "build" / f"simulation-{checksum(ROOT, files)}"
    if copy.exists():
        return copy
    unfinished = copy.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for file in files:
        (unfinished / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, unfinished / file)
    plain = _python(unfinished, "-c", DIGESTS)
    _python(unfinished, "-c", BUILD, *(str(file) for file in files if _is_compiled(file)))
    if _python(unfinished, "-c", DIGESTS) != plain:
        raise SystemExit("the compiled core does something else: run the seeds without compiling, and report it")
    unfinished.rename(copy)
    return copy


def _is_compiled(file: Path) -> bool:
    if file.is_relative_to("tests/simulation"):
        return file.name not in NOT_COMPILED and not file.name.startswith("test_")
    return any(file.match(pattern) for pattern in COMPILED) and file.name != "__init__.py" and str(file) not in INTERPRETED


def _python(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-P", *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def main() -> None:
    """Command line: that of ``run``."""
    copy = compiled_copy()
    os.chdir(copy)
    os.environ["PYTHONPATH"] = str(copy)
    os.execv(sys.executable, [sys.executable, "-P", "-m", "tests.simulation.run", *sys.argv[1:]])


if __name__ == "__main__":
    main()
