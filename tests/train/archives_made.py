"""Archives as an index could send them: a content that begins with "->" is a link."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

Files = dict[str, bytes]


def a_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path.with_suffix(".whl"), "w") as made:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if content.startswith(b"->") else 0o100644) << 16
            made.writestr(info, content)
    return path.with_suffix(".whl")


def a_tar(path: Path, files: Files) -> Path:
    with tarfile.open(path.with_suffix(".tgz"), "w:gz") as made:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if content.startswith(b"->"):
                info.type, info.linkname = tarfile.SYMTYPE, content[2:].decode()
                made.addfile(info)
            else:
                info.size = len(content)
                made.addfile(info, io.BytesIO(content))
    return path.with_suffix(".tgz")


MAKERS = [a_zip, a_tar]
Maker = Callable[[Path, Files], Path]
