"""In an engine's process that a soak's front end starts, this puts the scripted engine in place of torch's.

Everything else in that process is real: its lock, its socket, its service, how it exits.
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
