"""Tasks that find their queues: by name, by pattern, by a function. Start it with ``python examples/routing.py``."""

import re

from mesh import Exchange, Mesh, Queue, Unroutable

app = Mesh("routing", embedded=True)

app.conf.task_default_exchange = "tasks"
app.conf.task_default_exchange_type = "topic"
app.conf.task_default_routing_key = "task.default"
app.conf.task_queues = [
    Queue("default", routing_key="task.#"),
    Queue("feed_tasks", routing_key="feed.#"),
    Queue("pdfs", Exchange("documents"), routing_key="pdfprocess", max_length=1000),
    Queue("long_texts"),
]


def by_size(name, args, kwargs, options, task=None):
    """Routes what is asked of it, and passes on all else."""
    return {"queue": "long_texts"} if name == "routing.count" and len(args[0]) > 10 else None


app.conf.task_routes = [
    by_size,
    ("routing.import_*", {"queue": "feed_tasks", "routing_key": "feed.import"}),
    (re.compile(r"routing\.(print|read)_pdf"), {"exchange": "documents", "routing_key": "pdfprocess"}),
]


@app.task
def import_feed(url):
    return f"imported {url}"


@app.task
def read_pdf(name):
    return f"read {name}"


@app.task
def count(text):
    return len(text)


if __name__ == "__main__":
    with app:
        print(import_feed.delay("a feed").get(timeout=30))
        print(read_pdf.delay("a.pdf").get(timeout=30))
        print(count.delay("a text that is long").get(timeout=30), count.delay("short").get(timeout=30))
        try:
            read_pdf.apply_async(("b.pdf",), routing_key="print")
        except Unroutable as error:
            print("refused:", str(error).partition("; ")[0].removeprefix("unroutable: "))
