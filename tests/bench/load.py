#!/usr/bin/env python3
"""Measures what clients see of `weft up` under load, and prints each figure beside its bar.

  load.py [--weft PATH] [steady rollout updown ...]

steady: 1,000 requests a second to a program that takes 100 ms, straight to its pods and through the platform, with and
without the activator in the path. rollout: the same while the service changes to a new revision. updown: 350,000
requests in bursts, with a scale to zero after each. Needs a release build and, to reach pods, root. Upstream promises
the first two: knative/serving `test/performance`.
"""
import atexit, importlib.util, os, subprocess, sys, tempfile, time

import rig

# By its path: a module of the standard library has the same name.
spec = importlib.util.spec_from_file_location("weft_platform", os.path.join(os.path.dirname(__file__), "platform.py"))
base = importlib.util.module_from_spec(spec)
spec.loader.exec_module(base)

SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"


# Prints what load.py reads: the 95th percentile in ms, the answers, and those that were errors.
REPORT = """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("REPORT %f %d %d\\n", latency:percentile(95) / 1000, summary.requests,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class Load:
    """Requests in the background, as many at a time as make the rate with 100 ms each."""

    def __init__(self, url, host, seconds, clients=100):
        self.script = tempfile.NamedTemporaryFile("w", suffix=".lua")
        self.script.write(REPORT)
        self.script.flush()
        self.process = subprocess.Popen(
            [rig.need("wrk"), "-t1", "-c%d" % clients, "-d%ds" % seconds, "--timeout", "30s", "-s", self.script.name,
             "-H", "Host: " + host, url],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(self):
        """Gives the 95th percentile in ms, the number of answers and of failures."""
        text = self.process.communicate()[0]
        report = [line.split()[1:] for line in text.splitlines() if line.startswith("REPORT")]
        if not report:
            sys.exit("wrk says: " + text)
        percentile, count, failed = report[0]
        return float(percentile), int(count), int(failed)


def slow(name, annotations, env="1"):
    made = base.service(name, annotations, "weft.dev/samples/slow")
    made["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "VERSION", "value": env}]
    return made


def begin(weft):
    """A platform that ends with this program, however that ends."""
    platform = base.Platform(weft)
    atexit.register(platform.stop)
    return platform


def start(weft, annotations):
    platform = begin(weft)
    platform.request("POST", SERVICES, slow("slow", annotations))
    platform.wait_ready(["slow"])
    return platform


def gateway(platform):
    return "http://%s:%s/?sleep=100" % tuple(platform.gateway)


def bench_steady(weft):
    scale = {"autoscaling.knative.dev/min-scale": "1"}
    for what, bar, more in (("straight to the pod", 105, None),
                            ("through the platform", 110, {"autoscaling.knative.dev/target-burst-capacity": "0"}),
                            ("with the activator in the path", 110, {"autoscaling.knative.dev/target-burst-capacity": "-1"})):
        platform = start(weft, {**scale, **(more or {})})
        url = gateway(platform)
        if more is None:
            pod = platform.request("GET", "/api/v1/namespaces/default/pods")["items"][0]
            url = "http://%s:8080/?sleep=100" % pod["status"]["podIP"]
        Load(url, "slow.default.localhost", 10).end()
        p95, count, failed = Load(url, "slow.default.localhost", 30).end()
        base.row("%d requests/s of 100 ms %s: p95" % (count / 30, what), p95, "ms", bar)
        base.row("  failed of %d" % count, failed, "", 0)
        platform.stop()


def bench_rollout(weft):
    scale = {"autoscaling.knative.dev/min-scale": "1"}
    platform = start(weft, scale)
    Load(gateway(platform), "slow.default.localhost", 10).end()
    load = Load(gateway(platform), "slow.default.localhost", 40)
    for version in ("2", "3", "4"):
        time.sleep(8)
        platform.request("PATCH", SERVICES + "/slow", {"spec": slow("slow", scale, version)["spec"]}, "application/merge-patch+json")
        platform.wait_ready(["slow"])
    p95, count, failed = load.end()
    base.row("the same during three rollouts: p95", p95, "ms", 110)
    base.row("  failed of %d" % count, failed, "", 0)
    platform.stop()


def bench_updown(weft, count=350_000):
    platform = begin(weft)
    platform.request("PATCH", "/api/v1/namespaces/knative-serving/configmaps/config-autoscaler",
                     {"data": {"stable-window": "6s", "scale-to-zero-grace-period": "6s"}}, "application/merge-patch+json")
    name = "updown"
    made = base.service(name, {"autoscaling.knative.dev/target": "10"})
    platform.request("POST", SERVICES, made)
    platform.wait_ready([name])
    answered, bad, most, bursts = 0, 0, 0, 0
    while answered < count:
        platform.wait_zero()
        load = Load("http://%s:%s/" % tuple(platform.gateway), name + ".default.localhost", 2, 50)
        while load.process.poll() is None:
            time.sleep(0.5)
            most = max(most, len(platform.request("GET", "/api/v1/namespaces/default/pods")["items"]))
        _, count_of_burst, failed = load.end()
        answered, bad, bursts = answered + count_of_burst, bad + failed, bursts + 1
    base.row("%d requests in %d bursts from zero: failed" % (answered, bursts), bad, "", 0)
    base.row("  the most pods", most, "")
    platform.stop()


BENCHES = {"steady": bench_steady, "rollout": bench_rollout, "updown": bench_updown}


if __name__ == "__main__":
    base.main(__doc__, BENCHES)
