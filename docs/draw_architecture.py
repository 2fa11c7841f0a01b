"""Draws docs/images/architecture.svg: ``python docs/draw_architecture.py``; with ``--check`` it only compares."""

from __future__ import annotations

import sys
from html import escape

from generated import DOCS, run

PICTURE = DOCS / "images" / "architecture.svg"
WIDTH, HEIGHT = 1040, 500
MACHINE_WIDTH, MACHINE_HEIGHT, MACHINE_TOP = 280, 410, 20
MACHINE_LEFTS = (20, 380, 740)
INSET = 24
PROGRAM_TOP, PROGRAM_HEIGHT = 62, 96
NODE_TOP, NODE_HEIGHT = 218, 84
DISK_TOP, DISK_WIDTH, DISK_HEIGHT = 330, 120, 76

STYLE = """
  text { font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; text-anchor: middle }
  .title { font-weight: 600; font-size: 15px } .small { font-size: 12.5px; fill: #59636e } .code { font-family: ui-monospace, monospace }
  .left { text-anchor: start } .right { text-anchor: end }
  .machine { fill: #f6f8fa; stroke: #afb8c1 } .disk { fill: #ffffff; stroke: #818b98 }
  .program { fill: #ddf4ff; stroke: #0969da } .slot { fill: #ffffff; stroke: #0969da }
  .node { fill: #dafbe1; stroke: #1a7f37 } .first { fill: #fff8c5; stroke: #9a6700; stroke-width: 2 }
  .way { stroke: #59636e; stroke-width: 1.6; fill: none } .head { fill: #59636e }
  .count { fill: #8250df } .number { fill: #ffffff; font-size: 12px; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .number { fill: #ffffff }
    .machine { fill: #151b23; stroke: #3d444d } .disk { fill: #212830; stroke: #656c76 }
    .program { fill: #0c2d6b; stroke: #4493f8 } .slot { fill: #151b23; stroke: #4493f8 }
    .node { fill: #0f3d1e; stroke: #3fb950 } .first { fill: #4b3a08; stroke: #d29922 }
    .way { stroke: #9198a1 } .head { fill: #9198a1 }
  }
"""

ELECTED = ["One node is elected to decide", "who runs what. Any node can", "be it; if it dies, another is."]


