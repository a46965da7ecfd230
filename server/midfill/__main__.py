"""``python -P -m midfill`` is the same as ``midfill``; without -P, Python puts the working directory first on its
path."""

import sys

if not sys.flags.safe_path and sys.path:
    del sys.path[0]

from midfill.cli import main

raise SystemExit(main())
