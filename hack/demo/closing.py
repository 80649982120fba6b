"""The end of the show: what came of it, and what to try next."""

from rich.console import Console
from rich.table import Table

from demo.images import NEXT_VERSION, VERSION
from demo.scenes import Summary
from demo.stage import NAMESPACE, WORKER, Stage


def tell(console: Console, stage: Stage, summary: Summary) -> None:
    """Print the summary, `kubectl get oaw` and commands to play on with."""
    _print_summary(console, summary)
    for complaint in summary.complaints:
        console.print(f"[bold red]Not as it should be:[/] {complaint}", soft_wrap=True)
    kubectl = stage.provider.client
    console.print(f"\n[bold]$ kubectl get oaw -n {NAMESPACE}[/]", highlight=False)
    console.print(kubectl.run("get", "oaw", "-n", NAMESPACE), highlight=False, markup=False)
    console.print(play_on(stage), highlight=False, markup=False, soft_wrap=True)


def _print_summary(console: Console, summary: Summary) -> None:
    tally, counted = summary.tally, summary.counted
    expected = len(tally.failed) - len(summary.failed_unexpectedly)
    first = "unknown" if summary.first_start is None else f"{summary.first_start:.1f} s"
    table = Table.grid(padding=(0, 2))
    rows = {
        "done": f"{len(tally.completed)} completed",
        "failed": f"{len(tally.failed)}, {expected} of them sent to fail",
        "lost": f"{len(tally.lost)}",
        "done twice": f"{len(summary.done_twice)}",
        "rescued from dead workers": f"{counted.get('rescued', 0)}",
        "other agents' tasks touched": f"{len(summary.foreign_touched)}",
        "first task started after": first,
        "workers": f"0 → {summary.most_workers} after {summary.all_workers_ready:.1f} s → 0",
        "all done after": f"{summary.all_done:.1f} s",
        "no worker left after": f"{summary.none_left:.1f} s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print()
    console.print(table, highlight=False)


def play_on(stage: Stage) -> str:
    """Commands for a shell in which KUBECONFIG and PATH are set as the first lines say."""
    kubectl = stage.provider.client
    patch = f"kubectl patch oaw {WORKER} --type=merge -p"
    return f"""\
Play on, in this shell:

  export KUBECONFIG={kubectl.kubeconfig} PATH={kubectl.program.parent}:$PATH
  kubectl config set-context --current --namespace={NAMESPACE}

  # sixty more tasks, and what becomes of them
  make demo-tasks && kubectl get oaw --watch
  # another version; one that does not exist (the old one serves on); and back, to the same Deployment
  {patch} '{{"spec": {{"version": "{NEXT_VERSION}"}}}}'
  {patch} '{{"spec": {{"version": "v9.9.9"}}}}'
  {patch} '{{"spec": {{"version": "{VERSION}"}}}}'
  # emergency stop, and on again
  {patch} '{{"spec": {{"paused": true}}}}'
  {patch} '{{"spec": {{"paused": false}}}}'
  # a fixed number of workers, and by the queue again
  kubectl scale oaw/{WORKER} --replicas=2
  {patch} '{{"spec": {{"replicas": null}}}}'
  # kill workers: their tasks come back
  kubectl delete pod -l opsagent.dev/worker={WORKER} --grace-period=0 --force
  # why is it as it is?
  kubectl describe oaw {WORKER}
  kubectl logs -l opsagent.dev/worker={WORKER} --prefix
  # remove all of it
  make demo-down
"""
