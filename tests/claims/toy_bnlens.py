"""The command line of bnlens with the toy claims for its own: ``python toy_bnlens.py MARKER GATE ARGS...``."""

import sys
from pathlib import Path


def main() -> None:
    from toy_claims import toys

    import bnlens.claims
    import bnlens.cli
    from bnlens.claims import register

    marker, gate = Path(sys.argv[1]), Path(sys.argv[2])
    del sys.argv[1:3]
    register.claims = bnlens.claims.claims = lambda: toys(marker, gate)
    bnlens.cli.main()


if __name__ == "__main__":
    main()
