"""deploy/kubernetes: what kustomize makes of each overlay is valid, holds together, and fits what the gateway itself
says of its pages, its settings and the time that it takes to end (row 111).

`python -m tests.test_deploy_kubernetes` prints the PrometheusRule as it would be now.
"""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.programs import free_port
from proxy.insight.rule_tests import run_rule_tests
from proxy.settings.load import Loaded, load
from proxy.settings.sources import PREFIX
from proxy.settings.spellings import ENVIRONMENT
from proxy.version import VERSION
from tests.support.image import FINAL, image_environment, instructions
from tests.support.origin import Origin
from tests.support.process import REPOSITORY, serving

PLACE = REPOSITORY / "deploy" / "kubernetes"
RULE = PLACE / "components" / "monitoring" / "prometheusrule.yaml"
ROOTS = ("base", "overlays/dev", "overlays/production", "overlays/sentinel")
OURS = ("monitoring.coreos.com/v1",)  # kinds that Kubernetes itself does not know
FILES = sorted(path for path in PLACE.rglob("*.yaml") if path.parent.name != "config")
OLDEST = "1.29"  # of the clusters that are spoken of: what those do not know is not used
each_root = pytest.mark.parametrize("root", ROOTS)


@cache
def kustomized(root: str) -> tuple[dict[str, Any], ...]:
    """The objects that `kubectl apply -k` would send."""
    found = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("there is no kubectl: `make .venv/bin/kubectl`")
    done = subprocess.run([found, "kustomize", PLACE / root], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return tuple(yaml.safe_load_all(done.stdout))


def one(root: str, kind: str, name: str = "cachegate") -> dict[str, Any]:
    (found,) = [it for it in kustomized(root) if (it["kind"], it["metadata"]["name"]) == (kind, name)]
    return found


def container(root: str) -> dict[str, Any]:
    (found,) = one(root, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def configured(root: str) -> str:
    return str(one(root, "ConfigMap")["data"]["cachegate.yaml"])


def loaded(root: str, place: Path) -> Loaded:
    """The settings of a pod, where every Secret says something that fits."""
    given = {each["name"]: each.get("value", "redis://somewhere:6379/0") for each in container(root)["env"]}
    limit = _bytes(container(root)["resources"]["limits"]["memory"])  # as the field that the pod's refers to
    given |= {"ADMIN_TOKEN": "a-token-of-the-secret", "CACHEGATE__MEMORY__LIMIT": str(limit)}
    given = {**image_environment(), **given}
    assert [name for name in given if name not in ENVIRONMENT and not name.startswith(PREFIX)] == []
    (place / "config").mkdir()
    (place / "config" / "cachegate.yaml").write_text(configured(root))
    return load(config=None, flags={}, sets=(), environ=given, cwd=place, require_upstream=root != "overlays/dev")


# -- what the cluster takes --------------------------------------------------------------------------------------------


@each_root
@pytest.mark.parametrize("version", [OLDEST, "1.34"])
def test_the_schemas_of_kubernetes_know_every_field(root: str, version: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="not installed: `make .venv/.deploy`")
    ours = [each for each in kustomized(root) if each["apiVersion"] not in OURS]
    assert len(ours) >= 8
    for each in ours:
        schemas.validate(each, version, strict=True)


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(PLACE)))
def test_every_file_is_used_by_a_kustomization(file: Path) -> None:
    """And is YAML, also where there is nothing that could put the files together."""
    assert all(isinstance(part, dict | list) for part in yaml.safe_load_all(file.read_text()))
    if file.name != "kustomization.yaml":
        asked = (file.parent / "kustomization.yaml").read_text()
        assert re.search(rf"^\s+(?:- |path: |- path: ){re.escape(file.name)}$", asked, re.MULTILINE)


