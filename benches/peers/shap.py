"""Time per explanation of shap's TreeExplainer beside ours: the same LightGBM model and rows, one run, one thread each.

    pip install shap==0.51.0 lightgbm==4.7.0 numpy==2.4.6
    python benches/peers/shap.py

100 trees of depth 6 on 30 features. For LightGBM's models shap asks LightGBM (pred_contrib); "own code" is its C extension on
the same trees. The largest difference between their contributions and ours is printed beside the times.
"""
import os
import subprocess
import sys
import time

# This file has the package's name; its folder must not be searched first.
sys.path.pop(0)

import lightgbm as lgb  # noqa: E402
import numpy as np  # noqa: E402
import shap  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(ROOT, "target", "shap")
ROWS = 2000


def micros(explain, rows):
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        values = explain(rows)
        best = min(best, (time.perf_counter() - start) / len(rows) * 1e6)
    return best, np.asarray(values).reshape(len(rows), -1)


if __name__ == "__main__":
    os.makedirs(WORK, exist_ok=True)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100_000, 30))
    score = x[:, :10].sum(axis=1) + x[:, 10] * x[:, 11] + np.abs(x[:, 12])
    y = (score + 2 * rng.normal(size=len(x)) > 5).astype(int)
    params = {"objective": "binary", "num_leaves": 64, "max_depth": 6, "min_data_in_leaf": 5, "verbose": -1,
              "num_threads": 1, "seed": 1}
    booster = lgb.train(params, lgb.Dataset(x, y), 100)
    model, rows, out = (os.path.join(WORK, name) for name in ("model.txt", "rows.bin", "contributions.bin"))
    booster.save_model(model)
    x[:ROWS].tofile(rows)
    leaves = sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"])
    print(f"100 trees, {leaves} leaves")
    command = ["cargo", "bench", "--quiet", "--bench", "serving", "--", "explain", model, rows, out]
    line = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    ours, contributions = float(line.split()[0]), np.fromfile(out).reshape(ROWS, -1)
    print(f"{'riskcycle':<28} {ours:>9.1f} us/row")

    explainer = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
    native = lambda rows: booster.predict(rows, pred_contrib=True, num_threads=1)[:, :-1]  # noqa: E731
    peers = {"shap (LightGBM), batch": (native, x[:ROWS]),
             "shap (LightGBM), row by row": (lambda rows: np.vstack([explainer.shap_values(row[None]) for row in rows]), x[:200])}
    own = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
    own.model.model_type = "internal"  # not to be handed to LightGBM
    peers["shap, own code, batch"] = (own.shap_values, x[:200])
    for name, (explain, of) in peers.items():
        peer, values = micros(explain, of)
        apart = np.abs(values - contributions[: len(of)]).max()
        print(f"{name:<28} {peer:>9.1f} us/row {peer / ours:>7.1f}x  largest difference {apart:.1e}")
