"""Chains, groups and chords. Run: python examples/workflows.py"""

from mesh import Mesh, chain, chord, group, signature

app = Mesh("workflows", embedded=True)


@app.task
def words(text: str) -> list[str]:
    return text.split()


@app.task
def longest(found: list[str]) -> str:
    return max(found, key=len)


@app.task
def count(found: list[str], letter: str) -> int:
    return sum(word.count(letter) for word in found)


@app.task
def report(values: list, title: str) -> str:
    return f"{title}: {values}"


@app.task
def refuse(value: object) -> None:
    raise ValueError(f"not {value!r}")


if __name__ == "__main__":
    text = "a step is a message that waits for another one"
    print("chain ", chain(words.s(text), longest.s())().get(timeout=10))
    print("group ", group(count.s(letter) for letter in "ase")(text.split()).get(timeout=10))

    summary = words.s(text) | group(longest.s(), count.s("a"), count.s("s") | report.s("s")) | report.s("all")
    result = summary.delay()
    print("chord ", result.get(timeout=10))
    print("header", result.parent.get(timeout=10), "from", len(result.parent[0].parent.get(timeout=10)), "words")

    kept = chord([words.s("left right"), words.s("up down")], report.s("as data")).to_dict()
    print("data  ", signature(kept, app=app).delay().get(timeout=10))

    failing = (words.s("one two") | refuse.s() | longest.s()).delay()
    print("failed", repr(failing.get(timeout=10, propagate=False)))
    app.close()
