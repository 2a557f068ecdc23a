"""`python -m lowtide.simulate [PORT]`: simulated providers, to try the market without a paid one."""

import sys
import time

from lowtide.simulate.server import UpstreamThread
from lowtide.simulate.upstream import Upstreams


def main(port: str = "9090") -> None:
    """Serve until interrupted. Any first part of the path is a provider: http://127.0.0.1:9090/acme/v1."""
    with UpstreamThread(Upstreams(), port=int(port)) as base:
        print(f"Simulated providers at {base}/NAME/v1, for any NAME. Ctrl-C ends them.")
        print(
            f"What they did: GET {base}/_simulator/stats. Faults: POST {base}/_simulator/faults.", flush=True
        )
        try:
            while True:
                time.sleep(3_600)
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
