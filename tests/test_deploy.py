"""The manifests say what vLLM must be told, the same in each, and open nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
FLAGS = {
    "--enable-lora", "--max-loras=8", "--max-lora-rank=16", "--enable-prefix-caching", "--generation-config=vllm",
    "--scheduling-policy=priority", "--disable-uvicorn-access-log",
}  # fmt: skip
ENVIRONMENT = {"VLLM_PLUGINS": "lora_filesystem_resolver", "VLLM_LORA_RESOLVER_CACHE_DIR": "/adapters"}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


def engines() -> list[tuple[list[str], dict[str, str]]]:
    compose = documents("compose.yaml")[0]["services"]
    found = [(compose[name]["command"], compose[name]["environment"]) for name in ("vllm-a", "vllm-b")]
    deployment = next(one for one in documents("kubernetes/vllm.yaml") if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return [*found, (container["args"], {one["name"]: one.get("value", "") for one in container["env"]})]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_flags(number: int) -> None:
    flags, environment = engines()[number]
    assert set(flags) >= FLAGS
    assert {key: environment[key] for key in ENVIRONMENT} == ENVIRONMENT
    assert "VLLM_API_KEY" in environment
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in environment  # the admin routes stay shut
    assert not any("speculative" in flag for flag in flags)
    # An adapter is found only if its base has the very name of the model that is served.
    assert {"--model=/model", "--served-model-name=/model"} <= set(flags)


def test_the_proxy_passes_on_what_matters() -> None:
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for line in (
        "proxy_buffering off;",
        "proxy_ignore_client_abort off;",
        "hash $affinity consistent;",
        "access_log off;",
    ):
        assert line in text
    (routes,) = re.findall(r"location ~ \^/\(([^)]*)\)\$", text)
    assert "v1/completions" in routes.split("|")
    assert not {"v1/load_lora_adapter", "v1/unload_lora_adapter", "docs"} & set(routes.split("|"))
    assert text.count("{") == text.count("}")


def test_the_gateway_leads_to_the_pool() -> None:
    found = {one["kind"]: one for one in documents("kubernetes/gateway.yaml")}
    pool, route = found["InferencePool"], found["HTTPRoute"]
    deployment = next(one for one in documents("kubernetes/vllm.yaml") if one["kind"] == "Deployment")
    assert pool["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    assert (backend["kind"], backend["name"]) == ("InferencePool", pool["metadata"]["name"])
    assert route["spec"]["parentRefs"] == [{"name": found["Gateway"]["metadata"]["name"]}]
    picker = yaml.safe_load(found["ConfigMap"]["data"]["plugins.yaml"])
    known = {plugin["type"] for plugin in picker["plugins"]}
    used = {plugin["pluginRef"] for plugin in picker["schedulingProfiles"][0]["plugins"]}
    assert used == known
    assert {"prefix-cache-scorer", "lora-affinity-scorer"} <= used


def test_compose_reads_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not here")
    env = {"PATH": "/usr/bin:/bin", "MODEL": "/m", "ADAPTERS": "/a", "CERTIFICATES": "/c", "VLLM_KEY": "k"}
    command = [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    run = subprocess.run(command, capture_output=True, text=True, env={**env, "HOME": str(tmp_path)}, check=False)
    assert run.returncode == 0, run.stderr
