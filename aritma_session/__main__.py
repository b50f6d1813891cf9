"""``python -m aritma_session``: the ``aritma-session`` command."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
