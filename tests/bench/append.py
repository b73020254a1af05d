"""Appends to logs in files and in JetStream, beside bare publishing to JetStream with storage in files.

With a sync of the disk before each acknowledgement (`sync_interval: always`) and without, and 1, 32 and 256 appends at
a time. Prints appends per second and the ratios to bare publishing in the same run.

    python3 tests/bench/append.py

What it needs it brings into target/parts (tests/parts.py). Files are made in the folder for temporary files, which
should be on a disk (TMPDIR).
"""

import subprocess

from rig import ROOT, Rig, free_ports, need


def main():
    server = need("nats-server")
    with Rig() as rig:
        urls = []
        for name, sync, port in zip(("lazy", "eager"), ("", "sync_interval: always"), free_ports(2)):
            text = f'jetstream {{\n store_dir: "{rig.folder}/{name}"\n {sync}\n}}\n'
            command = [server, "-c", rig.config(f"{name}.conf", text), "-a", "127.0.0.1", "-p", str(port)]
            log = open(rig.folder / f"{name}.log", "w")
            rig.start(None, command, port, stdout=log, stderr=log)
            urls.append(f"nats://127.0.0.1:{port}")
        run = ["cargo", "run", "--quiet", "--release", "-p", "eventing", "--example", "append", "--"]
        subprocess.run([*run, f"{rig.folder}/logs", *urls], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
