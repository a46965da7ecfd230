"""In an engine's process that a soak's front end starts, the scripted engine stands where torch's would.

Everything else of that process is the real one: its lock, its socket, its service, how it leaves.
"""

import sys

if "serve" in sys.orig_argv:
    from types import ModuleType

    class _Module(ModuleType):
        def __getattr__(self, name: str) -> object:
            if name == "LocalEngine":
                from tests.soak.resident import EchoEngine

                return EchoEngine
            raise AttributeError(name)

    sys.modules["midfill.engine.local.engine"] = _Module("midfill.engine.local.engine")
