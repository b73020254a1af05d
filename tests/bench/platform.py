#!/usr/bin/env python3
"""Measures what `weft up` promises as a platform, and prints each figure beside its bar.

  platform.py [--weft PATH] [start idle ready cold burst many zero ...]

Start-up, idle cost, Service applied to Ready, cold start beyond the app's own start, many services
woken at once, 200 Services at once, 1,000 Services at zero. Needs a release build and kubectl.
Standard library only.
"""
import argparse, base64, concurrent.futures, http.client, json, os, re, signal, socket, ssl, statistics, subprocess, sys, tempfile, time

CLOCK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


class Platform:
    """A `weft up` of its own, on free ports and in a new data directory."""

    def __init__(self, weft):
        self.weft = weft
        self.dir = tempfile.mkdtemp(prefix="weft-bench-")
        begin = time.monotonic()
        self.log = open(os.path.join(self.dir, "log"), "w")
        self.process = subprocess.Popen(
            [weft, "up", "--data-dir", os.path.join(self.dir, "data"), "--api-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"],
            stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        note = os.path.join(self.dir, "data", "running.json")
        while not os.path.exists(note):
            if self.process.poll() is not None or time.monotonic() - begin > 20:
                sys.exit("weft up did not start: see " + self.log.name)
            time.sleep(0.001)
        self.start_s = time.monotonic() - begin
        running = json.load(open(note))
        self.gateway = running["http_addr"].rsplit(":", 1)
        self.kubeconfig = os.path.join(self.dir, "data", "kubeconfig")
        text = open(self.kubeconfig).read()
        self.token = re.search(r"token: \"?([^\s\"]+)", text).group(1)
        self.api = running["api_addr"].rsplit(":", 1)
        self.context = ssl._create_unverified_context()

    def request(self, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPSConnection(self.api[0], int(self.api[1]), context=self.context)
        connection.request(method, path, body=json.dumps(body) if body is not None else None,
                           headers={"Authorization": "Bearer " + self.token, "Content-Type": kind})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        if response.status >= 300:
            raise RuntimeError("%s %s: %d %s" % (method, path, response.status, data[:400]))
        return json.loads(data)

    def get(self, host, timeout=60):
        """One request to a service; gives the time to the first byte of the answer in seconds."""
        connection = http.client.HTTPConnection(self.gateway[0], int(self.gateway[1]), timeout=timeout)
        begin = time.monotonic()
        connection.request("GET", "/", headers={"Host": host})
        response = connection.getresponse()
        took = time.monotonic() - begin
        body = response.read()
        connection.close()
        if response.status != 200:
            raise RuntimeError("%s answered %d: %s" % (host, response.status, body[:300]))
        return took

    def cpu_s(self):
        fields = open("/proc/%d/stat" % self.process.pid).read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / CLOCK

    def resident_mb(self):
        return int(open("/proc/%d/statm" % self.process.pid).read().split()[1]) * PAGE / 1e6

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()

    # Services

    def services(self, names, annotations=None, image="weft.dev/samples/hello"):
        for name in names:
            self.request("POST", "/apis/serving.knative.dev/v1/namespaces/default/services", service(name, annotations, image))

    def listed(self):
        return self.request("GET", "/apis/serving.knative.dev/v1/namespaces/default/services")["items"]

    def wait(self, done, bound, what):
        end = time.monotonic() + bound
        while not done():
            if time.monotonic() > end:
                raise RuntimeError("waited %d s for %s" % (bound, what))
            time.sleep(0.005)

    def wait_ready(self, names, bound=120):
        names = set(names)
        self.wait(lambda: names <= {s["metadata"]["name"] for s in self.listed() if is_ready(s)}, bound, "services to be ready")

    def wait_zero(self, bound=120):
        path = "/api/v1/namespaces/default/pods?limit=1"
        self.wait(lambda: not self.request("GET", path)["items"], bound, "pods to be gone")

    def delete_all(self):
        self.request("DELETE", "/apis/serving.knative.dev/v1/namespaces/default/services")
        path = "/api/v1/namespaces/default/pods?limit=1"
        self.wait(lambda: not self.request("GET", path)["items"] and not self.listed(), 180, "services and pods to be gone")


def is_ready(service):
    status = service.get("status", {})
    fresh = status.get("observedGeneration") == service["metadata"].get("generation")
    return fresh and any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))


def service(name, annotations=None, image="weft.dev/samples/hello"):
    return {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"template": {"metadata": {"annotations": annotations or {}}, "spec": {"containers": [{"image": image}]}}}}


def own_start(weft, count=30):
    """Times the sample started by hand to its first answer; gives the seconds of each run."""
    times = []
    for _ in range(count):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        begin = time.monotonic()
        process = subprocess.Popen([weft, "sample", "hello"], env={"PORT": str(port)}, stdout=subprocess.DEVNULL)
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", port))
                connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                if connection.recv(1):
                    break
            except OSError:
                pass
        times.append(time.monotonic() - begin)
        connection.close()
        process.kill()
        process.wait()
    return times


