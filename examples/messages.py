"""Publish, route and consume plain messages. Start it with ``python examples/messages.py``."""

from mesh import Exchange, Mesh, Queue

app = Mesh("messages", embedded=True)
feed = Exchange("feed", "topic")
tech = Queue("tech", feed, "feed.tech.#")

if __name__ == "__main__":
    with app, app.connection() as connection:
        connection.declare(tech)
        connection.publish({"title": "a new disk"}, exchange=feed, routing_key="feed.tech.disks")
        print("unroutable", connection.publish("rain", exchange=feed, routing_key="feed.weather").unroutable)
        connection.publish_many(range(3), routing_key="tech")  # without an exchange: to the queue of that name
        with connection.consume(tech, prefetch=2) as consumer:
            for message in consumer:
                print(message.body, message.routing_key)
                message.ack()  # only now it is gone
                if message.body == 2:
                    break
