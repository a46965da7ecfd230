"""``python -P -m midfill`` is the same as ``midfill``."""

from midfill.cli import main

raise SystemExit(main())
