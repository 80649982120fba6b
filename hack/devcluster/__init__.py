"""A local Kubernetes for development and tests: no container engine, no image registry needed.

Two modes. *light* is an API server with its controllers and fake (kwok) nodes, for integration
tests; it needs no root. *node* adds a kubelet and containerd, so that pods really run.
`docs/local-cluster.md` tells how it is put together.
"""
