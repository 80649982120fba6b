"""The command line."""

import sys

from cyclopts import App
from redis import RedisError
from rich.console import Console

from demo import closing
from demo.backing import Backing
from demo.failure import DemoError
from demo.producer import Producer
from demo.scenes import Show
from demo.screen import screen
from demo.stage import NAMESPACE, WORKER, set_up
from demo.workload import workload
from devcluster.failure import ClusterError
from devcluster.progress import say
from devcluster.provider import chosen

app = App(name="demo", help="A real cluster, the real operator and sixty real tasks.")


@app.default
def run() -> int:
    """Set the stage, enqueue sixty tasks and watch; the exit code is 0 if none was lost."""
    stage = set_up(chosen(), namespace=NAMESPACE)
    stage.apply_worker()
    console = Console()
    with stage.backing.redis() as redis:
        show = Show(kubectl=stage.provider.client, redis=redis, namespace=NAMESPACE, name=WORKER)
        say(f"{WORKER} comes up, proves itself with one worker and goes to rest")
        show.until_at_rest()
        say("sixty tasks arrive: fifty for this agent, ten for others")
        with screen(console) as picture:
            summary = show.run(workload(stage.backing.sandbox_url), picture)
    closing.tell(console, stage, summary)
    return 1 if summary.complaints else 0


@app.command
def enqueue() -> None:
    """Enqueue sixty more tasks, to play with."""
    backing = Backing(provider=chosen(), namespace=NAMESPACE)
    with backing.redis() as redis:
        Producer(redis).enqueue(workload(backing.sandbox_url).orders)
    print(f"60 tasks are in the queue: kubectl get oaw -n {NAMESPACE} --watch")


@app.command
def down() -> None:
    """Remove the demo and its cluster."""
    chosen().delete()


def main() -> None:
    try:
        sys.exit(app())
    except (ClusterError, DemoError) as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except RedisError as error:
        print(f"Error: the demo's Redis does not answer any more: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("Stopped; the cluster goes on. `make demo-down` removes it.", file=sys.stderr)
        sys.exit(130)