def row(what, value, unit, bar=None):
    verdict = "" if bar is None else ("  bar %g %s: %s" % (bar, unit, "met" if value <= bar else "MISSED"))
    print("%-58s %10.2f %s%s" % (what, value, unit, verdict), flush=True)


def bench_start(weft):
    times = []
    for _ in range(5):
        platform = Platform(weft)
        times.append(platform.start_s * 1000)
        platform.stop()
    row("start to ready API, median of 5", statistics.median(times), "ms", 300)


def bench_idle(weft):
    platform = Platform(weft)
    time.sleep(5)
    cpu, begin = platform.cpu_s(), time.monotonic()
    time.sleep(60)
    share = (platform.cpu_s() - cpu) / (time.monotonic() - begin) * 100
    row("idle, nothing deployed: resident", platform.resident_mb(), "MB", 45)
    row("idle, nothing deployed: CPU of a core", share, "%", 0.5)
    platform.stop()


def bench_ready(weft, count=100):
    own = statistics.median(own_start(weft))
    platform = Platform(weft)
    times = []
    for n in range(count):
        name = "ready-%d" % n
        begin = time.monotonic()
        platform.services([name])
        path = "/apis/serving.knative.dev/v1/namespaces/default/services/" + name
        platform.wait(lambda: is_ready(platform.request("GET", path)), 30, name)
        times.append(time.monotonic() - begin - own)
        platform.request("DELETE", path)
    row("Service applied to Ready beyond the app's start, median", statistics.median(times) * 1000, "ms", 150)
    row("  the slowest of %d" % count, max(times) * 1000, "ms", 1000)
    platform.stop()


def at_zero(weft, prefix, count):
    """A platform with services that have never had a pod, and do nothing."""
    platform = Platform(weft)
    platform.request("PATCH", "/api/v1/namespaces/knative-serving/configmaps/config-autoscaler",
                     {"data": {"allow-zero-initial-scale": "true"}}, "application/merge-patch+json")
    names = ["%s-%d" % (prefix, n) for n in range(count)]
    platform.services(names, {"autoscaling.knative.dev/initial-scale": "0"})
    platform.wait_ready(names)
    time.sleep(2)
    return platform, names


def bench_cold(weft, count=50):
    mine = statistics.median(own_start(weft))
    platform, names = at_zero(weft, "cold", count)
    times = []
    for name in names:
        times.append(platform.get(name + ".default.localhost") - mine)
        # The pod's last status is written, and the node idle again.
        time.sleep(2)
    row("the app's own start to its first answer, median", mine * 1000, "ms")
    row("cold start beyond it, p50 of %d" % count, percentile(times, 0.5) * 1000, "ms", 10)
    row("  p99", percentile(times, 0.99) * 1000, "ms", 25)
    platform.stop()


def bench_burst(weft):
    for count, bar in ((1, 50), (5, 50), (25, 250), (100, 1000)):
        platform, names = at_zero(weft, "burst", count)
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            times = list(pool.map(lambda name: platform.get(name + ".default.localhost"), names))
        row("%d services woken at once, p95" % count, percentile(times, 0.95) * 1000, "ms", bar)
        platform.stop()


def bench_many(weft, count=200):
    platform = Platform(weft)
    names = ["many-%d" % n for n in range(count)]
    begin = time.monotonic()
    platform.services(names)
    platform.wait_ready(names)
    row("%d Services applied at once: all Ready" % count, time.monotonic() - begin, "s", 10)
    platform.stop()


def bench_zero(weft, count=1000):
    platform = Platform(weft)
    platform.request("PATCH", "/api/v1/namespaces/knative-serving/configmaps/config-autoscaler",
                     {"data": {"allow-zero-initial-scale": "true"}}, "application/merge-patch+json")
    names = ["zero-%d" % n for n in range(count)]
    begin = time.monotonic()
    platform.services(names, {"autoscaling.knative.dev/initial-scale": "0"})
    platform.wait_ready(names, 300)
    row("%d Services with initial scale 0: all Ready" % count, time.monotonic() - begin, "s", 60)
    time.sleep(10)
    cpu, begin = platform.cpu_s(), time.monotonic()
    time.sleep(60)
    row("  then idle: CPU of a core", (platform.cpu_s() - cpu) / (time.monotonic() - begin) * 100, "%", 2)
    row("  then idle: resident", platform.resident_mb(), "MB", 250)
    platform.stop()


BENCHES = {"start": bench_start, "idle": bench_idle, "ready": bench_ready, "cold": bench_cold, "burst": bench_burst,
           "many": bench_many, "zero": bench_zero}


def main(about, benches):
    """Runs the benches that the command line names, all by default."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weft", default=os.path.join(os.path.dirname(__file__), "../../target/release/weft"))
    parser.add_argument("what", nargs="*", help=" ".join(benches) + " (all by default)")
    args = parser.parse_args()
    weft = os.path.abspath(args.weft)
    if not os.path.exists(weft):
        sys.exit("no %s: cargo build --release" % weft)
    for what in args.what or benches:
        benches[what](weft)


if __name__ == "__main__":
    main(__doc__, BENCHES)
