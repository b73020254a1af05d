"""One hop, side by side: Envoy, HAProxy, nginx and the queue role before the same nginx backend.

Prints, for each, the requests per second of CPU that the proxy's process used, the latency of one
request at a time, the memory after the run, and the ratios to Envoy and HAProxy.

    python3 tests/bench/hop.py [--queue 'target/release/weft queue'] [--seconds 1] [--rounds 12]

What it needs it brings into target/parts (tests/parts.py).
"""

import argparse
import json
import os
import re
import shlex
import statistics
import subprocess
import sys

from rig import (
    BACKEND, NGINX, ROOT, Rig, cpu_seconds, envoy_config, free_ports, latency_ms, need, requests,
    resident_mib,
)

PROXY = """
  upstream app {{ server 127.0.0.1:{app}; keepalive 256; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
"""
HAPROXY = """
global
  nbthread 1
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout client 60s
  timeout server 60s
  timeout connect 5s
listen hop
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{h2c} proto h2
  server app 127.0.0.1:{app}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--queue", default=f"{ROOT}/target/release/weft queue")
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    h2load, nginx, haproxy = need("h2load"), need("nginx"), need("haproxy")
    with Rig() as rig:
        start, config = rig.start, rig.config
        app, envoy_port, haproxy_port, haproxy_h2c, nginx_port, *queue_ports = free_ports(9)
        backend = BACKEND.format(port=app, text="x" * 100)
        text = NGINX.format(dir=rig.folder, port=app, body=backend)
        start(rig.load_core, [nginx, "-c", config("app.conf", text)], app)

        proxies = {}
        wanted = lambda name: not arguments.only or name in arguments.only.split(",")
        if wanted("envoy"):
            flags = ["--concurrency", "1", "--disable-hot-restart", "-l", "off"]
            file = config("envoy.json", envoy_config(envoy_port, app, False))
            pid = start(rig.proxy_core, [need("envoy"), "-c", file, *flags], envoy_port)
            proxies["envoy"] = (envoy_port, pid)
        if wanted("haproxy"):
            file = config("haproxy.cfg", HAPROXY.format(port=haproxy_port, h2c=haproxy_h2c, app=app))
            pid = start(rig.proxy_core, [haproxy, "-f", file, "-db"], haproxy_port)
            proxies["haproxy"] = (haproxy_port, pid)
        if wanted("nginx"):
            text = PROXY.format(port=nginx_port, app=app)
            file = config("proxy.conf", NGINX.format(dir=rig.folder, port=nginx_port, body=text))
            pid = start(rig.proxy_core, [nginx, "-c", file], nginx_port)
            proxies["nginx"] = (nginx_port, pid)
        if wanted("queue"):
            settings = {"namespace": "bench", "revision": "bench", "userPort": app, "timeoutS": 300}
            names = ["http", "h2c", "admin", "stat"]
            settings["ports"] = dict(zip(names, queue_ports))
            environment = {**os.environ, "QUEUE_SETTINGS": json.dumps(settings)}
            command = shlex.split(arguments.queue)
            pid = start(rig.proxy_core, command, queue_ports[0], env=environment)
            proxies["queue"] = (queue_ports[0], pid)

        def load_h2c(port, seconds):
            command = ["taskset", "-c", str(rig.load_core), h2load, "-c4", "-m8", f"-D{seconds}"]
            command += [f"http://127.0.0.1:{port}/"]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            done, bad = re.search(r"requests: \d+ total.* (\d+) succeeded, (\d+) failed", text).groups()
            if int(bad):
                print(text, file=sys.stderr)
            return int(done)

        h2c_ports = {"envoy": envoy_port, "haproxy": haproxy_h2c, "queue": queue_ports[0]}
        h2c = {name: [] for name in proxies if name in h2c_ports}
        rates = {name: [] for name in proxies}
        alone = {name: [] for name in [*proxies, "direct"]}
        for name, (port, _) in proxies.items():
            rig.wrk(port, arguments.connections, 1)  # To fill pools and caches.
        for _ in range(arguments.rounds):
            for name, (port, pid) in proxies.items():
                before = cpu_seconds(pid)
                text = rig.wrk(port, arguments.connections, arguments.seconds)
                used = cpu_seconds(pid) - before
                rates[name].append(requests(text) / used)
            for name in h2c:
                pid = proxies[name][1]
                before = cpu_seconds(pid)
                done = load_h2c(h2c_ports[name], arguments.seconds)
                h2c[name].append(done / (cpu_seconds(pid) - before))
            for name, port in [("direct", app), *((name, port) for name, (port, _) in proxies.items())]:
                text = rig.wrk(port, 1, 1)
                alone[name].append((latency_ms(text, 50), latency_ms(text, 99)))

        middle = {name: statistics.median(values) for name, values in rates.items()}
        middle_h2c = {name: statistics.median(values) for name, values in h2c.items()}
        p50, p99 = (
            {name: statistics.median(value[at] for value in values) for name, values in alone.items()}
            for at in (0, 1)
        )
        print(f"{'':10}{'req/CPU-s':>11}{'x Envoy':>9}{'x HAProxy':>11}"
              f"{'h2c/CPU-s':>11}{'x Envoy':>9}{'adds p50':>11}{'adds p99':>11}{'resident':>11}")
        for name, (_, pid) in proxies.items():
            ratio = lambda other, of=middle: (
                f"{of[name] / of[other]:.2f}" if other in of and name in of else "-"
            )
            streams = f"{middle_h2c[name]:.0f}" if name in middle_h2c else "-"
            added = lambda quantile: f"{quantile[name] - quantile['direct']:.3f} ms"
            print(f"{name:10}{middle[name]:>11.0f}{ratio('envoy'):>9}{ratio('haproxy'):>11}"
                  f"{streams:>11}{ratio('envoy', middle_h2c):>9}{added(p50):>11}{added(p99):>11}{resident_mib(pid):>6.1f} MiB")


if __name__ == "__main__":
    main()
