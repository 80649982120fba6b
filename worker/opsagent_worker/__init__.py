"""The process in each worker pod: claims tasks, runs their handlers, reports what became of them."""
