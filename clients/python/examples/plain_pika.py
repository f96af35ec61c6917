"""Runs one program on a jailfleet with nothing but pika: any AMQP client will do.

    pip install pika
    python plain_pika.py amqp://guest:guest@127.0.0.1:5672/%2f

It needs a worker that once ran on this broker, since a worker makes the exchange for jobs. What the
messages look like is in docs/wire.md. What this example leaves to you, and the package jailfleet does:
to connect again, to publish again what was not confirmed, to check digests, and to tell duplicates.
"""

import json
import secrets
import sys
import time
import uuid

import pika


def main(uri: str) -> int:
    connection = pika.BlockingConnection(pika.URLParameters(uri))
    channel = connection.channel()
    # From here on basic_publish returns when the broker has the message, and raises when it refuses it.
    channel.confirm_delivery()

    # Of this connection alone: it goes with it. Do not begin a name with "amq." or "jailfleet.".
    replies = channel.queue_declare(f"plain-pika-{uuid.uuid4()}", exclusive=True).method.queue

    job = {
        "v": 1,
        "id": str(uuid.uuid4()),
        "runtime": "python",
        "code": "print(6 * 7)",
        "lane": "interactive",
    }
    # 128 random bits. A result without them is not an answer to this job, whatever it says.
    secret = secrets.token_hex(16)
    channel.basic_publish(
        exchange="jailfleet.jobs",
        routing_key="default.interactive",
        body=json.dumps(job).encode(),
        properties=pika.BasicProperties(
            message_id=job["id"],
            correlation_id=secret,
            reply_to=replies,
            delivery_mode=2,
            content_type="application/json",
            type="jailfleet.job.v1",
            headers={"jailfleet-published-ms": int(time.time() * 1000)},
        ),
        mandatory=True,
    )

    for method, properties, body in channel.consume(replies, inactivity_timeout=60):
        if method is None:
            print("no result within a minute: is a worker running?", file=sys.stderr)
            return 1
        channel.basic_ack(method.delivery_tag)
        if properties.correlation_id != secret:
            continue
        result = json.loads(body)
        print(result["outcome"], result.get("exit_code"), result.get("stdout"))
        break
    connection.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "amqp://guest:guest@127.0.0.1:5672/%2f"))
