"""What the benches share: processes on given cores, their CPU seconds, and the anchors to compare with."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


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


def family(pid, children=True):
    """The process, and those that it started."""
    found = [pid]
    if not children:
        return found
    for line in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = line.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(line.parent.name))
    return found


def cpu_seconds(pid, children=True):
    """Seconds of CPU that a process, and its children, used, by the scheduler's count of nanoseconds."""
    total = 0
    for each in family(pid, children):
        for task in pathlib.Path(f"/proc/{each}/task").glob("*/schedstat"):
            total += int(task.read_text().split()[0])
    return total / 1e9


def resident_mib(pid, children=True):
    kib = 0
    for each in family(pid, children):
        text = pathlib.Path(f"/proc/{each}/status").read_text()
        kib += int(re.search(r"VmRSS:\s+(\d+)", text).group(1))
    return kib / 1024


def need(name):
    """The path of a program, which is brought into target/parts when it is not there."""
    command = [sys.executable, ROOT / "tests" / "parts.py", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout.strip().split("\t")[1]


NGINX = """
worker_processes 1; daemon off; pid {dir}/nginx-{port}.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;
  uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
  {body} }}
"""
BACKEND = 'server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{text}"; }} }}'
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


class Rig:
    """Starts processes on cores and ends them all, whatever happens."""

    def __init__(self):
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_core, self.load_core = cores[0], cores[-1]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weft-bench-"))
        self.started = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.started:
            process.terminate()
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                pass
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        shutil.rmtree(self.folder)

    def start(self, core, command, port, **more):
        """Starts `command` on a core, or anywhere for None, and waits until it listens on `port`."""
        command = [*map(str, command)]
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, start_new_session=True, **{**quiet, **more})
        self.started.append(process)
        wait_for(port, process)
        return process.pid

    def config(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def wrk(self, port, connections, seconds, *more):
        """Puts load on a port; gives wrk's text."""
        command = ["taskset", "-c", str(self.load_core), need("wrk"), "-t1", f"-c{connections}"]
        command += [f"-d{seconds}", "--latency", *more, f"http://127.0.0.1:{port}/"]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if re.search(r"Socket errors|Non-2xx", text):
            print(text, file=sys.stderr)
        return text


def requests(text):
    """How many requests wrk made."""
    return int(re.search(r"(\d+) requests in", text).group(1))


def latency_ms(text, percent):
    number, unit = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit]
