"""Many calls as one batch, and their results as they come. Start it with ``python examples/submit_many.py``."""

from mesh import Mesh

app = Mesh("submit_many", embedded=True)


@app.task
def square(number: int) -> int:
    return number * number


if __name__ == "__main__":
    with app:
        results = app.submit_many(square.s(number) for number in range(1000))  # one confirm for all
        print(len(results), "accepted")
        print("sum of squares", sum(result.get(timeout=30) for result in results))
