"""The process behind ``parts.Child``."""

from __future__ import annotations

import json
import sys

from mesh.ids import node_id
from mesh.transport.curve import FleetSecret, KeyPair
from mesh.transport.zmq import ZmqTransport


def main() -> None:
    order = json.loads(sys.stdin.readline())
    keys = KeyPair.from_secret(bytes.fromhex(order["secret"]))
    transport = ZmqTransport(keys, FleetSecret.make(), my_id=node_id(keys.public), host="127.0.0.1", port=order["port"])
    transport.admit({bytes.fromhex(order["parent"]): order["parent_id"]})
    print(transport.lobby_port, flush=True)
    while True:
        transport.poll(1.0)
        transport.drain(256)


if __name__ == "__main__":
    main()
