"""One program for exchanges, queues and plain messages: prints a line of JSON.

Usage: route.py change JSON... | topology | publish EXCHANGE KEY ID... | get QUEUE. What `get` returns has ended.
"""

import json
import sys
import time

from tasks import app

from mesh.errors import MeshError

DEADLINE_S = 20.0


def ask(what, argument=""):
    return json.loads(app.client.query(what, argument, time.monotonic() + DEADLINE_S))


def publish(exchange, key, *ids):
    """Publish each under its id until it is confirmed."""
    connection = app.connection(timeout=DEADLINE_S)
    for id in ids:
        connection.publish(id, exchange=exchange, routing_key=key, message_id=id, mandatory=True)
    return list(ids)


def get(queue):
    """All that is ready in a queue."""
    connection = app.connection(timeout=DEADLINE_S)
    found = []
    while (message := connection.get(queue)) is not None:
        found.append(message.body)
        message.ack()
    return found


def main(do, *arguments):
    if do == "change":
        return ask("topology-change", json.dumps({"changes": [json.loads(change) for change in arguments]}))
    return {"topology": lambda: ask("topology"), "publish": publish, "get": get}[do](*arguments)


try:
    print(json.dumps(main(*sys.argv[1:])))
except MeshError as error:
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
