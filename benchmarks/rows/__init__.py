"""One measure in each module: ``measure(bench)`` gives its rows."""

#: In the order of the table.
MODULES = ("call", "start", "command", "processes", "threads", "revocation", "latency", "store", "memory")
