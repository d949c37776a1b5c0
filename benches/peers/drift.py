"""Time per update of river's detectors beside ours, in one run on one machine.

    pip install river==0.26.1 scipy==1.17.1
    python benches/peers/drift.py
"""
import random
import subprocess
import time

import river
from river import drift
from river.drift import binary

random.seed(1)
VALUES = [int(random.random() < 0.01) for _ in range(200_000)]
PEERS = {
    "ADWIN, every 32": (drift.ADWIN, {}),
    "ADWIN, every 1": (drift.ADWIN, {"clock": 1}),
    "DDM": (binary.DDM, {}),
    "EDDM": (binary.EDDM, {}),
    "HDDM-A": (binary.HDDMA, {}),
    "HDDM-W": (binary.HDDMW, {}),
    "Page-Hinkley": (drift.PageHinkley, {}),
    "KSWIN": (drift.KSWIN, {"seed": 1}),
}


def nanos(make, params, values):
    best = float("inf")
    for _ in range(3):
        update = make(**params).update
        start = time.perf_counter()
        for value in values:
            update(value)
        best = min(best, (time.perf_counter() - start) / len(values) * 1e9)
    return best


if __name__ == "__main__":
    command = ["cargo", "bench", "--quiet", "--bench", "drift", "--", "speed"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    ours = {line[:40].strip(): float(line[40:]) for line in out.splitlines()[1:]}
    print(out)
    print(f"river {river.__version__}, called from Python; ns/update, and how many times ours")
    for name, (make, params) in PEERS.items():
        peer = nanos(make, params, VALUES[: 2000 if name == "KSWIN" else 100_000])
        print(f"{name:<40} {peer:>10.1f} {peer / ours[name]:>10.1f}x")
