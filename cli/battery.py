"""Whether this machine runs on a battery: such machines sleep."""

from __future__ import annotations

from pathlib import Path

SUPPLIES = Path("/sys/class/power_supply")


def has_battery(supplies: Path = SUPPLIES) -> bool:
    """Whether a power supply of the machine itself is a battery; those of mice and headsets say that they belong to a device.

    False where the system does not tell (sysfs-class-power is Linux's).
    """
    try:
        return any(_read(one / "type") == "Battery" and _read(one / "scope") != "Device" for one in supplies.iterdir())
    except OSError:
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
