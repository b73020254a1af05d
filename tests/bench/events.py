#!/usr/bin/env python3
"""Measures the broker: events stored before they are answered, and delivered, with all of it on this machine.

  events.py [--weft PATH] [--load PATH] [--seconds N] [full steady triggers fanout backlog ...]

Producer and subscriber are one process of one thread (tests/bench/event_load.rs: `cargo build --release -p tests --example
event-load`) and share the cores with the platform. Prints each figure beside its bar.
"""
import argparse, json, subprocess, sys, time

import rig
from platform import Platform

HOST = "broker-ingress.knative-eventing.svc.cluster.local"
EVENTING = "/apis/eventing.knative.dev/v1/namespaces/default/"


class Broker:
    """A Broker with Triggers on a platform of its own."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.platform = Platform(arguments.weft)
        self.sink = rig.free_ports(1)[0]
        self.pid = self.platform.process.pid
        self.platform.request("POST", EVENTING + "brokers", {
            "apiVersion": "eventing.knative.dev/v1", "kind": "Broker",
            "metadata": {"name": "b", "annotations": {"eventing.knative.dev/broker.class": "MTChannelBasedBroker"}}, "spec": {}})

    def triggers(self, filters, prefix="t"):
        for number, filter in enumerate(filters):
            self.platform.request("POST", EVENTING + "triggers", {
                "apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": "%s%d" % (prefix, number)},
                "spec": {"broker": "b", "filter": {"attributes": filter},
                         "subscriber": {"uri": "http://127.0.0.1:%d/%s%d" % (self.sink, prefix, number)}}})
        self.wait()

    def wait(self):
        def ready():
            items = self.platform.request("GET", EVENTING + "triggers")["items"] + self.platform.request("GET", EVENTING + "brokers")["items"]
            return all(any(c["type"] == "Ready" and c["status"] == "True" for c in i.get("status", {}).get("conditions", [])) for i in items)
        self.platform.wait(ready, 60, "triggers to be ready")

    def load(self, **options):
        """Sends events and takes them back; gives the figures, with the events a CPU-second of the platform."""
        command = [self.arguments.load, "--broker", ":".join(self.platform.gateway), "--sink", "127.0.0.1:%d" % self.sink,
                   "--host", HOST, "--path", "/default/b", "--seconds", str(self.arguments.seconds)]
        for name, value in options.items():
            command += ["--" + name, str(value)]
        before = rig.cpu_seconds(self.pid, children=False)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        figures = json.loads(done.stdout)
        cpu = rig.cpu_seconds(self.pid, children=False) - before
        figures["per_cpu_second"] = (figures["delivered"] + figures["again"]) / cpu
        return figures


def show(name, figures, *keys):
    print("%-34s %s" % (name, "  ".join("%s %s" % (key, round(figures[key], 3)) for key in keys)), flush=True)


def full(arguments):
    broker = Broker(arguments)
    try:
        broker.triggers([{}])
        for connections in (1, 32, 256):
            figures = broker.load(connections=connections)
            show("as fast as it goes, %d in flight" % connections, figures, "accepted_per_second", "delivered_per_second",
                 "per_cpu_second", "p50_ms", "p99_ms", "refused")
    finally:
        broker.platform.stop()


def steady(arguments):
    broker = Broker(arguments)
    try:
        broker.triggers([{}])
        show("5,000/s", broker.load(rate=5000, connections=128), "delivered", "refused", "per_cpu_second", "answer_p50_ms",
             "answer_p99_ms", "p50_ms", "p99_ms", "p999_ms")
    finally:
        broker.platform.stop()


def triggers(arguments):
    for count in (1, 1000):
        broker = Broker(arguments)
        try:
            broker.triggers([{"type": "bench"}] + [{"type": "other%d" % number} for number in range(1, count)])
            show("%d triggers of which one matches" % count, broker.load(connections=256), "accepted_per_second",
                 "delivered_per_second", "per_cpu_second")
        finally:
            broker.platform.stop()


def fanout(arguments):
    for count in (1, 100):
        broker = Broker(arguments)
        try:
            broker.triggers([{"type": "bench"}] * count)
            show("%d triggers that all match" % count, broker.load(rate=3000 // count, connections=64), "delivered", "again", "per_cpu_second")
        finally:
            broker.platform.stop()


def main():
    cases = {"full": full, "steady": steady, "triggers": triggers, "fanout": fanout}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weft", default=str(rig.ROOT / "target/release/weft"))
    parser.add_argument("--load", default=str(rig.ROOT / "target/release/examples/event-load"))
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("cases", nargs="*", default=list(cases))
    arguments = parser.parse_args()
    for case in arguments.cases:
        cases[case](arguments)


if __name__ == "__main__":
    main()
