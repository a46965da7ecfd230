"""The manifests give vLLM the flags that it needs, the same in each, and open nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

GATEWAY_KINDS = ("InferencePool", "Gateway", "HTTPRoute")
DEPLOY = Path(__file__).parents[2] / "deploy"
FLAGS = {
    "--enable-lora", "--max-loras=8", "--max-lora-rank=16", "--enable-prefix-caching", "--generation-config=vllm",
    "--scheduling-policy=priority", "--disable-uvicorn-access-log",
}  # fmt: skip
ENVIRONMENT = {
    "VLLM_PLUGINS": "lora_filesystem_resolver", "VLLM_LORA_RESOLVER_CACHE_DIR": "/adapters",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",  # or the resolver is never asked (tests/vllm)
}  # fmt: skip


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


def test_nobody_reaches_the_replicas_admin_routes() -> None:
    """The replicas' admin routes are open, because published adapters are loaded while they run."""
    compose = documents("compose.yaml")[0]
    for name in ("vllm-a", "vllm-b"):
        assert "ports" not in compose["services"][name]
        assert compose["services"][name]["networks"] == ["inside"]
    assert compose["networks"]["inside"] == {"internal": True}
    route = next(one for one in documents("kubernetes/gateway.yaml") if one["kind"] == "HTTPRoute")
    paths = [match["path"] for rule in route["spec"]["rules"] for match in rule["matches"]]
    assert {path["type"] for path in paths} == {"Exact"}
    assert not [path for path in paths if "lora" in path["value"]]
    found = {one["kind"]: one for one in documents("kubernetes/vllm.yaml")}
    policy, pods = found["NetworkPolicy"]["spec"], found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == pods
    assert policy["policyTypes"] == ["Ingress"]
    assert [rule["from"] for rule in policy["ingress"]] == [[{"podSelector": {}}]]


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


def resources(*, of_gateway: bool) -> list[dict[str, Any]]:
    """Return every object of the manifests whose kind belongs to Kubernetes or to the gateway's definitions."""
    names = sorted(file.name for file in (DEPLOY / "kubernetes").glob("*.yaml"))
    found = [one for name in names for one in documents(f"kubernetes/{name}")]
    return [one for one in found if (one["kind"] in GATEWAY_KINDS) == of_gateway]


@pytest.mark.parametrize("resource", resources(of_gateway=False), ids=lambda one: one["kind"])
def test_kubernetes_takes_it(resource: dict[str, Any]) -> None:
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(resource, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**resource, "unknown": 1}, version, strict=True)


@pytest.mark.parametrize("resource", resources(of_gateway=True), ids=lambda one: one["kind"])
def test_the_gateways_definitions_take_it(resource: dict[str, Any]) -> None:
    """No package has them; they are ``config/crd`` of the Gateway API and of its inference extension."""
    folder = os.environ.get("MIDFILL_CRDS")
    if folder is None:
        pytest.skip("set MIDFILL_CRDS to a folder with the gateway's definitions")
    schema = next(
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for file in Path(folder).glob("*.yaml")
        for one in yaml.safe_load_all(file.read_text(encoding="utf-8"))
        for version in one["spec"]["versions"]
        if (f"{one['spec']['group']}/{version['name']}", one["spec"]["names"]["kind"])
        == (resource["apiVersion"], resource["kind"])
    )
    validator = jsonschema.Draft202012Validator(closed(schema))
    assert [error.message for error in validator.iter_errors(resource["spec"])] == []
    assert list(validator.iter_errors({**resource["spec"], "unknown": 1}))


def closed(schema: Any) -> Any:
    """The schema without room for fields that it does not name, which a cluster would drop without a word."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    is_open = "properties" not in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    parts = {key: closed(value) for key, value in schema.items()}
    return parts if is_open else {"additionalProperties": False, **parts}


def test_compose_reads_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not here")
    env = {"PATH": "/usr/bin:/bin", "MODEL": "/m", "ADAPTERS": "/a", "CERTIFICATES": "/c", "VLLM_KEY": "k"}
    command = [docker, "compose", "-f", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    run = subprocess.run(command, capture_output=True, text=True, env={**env, "HOME": str(tmp_path)}, check=False)
    assert run.returncode == 0, run.stderr
