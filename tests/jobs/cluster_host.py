"""A Ray cluster of several nodes on this machine, in a process of its own that ends them all when it ends.

`python -m tests.jobs.cluster_host NODES` prints the address; then each line on stdin is a command: `kill` or `add`.
"""

import logging
import os
import sys

os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

from ray.cluster_utils import Cluster

STORE = 100 << 20
START_SECONDS = 300  # of a busy machine
# A lost node is noticed after 3 s instead of 15.
HEALTH = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    logging.disable(logging.WARNING)
    head = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False, "node_ip_address": "127.0.0.1",
            "_system_config": HEALTH}  # fmt: skip
    cluster = Cluster(initialize_head=True, head_node_args=head)
    node = {"num_cpus": 1, "object_store_memory": STORE, "node_ip_address": "127.0.0.1"}
    nodes = [cluster.add_node(wait=False, **node) for _ in range(int(sys.argv[1]))]
    cluster.wait_for_nodes(START_SECONDS)
    say(cluster.address)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        if line.strip() == "add":
            nodes.append(cluster.add_node(wait=False, **node))
            cluster.wait_for_nodes(START_SECONDS)
        say("done")
    cluster.shutdown()


if __name__ == "__main__":
    main()
