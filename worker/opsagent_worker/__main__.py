"""`python -m opsagent_worker`."""

from opsagent_worker.main import main

main()
