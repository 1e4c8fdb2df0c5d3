"""JSON Schemas of what the deployment files may say: the fields that KubeRay's CRDs and Ray's cluster files document.

Only the fields of KubeRay's own types are closed; of pods, what our files use is checked.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string", "minLength": 1}
COUNT = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": r"^\d+(\.\d+)?(m|Mi|Gi)?$"}}


def closed(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


CONTAINER = closed(
    {
        "name": TEXT,
        "image": TEXT,
        "env": {"type": "array"},
        "resources": closed({"requests": QUANTITIES, "limits": QUANTITIES}, ("requests", "limits")),
        "ports": {
            "type": "array",
            "items": closed({"containerPort": {"type": "integer"}, "name": TEXT}, ("containerPort",)),
        },
        "volumeMounts": {"type": "array", "items": closed({"name": TEXT, "mountPath": TEXT}, ("name", "mountPath"))},
    },
    ("name", "image", "resources"),
)
POD = closed(
    {
        "serviceAccountName": TEXT,
        "securityContext": closed({"runAsNonRoot": {"const": True}, "runAsUser": {"minimum": 1}, "fsGroup": COUNT},
                                  ("runAsNonRoot", "runAsUser")),
        "containers": {"type": "array", "minItems": 1, "items": CONTAINER},
        "tolerations": {
            "type": "array",
            "items": closed({"key": TEXT, "operator": {"enum": ["Exists", "Equal"]}, "effect": TEXT}),
        },
        "volumes": {"type": "array", "items": closed({"name": TEXT, "emptyDir": {"type": "object"}}, ("name",))},
    },
    ("containers", "securityContext"),
)  # fmt: skip
TEMPLATE = closed({"metadata": {"type": "object"}, "spec": POD}, ("spec",))
RAY_CLUSTER_SPEC = closed(
    {
        "rayVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "suspend": FLAG,
        "authOptions": closed({"mode": {"const": "token"}, "secretName": TEXT}, ("mode",)),
        "enableInTreeAutoscaling": FLAG,
        "autoscalerOptions": closed(
            {
                "version": {"enum": ["v1", "v2"]},
                "idleTimeoutSeconds": COUNT,
                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
                "resources": {"type": "object"},
            }
        ),
        "headGroupSpec": closed(
            {"serviceType": {"const": "ClusterIP"}, "rayStartParams": TEXTS, "template": TEMPLATE},
            ("rayStartParams", "template"),
        ),
        "workerGroupSpecs": {
            "type": "array",
            "items": closed(
                {
                    "groupName": TEXT,
                    "replicas": COUNT,
                    "minReplicas": COUNT,
                    "maxReplicas": COUNT,
                    "rayStartParams": TEXTS,
                    "template": TEMPLATE,
                },
                ("groupName", "minReplicas", "maxReplicas", "template"),
            ),
        },
    },
    ("headGroupSpec", "authOptions"),
)
METADATA = closed({"name": {"type": "string", "pattern": "^[a-z0-9-]{1,63}$"}, "labels": TEXTS}, ("name",))


def _resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    fields = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}, "metadata": METADATA, "spec": spec}
    return closed(fields, tuple(fields))


RAY_CLUSTER = _resource("RayCluster", RAY_CLUSTER_SPEC)
RAY_JOB = _resource(
    "RayJob",
    closed(
        {
            "entrypoint": TEXT,
            "entrypointNumCpus": {"type": "number"},
            "entrypointNumGpus": {"type": "number"},
            "entrypointResources": TEXT,
            "runtimeEnvYAML": TEXT,
            "jobId": TEXT,
            "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
            "submitterConfig": closed({"backoffLimit": COUNT}),
            "backoffLimit": COUNT,
            "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
            "shutdownAfterJobFinishes": FLAG,
            "ttlSecondsAfterFinished": COUNT,
            "suspend": FLAG,
            "rayClusterSpec": RAY_CLUSTER_SPEC,
        },
        ("entrypoint", "rayClusterSpec", "backoffLimit", "ttlSecondsAfterFinished", "shutdownAfterJobFinishes"),
    ),
)
