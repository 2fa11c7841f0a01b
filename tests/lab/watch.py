"""Asks this host's node how the mesh looks to it, again and again, and writes a line when that changes.

Usage: watch.py. A line of `views.log` is JSON: {"at_s", "coordinator", "term", "alive", "deputies", "under", "unsettled"}; "coordinator" is
null while the node does not answer, or knows of none.
"""

import json
import os
import platform
import sys
import time

from mesh.client.client import Client
from mesh.client.find import NodeFinder
from mesh.config import Settings
from mesh.errors import MeshError

VIEWS = "views.log"
PAUSE_S = 0.1
ANSWER_S = 1.0
SILENT = {"coordinator": None, "term": 0, "alive": [], "deputies": 0, "under": 0, "unsettled": 0}


def connect():
    settings = Settings.load()
    return Client(NodeFinder("default", None, [], settings), "watch", settings)


def look(client):
    """What the node of this host says, and nothing of what others say."""
    state = json.loads(client.query("status", "", time.monotonic() + ANSWER_S))
    attached = client.attached
    if attached is None or attached.node != platform.node():
        raise MeshError("attached to another node")
    return {
        "coordinator": state["coordinator"],
        "term": state["term"],
        "alive": sorted(node["name"] for node in state["nodes"] if node["state"] == "alive"),
        "deputies": len(state["deputies"]),
        "under": state["under_replicated"],
        "unsettled": sum(queue["unsettled"] for queue in state["queues"]),
    }


def main():
    """Until the process that started this is gone."""
    parent, client, told = os.getppid(), connect(), None
    with open(VIEWS, "a", buffering=1) as views:  # noqa: PTH123
        while os.getppid() == parent:
            try:
                view = look(client)
            except MeshError:
                view = SILENT
                client.close()
                client = connect()
            if view != told:
                told = view
                views.write(json.dumps({"at_s": round(time.time(), 3), **view}) + "\n")
            time.sleep(PAUSE_S)
    client.close()


if __name__ == "__main__":
    sys.exit(main())
