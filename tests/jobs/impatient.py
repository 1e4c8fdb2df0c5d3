"""The command with a Ray that tries no segment again: as if all tries had failed before a lost machine is noticed."""

import ray

from vidsr.cli import main
from vidsr.graph import pool, upscalers
from vidsr.graph.stages import encode_segment

if __name__ == "__main__":
    pool.encode = ray.remote(max_retries=0)(encode_segment)
    upscalers.TRIES = 0
    main()
