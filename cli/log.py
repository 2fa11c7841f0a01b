"""Logging of the long-running commands: ``time level message`` on stderr or in a file."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Any

import click

from mesh.client.options import LOG_LEVELS
from mesh.errors import UsageError


class Formatter(logging.Formatter):
    """One line per record; the time is UTC, so that lines of several machines sort together."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime


def log_options(command: Any) -> Any:
    """Adds ``-l/--log-level`` and ``--logfile``."""
    command = click.option("--logfile", type=click.Path(dir_okay=False, path_type=Path), help="Log to this file, not to the terminal.")(
        command
    )
    levels = click.Choice(LOG_LEVELS, case_sensitive=False)
    return click.option("-l", "--log-level", type=levels, help="Least level that is logged.  [default: info]")(command)


def log_refused(logfile: Path, error: OSError) -> UsageError:
    """The error for a log file that can't be opened."""
    return UsageError(f"can't write the log to {logfile}: {error.strerror}; give another --logfile")


def start_logging(level: str, logfile: Path | None = None) -> None:
    """Send the records of this process from ``level`` up to stderr or to the end of ``logfile``.

    Raises UsageError when the file can't be opened.
    """
    handler: logging.Handler
    if logfile is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            handler = logging.FileHandler(logfile, encoding="utf-8")
        except OSError as error:
            raise log_refused(logfile, error) from None
    handler.setFormatter(Formatter())
    logging.captureWarnings(True)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("zeroconf").setLevel(logging.WARNING if level != "debug" else logging.DEBUG)