def picture() -> str:
    """The whole drawing."""
    server, desktop, laptop = MACHINE_LEFTS
    parts = [
        machine(server, "server"),
        program(server, "your program", "add.delay(2, 2)"),
        node(server, "node", "keeps what it accepted"),
        disk(server, "its own entries"),
        machine(desktop, "desktop"),
        words(
            desktop + MACHINE_WIDTH / 2,
            96,
            ELECTED,
        ),
        node(desktop, "node: coordinator", "queues, leases, results", first=True),
        disk(desktop, "everything"),
        machine(laptop, "laptop"),
        worker(laptop),
        node(laptop, "node: deputy", "takes over when needed"),
        disk(laptop, "everything"),
        *ways(),
        words(WIDTH / 2, 458, ["Programs speak to a node of their machine over a private socket, nodes to each other over encrypted TCP."]),
        words(WIDTH / 2, 480, ["Nodes find each other by mDNS or by address. A submit is confirmed when two disks have it."]),
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
    about = "<title>Three machines of one mesh, and the way of a task</title>"
    marker = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    marker += '<path class="head" d="M0 0 8 4 0 8z"/></marker>'
    return "\n".join([head, about, f"<style>{STYLE}</style>", f"<defs>{marker}</defs>", *parts, "</svg>", ""])


def machine(left: float, name: str) -> str:
    """A computer with its name."""
    frame = box("machine", left, MACHINE_TOP, MACHINE_WIDTH, MACHINE_HEIGHT, 12)
    return frame + text(left + INSET, MACHINE_TOP + 26, name, "title left")


def program(left: float, title: str, code: str) -> str:
    """A client."""
    middle = left + MACHINE_WIDTH / 2
    return (
        box("program", left + INSET, PROGRAM_TOP, MACHINE_WIDTH - 2 * INSET, PROGRAM_HEIGHT, 8)
        + text(middle, PROGRAM_TOP + 40, title, "title")
        + text(middle, PROGRAM_TOP + 66, code, "small code")
    )


def worker(left: float) -> str:
    """A worker with its slots."""
    wide = MACHINE_WIDTH - 2 * INSET
    parts = box("program", left + INSET, PROGRAM_TOP, wide, PROGRAM_HEIGHT, 8)
    parts += text(left + MACHINE_WIDTH / 2, PROGRAM_TOP + 28, "mesh worker -A tasks", "title")
    slot = (wide - 3 * 12) / 2
    for number in range(2):
        x = left + INSET + 12 + number * (slot + 12)
        parts += box("slot", x, PROGRAM_TOP + 44, slot, 38, 6) + text(x + slot / 2, PROGRAM_TOP + 68, "your code", "small")
    return parts


def node(left: float, title: str, what: str, *, first: bool = False) -> str:
    """The process that ``mesh up`` starts."""
    middle = left + MACHINE_WIDTH / 2
    return (
        box("first" if first else "node", left + INSET, NODE_TOP, MACHINE_WIDTH - 2 * INSET, NODE_HEIGHT, 8)
        + text(middle, NODE_TOP + 36, title, "title")
        + text(middle, NODE_TOP + 60, what, "small")
    )


def disk(left: float, what: str) -> str:
    """A state directory, as the usual drum."""
    x, y, wide, tall = left + (MACHINE_WIDTH - DISK_WIDTH) / 2, DISK_TOP, DISK_WIDTH, DISK_HEIGHT
    side = f"M{x:g} {y + 10:g} v{tall - 20:g} a{wide / 2:g} 10 0 0 0 {wide:g} 0 v{20 - tall:g}"
    lid = f'<ellipse class="disk" cx="{x + wide / 2:g}" cy="{y + 10:g}" rx="{wide / 2:g}" ry="10"/>'
    link = line(x + wide / 2, NODE_TOP + NODE_HEIGHT, x + wide / 2, y - 1)
    return f'{link}<path class="disk" d="{side}"/>{lid}' + text(x + wide / 2, y + tall / 2 + 10, what, "small")


def ways() -> list[str]:
    """The way of a task, numbered."""
    server, desktop, laptop = MACHINE_LEFTS
    top, bottom = PROGRAM_TOP + PROGRAM_HEIGHT, NODE_TOP
    low, high = NODE_TOP + 24, NODE_TOP + 60
    return [
        step(1, "submit", server + 90, top, server + 90, bottom, "left"),
        step(6, "result", server + 180, bottom, server + 180, top, "right"),
        step(2, "message", server + MACHINE_WIDTH - INSET, low, desktop + INSET, low, "above"),
        step(6, "result", desktop + INSET, high, server + MACHINE_WIDTH - INSET, high, "below"),
        step(3, "task, copies", desktop + MACHINE_WIDTH - INSET, low, laptop + INSET, low, "above"),
        step(5, "outcome", laptop + INSET, high, desktop + MACHINE_WIDTH - INSET, high, "below"),
        step(4, "run", laptop + 80, bottom, laptop + 80, top, "left"),
        step(5, "outcome", laptop + 170, top, laptop + 170, bottom, "right"),
    ]


def step(number: int, label: str, x1: float, y1: float, x2: float, y2: float, side: str) -> str:
    """An arrow with its number and name beside it."""
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    spots = {
        "above": (x, y - 30, x, y - 8, ""),
        "below": (x, y + 34, x, y + 18, ""),
        "left": (x - 18, y, x - 34, y + 4, " right"),
        "right": (x + 18, y, x + 34, y + 4, " left"),
    }
    number_x, number_y, label_x, label_y, anchor = spots[side]
    badge = f'<circle class="count" cx="{number_x:g}" cy="{number_y:g}" r="9"/>' + text(number_x, number_y + 4, str(number), "number")
    return line(x1, y1, x2, y2) + badge + text(label_x, label_y, label, "small" + anchor)


def line(x1: float, y1: float, x2: float, y2: float) -> str:
    """An arrow."""
    return f'<path class="way" d="M{x1:g} {y1:g} L{x2:g} {y2:g}" marker-end="url(#head)"/>\n'


def box(kind: str, x: float, y: float, wide: float, tall: float, round_: float) -> str:
    """A rectangle."""
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{wide:g}" height="{tall:g}" rx="{round_:g}"/>\n'


def text(x: float, y: float, words: str, kind: str) -> str:
    """One line of text, anchored in its middle unless ``kind`` says left or right."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(words)}</text>\n'


def words(x: float, y: float, lines: list[str]) -> str:
    """Lines of small text beneath each other."""
    return "".join(text(x, y + 20 * number, line_, "small") for number, line_ in enumerate(lines))


PAGES = {PICTURE: picture}

if __name__ == "__main__":
    sys.exit(run("draw_architecture.py", PAGES))
