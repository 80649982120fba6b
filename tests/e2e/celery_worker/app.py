"""Tasks of Celery that take until a gate is opened, and a producer of them.

`python -m app COUNT GATE` sends so many.
"""

import os
import sys
import time

from celery import Celery
from redis import Redis

app = Celery("app", broker=os.environ["REDIS_URL"])
app.conf.task_acks_late = True
app.conf.worker_prefetch_multiplier = 1


@app.task(name="hold")
def hold(task: str, gate: str) -> None:
    """Run until the key `gate` exists; count the ends of `task`."""
    redis = Redis.from_url(os.environ["REDIS_URL"])
    while not redis.exists(gate):
        time.sleep(0.05)
    redis.hincrby("ends", task, 1)


if __name__ == "__main__":
    for number in range(int(sys.argv[1])):
        app.send_task("hold", args=(f"{sys.argv[2]}-{number}", sys.argv[2]))
