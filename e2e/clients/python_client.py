"""Drives a cluster with the Python client: typed API, dynamic client, watches, patches and custom resources.

Usage: python_client.py KUBECONFIG. Exits 0 when everything is as on Kubernetes; an assertion names what is not.
"""

import json
import sys
import threading

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException

NAMESPACE = "python"


def refused(status, call, *arguments, **options):
    """The call fails with this HTTP status; returns the error."""
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == status, f"wanted {status}, got {error.status}: {error.body}"
        return error
    raise AssertionError(f"{call} was not refused")


def deployment(replicas, name="web"):
    labels = {"app": "web"}
    container = client.V1Container(name="c", image="gantry.local/busybox:latest", command=["sleep", "3600"])
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name),
        spec=client.V1DeploymentSpec(
            replicas=replicas,
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
            ),
        ),
    )


def typed(core, apps):
    """Create, read, update, patch, scale, list, delete with models, and the refusals."""
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    made = apps.create_namespaced_deployment(NAMESPACE, deployment(0))
    assert made.spec.strategy.type == "RollingUpdate" and made.metadata.generation == 1, made
    refused(409, apps.create_namespaced_deployment, NAMESPACE, deployment(0))
    error = refused(422, apps.create_namespaced_deployment, NAMESPACE, deployment(0, "Not valid"))
    assert "Invalid" in error.body, error.body

    # A ConfigMap, because no controller writes to it in between.
    empty = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="replaced"))
    current = core.create_namespaced_config_map(NAMESPACE, empty)
    stale = current.metadata.resource_version
    current.data = {"k": "1"}
    core.replace_namespaced_config_map("replaced", NAMESPACE, current)
    current.metadata.resource_version, current.data = stale, {"k": "2"}
    refused(409, core.replace_namespaced_config_map, "replaced", NAMESPACE, current)

    changed = apps.patch_namespaced_deployment("web", NAMESPACE, {"spec": {"replicas": 1}})
    assert changed.metadata.generation == 2, changed.metadata
    patched = apps.patch_namespaced_deployment("web", NAMESPACE, {"metadata": {"labels": {"a": "b"}}})
    assert patched.metadata.labels == {"a": "b"}, patched.metadata.labels
    scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
    assert scale.spec.replicas == 1, scale
    apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 0}})
    assert apps.read_namespaced_deployment("web", NAMESPACE).spec.replicas == 0

    for number in range(7):
        data = {"n": str(number)}
        meta = client.V1ObjectMeta(generate_name="m-", labels={"even": str(number % 2 == 0).lower()})
        core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=meta, data=data))
    even = core.list_namespaced_config_map(NAMESPACE, label_selector="even=true")
    assert len(even.items) == 4, even
    seen, token = [], None
    while token != "":
        page = core.list_namespaced_config_map(NAMESPACE, limit=3, _continue=token, label_selector="even")
        seen += [item.metadata.name for item in page.items]
        token = page.metadata._continue or ""
    assert len(seen) == len(set(seen)) == 7, seen
    dry = core.create_namespaced_config_map(
        NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="dry")), dry_run="All"
    )
    assert dry.metadata.uid, dry
    refused(404, core.read_namespaced_config_map, "dry", NAMESPACE)


def watched(core):
    """A watch from a revision shows each change once and in order."""
    start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version

    def work():
        name = "watched"
        core.create_namespaced_config_map(
            NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data={"n": "0"})
        )
        for number in range(1, 20):
            core.patch_namespaced_config_map(name, NAMESPACE, {"data": {"n": str(number)}})
        core.delete_namespaced_config_map(name, NAMESPACE)

    worker = threading.Thread(target=work)
    worker.start()
    events, stream = [], watch.Watch()
    for event in stream.stream(
        core.list_namespaced_config_map, NAMESPACE, resource_version=start, timeout_seconds=30
    ):
        events.append((event["type"], event["object"].data["n"]))
        if event["type"] == "DELETED":
            stream.stop()
    worker.join()
    expected = [("ADDED", "0")] + [("MODIFIED", str(n)) for n in range(1, 20)] + [("DELETED", "19")]
    assert events == expected, events


def applied(api):
    """Server-side apply through the dynamic client: ownership, conflict, force."""
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")

    def body(value):
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ssa"}, "data": {"k": value}}

    first = maps.server_side_apply(body("1"), namespace=NAMESPACE, field_manager="one")
    assert first.metadata.managedFields[0].manager == "one", first
    error = refused(409, maps.server_side_apply, body("2"), namespace=NAMESPACE, field_manager="two")
    assert 'conflict with "one": .data.k' in json.loads(error.body)["message"], error.body
    second = maps.server_side_apply(
        body("2"), namespace=NAMESPACE, field_manager="two", force_conflicts=True
    )
    assert second.data.k == "2", second


def custom(api):
    """A custom resource defined, used through the dynamic client, watched and removed."""
    extensions = client.ApiextensionsV1Api(api)
    name = "backups.python.example.com"
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["schedule"],
                "properties": {
                    "schedule": {"type": "string"},
                    "keep": {"type": "integer", "default": 3, "minimum": 1},
                },
            }
        },
    }
    extensions.create_custom_resource_definition(
        {
            "metadata": {"name": name},
            "spec": {
                "group": "python.example.com",
                "names": {"kind": "Backup", "plural": "backups", "singular": "backup", "listKind": "BackupList"},
                "scope": "Namespaced",
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
                ],
            },
        }
    )
    stream = watch.Watch()
    for event in stream.stream(
        extensions.list_custom_resource_definition, field_selector=f"metadata.name={name}", timeout_seconds=30
    ):
        conditions = event["object"].status.conditions or [] if event["object"].status else []
        if any(c.type == "Established" and c.status == "True" for c in conditions):
            stream.stop()
    backups = dynamic.DynamicClient(api).resources.get(api_version="python.example.com/v1", kind="Backup")
    body = {
        "apiVersion": "python.example.com/v1",
        "kind": "Backup",
        "metadata": {"name": "daily"},
        "spec": {"schedule": "@daily", "unknown": 1},
    }
    made = backups.create(body, namespace=NAMESPACE)
    assert made.spec.keep == 3 and made.spec.unknown is None, made
    body["metadata"]["name"], body["spec"]["keep"] = "bad", 0
    error = refused(422, backups.create, body, namespace=NAMESPACE)
    assert "spec.keep: Invalid value: 0" in json.loads(error.body)["message"], error.body
    patched = backups.patch(
        {"metadata": {"name": "daily"}, "spec": {"keep": 5}},
        namespace=NAMESPACE,
        content_type="application/merge-patch+json",
    )
    assert patched.spec.keep == 5, patched
    extensions.delete_custom_resource_definition(name)


def main():
    config.load_kube_config(sys.argv[1])
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    typed(core, client.AppsV1Api(api))
    watched(core)
    applied(api)
    custom(api)
    core.delete_namespace(NAMESPACE)
    print("all as on Kubernetes")


main()
