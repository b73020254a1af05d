"""The whole path in `weft up`, beside Envoy's single hop before the same nginx.

A Service runs nginx; requests go through the gateway, are held and counted, and pass its queue. Prints
the requests per second of the platform's CPU (the pod's own is not in it), what the path adds to one
request at a time, and the ratio to Envoy's single hop in the same run.

    sudo python3 tests/bench/path.py [--weft target/release/weft] [--seconds 1] [--rounds 12]

What it needs it brings into target/parts (tests/parts.py).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

from rig import (
    BACKEND, NGINX, ROOT, Rig, cpu_seconds, envoy_config, free_ports, latency_ms, need, requests,
    resident_mib,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weft", default=f"{ROOT}/target/release/weft")
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--connections", type=int, default=32)
    arguments = parser.parse_args()
    nginx, client = need("nginx"), need("kubectl-newest")
    with Rig() as rig:
        app, envoy_port, api, http = free_ports(4)
        server = BACKEND.format(port=app, text="x" * 100)
        text = NGINX.format(dir=rig.folder, port=app, body=server)
        rig.start(rig.load_core, [nginx, "-c", rig.config("app.conf", text)], app)
        flags = ["--concurrency", "1", "--disable-hot-restart", "-l", "off"]
        file = rig.config("envoy.json", envoy_config(envoy_port, app, False))
        envoy_pid = rig.start(rig.proxy_core, [need("envoy"), "-c", file, *flags], envoy_port)

        # In its own network a pod may listen where it likes; on a shared one it is told its port.
        script = rig.folder / "serve"
        inside = BACKEND.replace("127.0.0.1:", "").format(port="$PORT", text="x" * 100)
        inside = NGINX.format(dir=rig.folder, port="pod", body=inside)
        script.write_text(
            f"#!/bin/sh\ncat > {rig.folder}/pod.conf <<END\n{inside}\nEND\n"
            f"exec taskset -c {rig.load_core} {nginx} -c {rig.folder}/pod.conf\n"
        )
        script.chmod(0o755)
        rig.folder.chmod(0o755)
        data = rig.folder / "data"
        command = [arguments.weft, "up", "--data-dir", data, "--api-addr", f"127.0.0.1:{api}"]
        command += ["--http-addr", f"127.0.0.1:{http}", "--image", f"bench={script}"]
        log = open(rig.folder / "weft.log", "w")
        weft = rig.start(rig.proxy_core, command, http, stdout=log, stderr=log)

        def kubectl(*words, **more):
            words = [client, f"--kubeconfig={data}/kubeconfig", *words]
            return subprocess.run(words, capture_output=True, text=True, **more)

        service = {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": "bench"},
            "spec": {
                "template": {
                    "metadata": {
                        "annotations": {
                            "autoscaling.knative.dev/min-scale": "1",
                            "autoscaling.knative.dev/max-scale": "1",
                        }
                    },
                    "spec": {"containers": [{"image": "bench"}]},
                }
            },
        }
        for _ in range(100):
            if kubectl("get", "ksvc").returncode == 0:
                break
            time.sleep(0.1)
        applied = kubectl("apply", "-f", "-", input=json.dumps(service))
        if applied.returncode:
            sys.exit(applied.stderr)
        for _ in range(300):
            found = json.loads(kubectl("get", "ksvc", "bench", "-o", "json").stdout).get("status", {})
            conditions = {each["type"]: each for each in found.get("conditions", [])}
            if conditions.get("Ready", {}).get("status") == "True":
                break
            time.sleep(0.1)
        else:
            sys.exit(f"the service does not become ready: {found}\n{(rig.folder / 'weft.log').read_text()}")
        host = found["url"].split("//")[1].split(":")[0]
        targets = {
            "direct": (app, None, []),
            "envoy": (envoy_port, envoy_pid, []),
            "weft up": (http, weft, ["-H", f"Host: {host}"]),
        }
        rates = {name: [] for name in targets}
        alone = {name: [] for name in targets}
        for port, _, more in targets.values():
            rig.wrk(port, arguments.connections, 1, *more)  # To fill pools and caches.
        # The pods are children of the platform and no part of its cost.
        used = lambda pid: cpu_seconds(pid, children=False)
        for _ in range(arguments.rounds):
            for name, (port, pid, more) in targets.items():
                if pid is not None:
                    before = used(pid)
                    text = rig.wrk(port, arguments.connections, arguments.seconds, *more)
                    rates[name].append(requests(text) / (used(pid) - before))
                text = rig.wrk(port, 1, 1, *more)
                alone[name].append((latency_ms(text, 50), latency_ms(text, 99)))
        p50, p99 = (
            {name: statistics.median(value[at] for value in values) for name, values in alone.items()}
            for at in (0, 1)
        )
        middle = {name: statistics.median(values) for name, values in rates.items() if values}
        print(f"{'':10}{'req/CPU-s':>11}{'x Envoy':>9}{'adds p50':>11}{'adds p99':>11}{'resident':>11}")
        for name, rate in middle.items():
            added = lambda quantile: f"{quantile[name] - quantile['direct']:.3f} ms"
            memory = resident_mib(targets[name][1], children=False)
            print(f"{name:10}{rate:>11.0f}{rate / middle['envoy']:>9.2f}"
                  f"{added(p50):>11}{added(p99):>11}{memory:>7.1f} MiB")


if __name__ == "__main__":
    main()
