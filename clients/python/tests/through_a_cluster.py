"""Sends jobs until SIGTERM, while the nodes of its broker come and go: each must get its one right answer."""

import signal
import sys
import threading

from jailfleet import Client, Job


def jobs(stop):
    number = 0
    while not stop.is_set():
        number += 1
        yield Job(code=f"print({number})", slug=str(number))


def main():
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    answered = 0
    with Client.connect(lane="interactive") as client:
        for answer in client.bulk(jobs(stop), window=8, idle_timeout_s=120):
            result = answer.unwrap()
            if (result.outcome, result.stdout.strip().decode()) != ("exited", answer.job.slug):
                sys.exit(f"the job {answer.job.slug} got {result}")
            answered += 1
            print(answered, flush=True)
        counts = client.received()
        if counts["conflict"] or counts["stranger"] or counts["accepted"] != answered:
            sys.exit(f"{answered} answers, and {counts}")


if __name__ == "__main__":
    main()