@each_root
def test_what_is_named_is_there(root: str) -> None:
    made = {(each["kind"], each["metadata"]["name"]) for each in kustomized(root)}
    deployment = one(root, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    assert ("ServiceAccount", pod["serviceAccountName"]) in made
    assert {volume["name"] for volume in pod["volumes"]} == {each["name"] for each in container(root)["volumeMounts"]}
    assert {("ConfigMap", v["configMap"]["name"]) for v in pod["volumes"] if "configMap" in v} <= made
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    ports = {each["name"]: each["containerPort"] for each in container(root)["ports"]}
    for name in ("cachegate", "cachegate-admin"):
        service = one(root, "Service", name)["spec"]
        assert service["selector"].items() <= labels.items()
        assert {each["targetPort"] for each in service["ports"]} <= set(ports)
    assert one(root, "Service")["spec"]["ports"][0]["targetPort"] == "http"
    namespaces = {each["metadata"].get("namespace") for each in kustomized(root)}
    assert len(namespaces) == 1
    if ("HorizontalPodAutoscaler", "cachegate") in made:
        assert one(root, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "cachegate"
        assert one(root, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert "replicas" not in deployment["spec"]  # or each `apply` would undo what the autoscaler did


# -- what a pod may do -------------------------------------------------------------------------------------------------


@each_root
def test_every_pod_may_do_little(root: str) -> None:
    """The `restricted` standard of Kubernetes, and a file system that nobody can write to."""
    for deployment in (each for each in kustomized(root) if each["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in pod["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert each["resources"]["limits"]["memory"]


def test_no_secret_is_written_down() -> None:
    for root in ROOTS:
        assert [each for each in kustomized(root) if each["kind"] == "Secret"] == []
        token = {each["name"]: each for each in container(root)["env"]}["ADMIN_TOKEN"]
        assert token["valueFrom"]["secretKeyRef"] == {"name": "cachegate-admin", "key": "token"}


@each_root
def test_the_image_is_run_as_the_user_that_it_has(root: str) -> None:
    context = one(root, "Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert instructions("USER", FINAL) == [f"{context['runAsUser']}:{context['runAsGroup']}"]
    assert context["fsGroup"] == context["runAsGroup"]
    (mount,) = [each for each in container(root)["volumeMounts"] if each["name"] == "cache"]
    assert instructions("VOLUME", FINAL) == [mount["mountPath"]]


def test_only_gateways_reach_the_redis_of_the_overlay() -> None:
    policy = one("overlays/dev", "NetworkPolicy", "redis")["spec"]
    assert policy["ingress"][0]["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "cachegate"}}}]
    redis = one("overlays/dev", "Deployment", "redis")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= redis.items()


def test_the_gateway_speaks_to_names_its_upstream_and_its_redis_and_to_nobody_else() -> None:
    """Names are asked of the cluster's DNS, which may be on the node itself, and the rest is what settings name."""
    for root, more in EGRESS.items():
        names, own, *others = one(root, "NetworkPolicy")["spec"]["egress"]
        assert names == {
            "to": [space("kube-system"), {"ipBlock": {"cidr": "169.254.20.10/32"}}],
            "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
        }
        assert own == {"to": [{"podSelector": {}}]}
        assert [(to, [port["port"] for port in rule["ports"]]) for rule in others for to in rule["to"]] == more
        assert one(root, "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress", "Egress"]


def space(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


EGRESS: dict[str, list[tuple[dict[str, Any], list[int]]]] = {
    "base": [],
    "overlays/dev": [],
    "overlays/production": [
        (space("api"), [8080]),
        *(({"ipBlock": {"cidr": network}}, [6379]) for network in ("0.0.0.0/0", "::/0")),
    ],
    "overlays/sentinel": [(space("api"), [8080]), (space("redis"), [6379, 26379])],
}


@each_root
def test_only_the_ingress_reaches_a_gateway_that_believes_what_comes_before_it(root: str, tmp_path: Path) -> None:
    """A pod that reaches the port from a trusted network says what it likes of its address."""
    traffic = one(root, "NetworkPolicy")["spec"]["ingress"][0]
    assert [port["port"] for port in traffic["ports"]] == ["http"]
    trusted = loaded(root, tmp_path).settings.listen.trusted_proxies
    assert traffic.get("from", []) == ([space("ingress-nginx")] if trusted else [])


def test_the_admin_port_is_no_part_of_the_traffic() -> None:
    assert [each["name"] for each in one("base", "Service")["spec"]["ports"]] == ["http"]
    ingress = one("base", "NetworkPolicy")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in ingress] == ["http", "admin"]
    assert "from" in ingress[1]


# -- what the gateway says to it ---------------------------------------------------------------------------------------


@each_root
def test_the_settings_take_it_all(root: str, tmp_path: Path) -> None:
    read = loaded(root, tmp_path)
    assert read.warnings == ()
    settings = read.settings
    ports = {each["name"]: each["containerPort"] for each in container(root)["ports"]}
    assert (settings.listen.host, settings.listen.port) == ("0.0.0.0", ports["http"])
    assert (settings.admin.host, settings.admin.port) == ("0.0.0.0", ports["admin"])
    assert settings.redis.enabled is (root != "base")
    assert settings.file.dir.is_relative_to(instructions("VOLUME", FINAL)[0])
    assert [trial for trial in run_rule_tests(settings, 1_800_000_000.0) if trial.wrong] == []
    assert (settings.upstream.url == ()) is (root == "overlays/dev")
    assert container(root)["args"] == (["serve", "--demo"] if root == "overlays/dev" else ["serve"])


@each_root
def test_bounds_leave_room_for_what_the_settings_allow(root: str, tmp_path: Path) -> None:
    settings = loaded(root, tmp_path).settings
    limits = container(root)["resources"]["limits"]
    volumes = {each["name"]: each for each in one(root, "Deployment")["spec"]["template"]["spec"]["volumes"]}
    (told,) = [each for each in container(root)["env"] if each["name"] == "CACHEGATE__MEMORY__LIMIT"]
    assert told["valueFrom"]["resourceFieldRef"] == {"containerName": "cachegate", "resource": "limits.memory"}
    assert container(root)["resources"]["requests"]["memory"] == limits["memory"]  # it uses what it is promised
    assert container(root)["resources"]["requests"]["ephemeral-storage"] == limits["ephemeral-storage"]
    assert _bytes(limits["memory"]) >= settings.memory.max_bytes * 1.9
    assert settings.file.max_bytes < _bytes(volumes["cache"]["emptyDir"]["sizeLimit"])
    asked = sum(_bytes(each["emptyDir"]["sizeLimit"]) for each in volumes.values() if "emptyDir" in each)
    assert asked <= _bytes(limits["ephemeral-storage"])


def _bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([KMG]i)", quantity).groups()  # type: ignore[union-attr]
    return int(number) << {"Ki": 10, "Mi": 20, "Gi": 30}[unit]


@each_root
def test_a_pod_is_given_the_time_that_the_gateway_takes_to_end(root: str, tmp_path: Path) -> None:
    """Not ready at once, and connections are taken until the probe and every node have noticed."""
    listen = loaded(root, tmp_path).settings.listen
    probe = container(root)["readinessProbe"]
    pod = one(root, "Deployment")["spec"]["template"]["spec"]
    assert listen.drain_delay >= probe["periodSeconds"] * probe["failureThreshold"] + 5
    assert pod["terminationGracePeriodSeconds"] == listen.drain_delay + listen.drain + 5
    assert "lifecycle" not in container(root)


async def test_the_probes_and_the_scrape_find_their_pages() -> None:
    """With the environment of the pods, on another host and port."""
    pages = {container("base")[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    monitor = yaml.safe_load((PLACE / "components/monitoring/servicemonitor.yaml").read_text())
    pages |= {endpoint["path"] for endpoint in monitor["spec"]["endpoints"]}
    assert pages == {"/livez", "/readyz", "/metrics"}
    port = free_port()
    own = {each["name"]: each["value"] for each in container("base")["env"] if "METRICS" in each["name"]}
    settings = {"listen": {"drain_delay": 0}}
    async with Origin() as origin:
        origin.answer("/cache/ready", body=b"the site's own")
        async with serving(origin, settings, "--admin-port", str(port), env=own) as gateway:
            assert (await gateway.get("/metrics")).verdict == "MISS"  # the site's own, if it has one
            public, gateway.port = gateway.port, port
            assert [(await gateway.get(page)).status for page in sorted(pages)] == [200, 200, 200]
            gateway.port = public


def mount(volume: Path, name: str, text: str) -> None:
    """A ConfigMap of one file, as the kubelet writes it: into a directory of its own, at which `..data` is pointed in
    one step; the file that the gateway knows leads through there, and stays. What was there before is removed."""
    held, data = volume / f"..2026_11_22_10_00_00.{name}", volume / "..data"
    held.mkdir(parents=True)
    (held / "cachegate.yaml").write_text(text)
    before = data.resolve() if data.exists() else None
    (volume / "..data_tmp").symlink_to(held.name)
    (volume / "..data_tmp").rename(data)
    if before is None:
        (volume / "cachegate.yaml").symlink_to("..data/cachegate.yaml")
    else:
        shutil.rmtree(before)


async def test_a_configmap_that_is_swapped_is_taken_without_a_restart(tmp_path: Path) -> None:
    """More than once: after the first time nothing is left of what the file led to when it was first read."""
    volume = tmp_path / "app" / "config"
    off, on = 'rules: [{pattern: "*", mode: "off"}]\n', 'rules: [{pattern: "*", ttl: 60}]\n'
    mount(volume, "1", off)
    flags = ("--config", str(volume / "cachegate.yaml"))
    async with Origin() as origin, serving(origin, None, *flags, directory=tmp_path) as gateway:
        origin.answer("/a", body=b"x")
        assert await gateway.verdicts("/a", "/a") == ["BYPASS", "BYPASS"]
        mount(volume, "2", on)
        await gateway.logged("reloaded: changed rules")
        assert await gateway.verdicts("/a", "/a") == ["MISS", "HIT"]
        mount(volume, "3", "colour: red\n")
        await gateway.logged("colour: unknown key")
        assert await gateway.verdicts("/a") == ["HIT"]
        mount(volume, "4", off)
        await gateway.logged("reloaded: changed rules", times=2)
        assert await gateway.verdicts("/a") == ["BYPASS"]


# -- what is watched ---------------------------------------------------------------------------------------------------


def test_the_operator_is_given_the_alerts_that_there_are() -> None:
    assert RULE.read_text() == rule(), "python -m tests.test_deploy_kubernetes > " + str(RULE.relative_to(REPOSITORY))


def test_prometheus_calls_the_job_as_the_alerts_do() -> None:
    root = "overlays/production"
    monitor = one(root, "ServiceMonitor")["spec"]
    service = one(root, "Service", "cachegate-admin")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert not monitor["selector"]["matchLabels"].items() <= one(root, "Service")["metadata"]["labels"].items()
    assert [each["name"] for each in service["spec"]["ports"]] == [each["port"] for each in monitor["endpoints"]]
    job = service["metadata"]["labels"][monitor["jobLabel"]]
    assert f'up{{job="{job}"}}' in RULE.read_text()


def test_grafana_is_given_the_dashboard() -> None:
    shipped = (REPOSITORY / "deploy/grafana/dashboards/cachegate.json").read_text()
    made = one("overlays/production", "ConfigMap", "cachegate-dashboard")
    assert made["data"] == {"cachegate.json": shipped}
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_image_has_the_version_of_this_tree() -> None:
    assert container("overlays/production")["image"].endswith(f"/cachegate:{VERSION}")


def rule() -> str:
    """The rules of deploy/prometheus as the Prometheus operator takes them, their comments left behind."""
    groups = [
        {**group, "name": f"{group['name']}.{name}"}
        for name in ("recording", "alerts")
        for group in yaml.safe_load((REPOSITORY / "deploy" / "prometheus" / f"{name}.yml").read_text())["groups"]
    ]
    labels = {"app.kubernetes.io/name": "cachegate"}
    made = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "cachegate", "labels": labels},
        "spec": {"groups": groups},
    }
    origin = "# Made of deploy/prometheus/recording.yml and alerts.yml: python -m tests.test_deploy_kubernetes\n"
    return origin + yaml.safe_dump(made, sort_keys=False, width=120)


if __name__ == "__main__":
    print(rule(), end="")
