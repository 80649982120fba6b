"""The workers that are compared: one script each, run in an environment of its own.

A script names its library in its head (PEP 723); the file beside it locks every version, made by
`uv lock --script`. It is the worker's module of tasks, and as a program the producer.
"""
