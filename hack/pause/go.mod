module opsagent.dev/hack/pause

go 1.21
