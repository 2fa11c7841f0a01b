"""The programs of the message benchmarks, as a user would write them.

messenger.py produce QUEUE COUNT BYTES CONSUMERS HOW   publishes; HOW is ``one`` (each confirmed before the next) or ``many`` (pipelined)
messenger.py consume QUEUE                             consumes and acknowledges until the message that says that it is over

Both print one line of JSON with the instants (monotonic, the same for all programs of a machine) of their first and last act.
"""

import json
import sys
import time

import mesh

OVER = b"over"


def produce(queue: str, count: int, size: int, consumers: int, how: str) -> None:
    body = b"m" * size
    with mesh.connect() as connection:
        connection.publish(b"first", routing_key=f"{queue}-warm")  # connects
        began = time.monotonic()
        if how == "one":
            for _ in range(count):
                connection.publish(body, routing_key=queue)
        else:
            connection.publish_many((body for _ in range(count)), routing_key=queue)
        ended = time.monotonic()
        for _ in range(consumers):
            connection.publish(OVER, routing_key=queue)
        print(json.dumps({"began": began, "ended": ended}))


def consume(queue: str) -> None:
    count = 0
    with mesh.connect() as connection:
        assert connection.get(queue) is None  # connects
        print("ready", flush=True)
        with connection.consume(queue) as consumer:
            for message in consumer:
                message.ack()
                if message.raw == OVER:
                    break
                count += 1
        ended = time.monotonic()
    print(json.dumps({"count": count, "ended": ended}))


if __name__ == "__main__":
    if sys.argv[1] == "produce":
        produce(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
    else:
        consume(sys.argv[2])
