"""``python -m bnlens``."""

from bnlens.cli import main

if __name__ == "__main__":
    main()
