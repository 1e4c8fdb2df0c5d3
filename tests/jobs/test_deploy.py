from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from tests.jobs import schemas
from vidsr.cli import picture_settings, upscale
from vidsr.errors import SALVAGED, ClusterError, SettingsError, SomeFailed
from vidsr.graph.session import Session
from vidsr.settings import ClusterSettings

DEPLOY = Path(str(files("jobs"))) / "deploy"
SCHEMAS = {"rayjob.yaml": schemas.RAY_JOB, "raycluster.yaml": schemas.RAY_CLUSTER}


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def cluster_spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = load(name)["spec"]
    return dict(spec.get("rayClusterSpec", spec))


@pytest.mark.parametrize("name", SCHEMAS)
def test_manifests_have_the_fields_of_the_crds(name: str) -> None:
    jsonschema.validate(load(name), SCHEMAS[name])


@pytest.mark.parametrize("wrong", ["backofLimit", "authOptions"])
def test_the_schema_sees_what_is_wrong(wrong: str) -> None:
    manifest = load("rayjob.yaml")
    if wrong == "authOptions":
        del manifest["spec"]["rayClusterSpec"]["authOptions"]
    else:
        manifest["spec"][wrong] = 3
    with pytest.raises(jsonschema.ValidationError, match=wrong):
        jsonschema.validate(manifest, schemas.RAY_JOB)


@pytest.mark.parametrize("name", SCHEMAS)
def test_groups_grow_from_nothing(name: str) -> None:
    spec = cluster_spec(name)
    assert spec["rayVersion"] == ray.__version__
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", "the head only schedules"
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert set(groups) == {"gpu", "encoders"}
    for group in groups.values():
        assert group["minReplicas"] == 0 < group["maxReplicas"]
    limits = {n: g["template"]["spec"]["containers"][0]["resources"]["limits"] for n, g in groups.items()}
    assert limits["gpu"]["nvidia.com/gpu"] == "1" and "nvidia.com/gpu" not in limits["encoders"]


@pytest.mark.parametrize("name", SCHEMAS)
def test_mounts_have_their_volumes(name: str) -> None:
    for group in cluster_spec(name)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for c in pod["containers"] for mount in c["volumeMounts"]} == volumes


def test_the_jobs_command_is_one() -> None:
    shell, option, script = shlex.split(load("rayjob.yaml")["spec"]["entrypoint"])
    assert (shell, option) == ("bash", "-c")
    words = shlex.split(script.partition(" || ")[0])
    assert words[:2] == ["vidsr", "upscale"]
    with upscale.make_context("vidsr upscale", words[2:]) as context:
        picture_settings(dict(context.params))
        gpus = next(g for g in cluster_spec("rayjob.yaml")["workerGroupSpecs"] if g["groupName"] == "gpu")
        assert context.params["actors"] <= gpus["maxReplicas"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (SALVAGED, 0), (SomeFailed.exit_code, 0), (ClusterError.exit_code, 1), (SettingsError.exit_code, 1)],
)
def test_what_another_cluster_would_find_again_is_not_tried_again(tmp_path: Path, code: int, expected: int) -> None:
    stub = tmp_path / "vidsr"
    stub.write_text(f"#!/bin/sh\nexit {code}\n")
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    entrypoint = load("rayjob.yaml")["spec"]["entrypoint"]
    assert subprocess.run(entrypoint, shell=True, env=environment).returncode == expected


def commands() -> Iterator[str]:
    for path in DEPLOY.iterdir():
        for line in path.read_text().splitlines():
            if not line.lstrip().startswith("#"):
                yield line


def test_no_port_runs_anyones_code() -> None:
    """Whatever starts a head has token authentication, and listens on loopback unless Kubernetes keeps it inside."""
    text = "\n".join(commands())
    assert not re.search(r"dashboard-host[=: ]+[\"']?0\.0\.0\.0", text)
    assert not re.search(r"LoadBalancer|NodePort|hostNetwork|enableIngress", text)
    up = load("ray-up.yaml")
    for command in (*up["head_start_ray_commands"], *up["worker_start_ray_commands"]):
        assert "ray start" not in command or command.startswith("RAY_AUTH_MODE=token ")
    assert "--dashboard-host=127.0.0.1" in up["head_start_ray_commands"][1]
    assert up["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert all("--env=RAY_AUTH_MODE=token" in up["docker"][key] for key in ("run_options", "worker_run_options"))


def test_the_cluster_file_is_one_for_ray() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    up = load("ray-up.yaml")
    jsonschema.validate(up, schema)
    assert up["head_node_type"] in up["available_node_types"]
    assert sum(kind["max_workers"] for kind in up["available_node_types"].values()) <= up["max_workers"]


def test_the_image() -> None:
    lines = [line.strip() for line in (DEPLOY / "Dockerfile").read_text().splitlines()]
    assert lines[2].startswith("FROM nvidia/cuda:")
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users and users[-1] not in ("0", "root")
    root = DEPLOY.parents[1]
    sources = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert {"vidsr", "jobs", "training"} <= set(sources)
    assert [source for source in sources if not (root / source).exists()] == []
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert {*project["license-files"], project["readme"]} <= set(sources)
    extras = re.search(r'"\.\[(.*)\]"', "\n".join(lines))
    assert extras and {"openvino", "gpx", "s3"} <= set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_the_images_workers_have_what_a_local_ray_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    there = dict(word.split("=", 1) for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE) for word in line.split())
    for name in list(os.environ):
        if name.startswith(("OMP_", "MALLOC_")):
            monkeypatch.delenv(name)
    with Session(ClusterSettings()) as session:
        session.start()
        given = ray.get(ray.remote(lambda: dict(os.environ)).remote())
    for name in ("OMP_WAIT_POLICY", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX"):
        assert there[name] == given[name]
