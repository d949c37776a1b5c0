"""Alarms of river's detectors on seeded streams: python drift_detectors_golden.py > drift_detectors_golden.json

river==0.26.1. The streams come from SplitMix64 and sums of uniforms: no library's generator, no transcendental function.
"""
import json
import random

import river
from river import drift
from river._river_rust.drift import AdaptiveWindowing
from river.drift import binary
from scipy import stats

M, GOLDEN = (1 << 64) - 1, 0x9E3779B97F4A7C15


def uniform(seed, i):
    z = (seed + (i + 1) * GOLDEN) & M
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M
    return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def bell(seed, i):
    total = 0.0
    for k in range(12):
        total += uniform(seed, 12 * i + k)
    return total - 6.0


def rate(seed, n, p):
    return [int(uniform(seed, i) < p(i)) for i in range(n)]


def ramp(i, low, high):
    return low if i < 1500 else low + (high - low) * (i - 1500) / 1000 if i < 2500 else high


def heavy(i):
    u = uniform(11, i)
    return (100.0 if i < 2000 else 300.0) * u / (1.0 - u)


BINARY = {
    "bin_abrupt": rate(1, 2000, lambda i: 0.2 if i < 1000 else 0.5),
    "bin_abrupt_small": rate(2, 6000, lambda i: 0.2 if i < 3000 else 0.25),
    "bin_gradual": rate(3, 4000, lambda i: ramp(i, 0.1, 0.4)),
    "bin_improve": rate(4, 2000, lambda i: 0.5 if i < 1000 else 0.2),
    "bin_rare": rate(5, 40000, lambda i: 0.002 if i < 20000 else 0.008),
    "bin_stationary": rate(6, 10000, lambda i: 0.3),
}
SHIFT = [bell(8, i) + (0.0 if i < 1000 else 1.0) for i in range(2000)]
THREE = [(0.8, 0.05), (0.4, 0.02), (0.6, 0.1)]
NUMBERS = {
    "num_three": [THREE[i // 1000][0] + THREE[i // 1000][1] * bell(7, i) for i in range(3000)],
    "num_mean_shift": SHIFT,
    "num_ramp": [bell(9, i) + ramp(i, 0.0, 2.0) for i in range(4000)],
    "num_var": [bell(10, i) * (1.0 if i < 1000 else 3.0) for i in range(2000)],
    "num_heavy": [heavy(i) for i in range(4000)],
    "num_small_scale": [v * 1e-4 for v in SHIFT],
    "num_const": [1.0] * 1000,
}
ADWIN = [{}, {"delta": 0.05}, {"delta": 1e-5}, {"clock": 1},
         {"clock": 1, "delta": 0.3, "min_window_length": 1, "grace_period": 1, "max_buckets": 8}]
PAGE_HINKLEY = [{}, {"mode": "up"}, {"mode": "down"}, {"threshold": 10.0},
                {"threshold": 20.0, "delta": 0.05, "alpha": 1.0}]
ERRORS = [
    ("DDM", binary.DDM, [{}, {"warm_start": 100}, {"warning_threshold": 1.5, "drift_threshold": 2.5}]),
    ("EDDM", binary.EDDM, [{}, {"alpha": 0.8, "beta": 0.75}]),
    ("HDDM_A", binary.HDDMA, [{}, {"two_sided_test": True},
                               {"drift_confidence": 1e-5, "warning_confidence": 1e-4}]),
    ("HDDM_W", binary.HDDMW, [{}, {"two_sided_test": True}, {"lambda_val": 0.01},
                               {"drift_confidence": 1e-6, "warning_confidence": 1e-5}]),
]


KERNEL = {"delta": 0.002, "clock": 32, "max_buckets": 5, "min_window_length": 5, "grace_period": 10}


def run(detector, values):
    drifts, onsets, warned = [], [], False
    for i, value in enumerate(values):
        detector.update(value)
        warning = getattr(detector, "warning_detected", False) and not detector.drift_detected
        if detector.drift_detected:
            drifts.append(i)
        if warning and not warned:
            onsets.append(i)
        warned = warning
    return drifts, onsets


def adwin(values, params, kernel):
    """Alarms of the class, or of the kernel that keeps its window, and position, width, total, squared deviations at eight places."""
    detector = AdaptiveWindowing(*{**KERNEL, **params}.values()) if kernel else drift.ADWIN(**params)
    drifts, checkpoints = [], []
    for i, value in enumerate(values):
        if detector.update(float(value)) if kernel else (detector.update(value), detector.drift_detected)[1]:
            drifts.append(i)
        if (i + 1) % (len(values) // 8) == 0:
            helper = detector if kernel else detector._helper
            # Its variance is the sum of squared deviations.
            checkpoints.append([i, helper.get_width(), helper.get_total(), helper.get_variance()])
    return {"drift": drifts, "checkpoints": checkpoints}


def kswin(values):
    """Alarms, and up to the first of them position, sampled places, distance and p of each comparison."""
    detector, rng, drifts, checks = drift.KSWIN(seed=42), random.Random(42), [], []
    for i, value in enumerate(values):
        if not drifts and i >= 99:
            window = values[i - 99:i + 1]
            places = rng.sample(range(70), 30)
            test = stats.ks_2samp([window[k] for k in places], window[70:])
            checks.append([i, places, test.statistic, test.pvalue])
        detector.update(value)
        if detector.drift_detected:
            drifts.append(i)
    return {"drift": drifts, "checks": checks}


if __name__ == "__main__":
    results = []
    for stream, values in {**BINARY, **NUMBERS}.items():
        for params in ADWIN:
            for name in ["ADWIN", "ADWIN kernel"]:
                found = adwin(values, params, name != "ADWIN")
                results.append({"stream": stream, "detector": name, "params": params, **found})
        for params in PAGE_HINKLEY:
            drifts = run(drift.PageHinkley(**params), values)[0]
            results.append({"stream": stream, "detector": "PageHinkley", "params": params, "drift": drifts})
    for stream, values in BINARY.items():
        for name, make, configs in ERRORS:
            for params in configs:
                drifts, onsets = run(make(**params), values)
                results.append({"stream": stream, "detector": name, "params": params,
                                "drift": drifts, "warn_onset": onsets})
    for stream in ["num_three", "num_mean_shift"]:
        results.append({"stream": stream, "detector": "KSWIN", "params": {}, **kswin(NUMBERS[stream][900:1200])})
    lines = ",\n".join(json.dumps(result, separators=(",", ":")) for result in results)
    print(f'{{"river":"{river.__version__}","results":[\n{lines}\n]}}')
