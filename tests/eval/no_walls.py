"""A sandbox without walls: it runs the program unchanged."""

from __future__ import annotations

import json
import os
import sys

job = json.loads(sys.stdin.buffer.read())
exec(compile(job["program"], "program", "exec"), {"__name__": "program"})
os.write(1, job["word"].encode())
