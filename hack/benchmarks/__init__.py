"""What the queue and the worker cost, beside other Python workers, and what crashes do to tasks.

`python -m benchmarks` lists the commands; docs/benchmarks.md tells how each number is made.
"""
