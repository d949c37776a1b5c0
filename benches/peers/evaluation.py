"""Metrics and binning by scikit-learn, optbinning and toad beside riskcycle, and credit data by scikit-learn's pipelines.

    pip install -r benches/peers/requirements-evaluation.txt
    python benches/peers/evaluation.py [metrics] [binning] [uci FILE] [hmeq FILE]

Metrics: a million scores. Binning: a million rows of 50 columns; optbinning and toad bin a few of them, and their time is
scaled to 50. Every engine runs three times (optbinning and toad once) and the median counts. Values are compared.
"""
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pandas as pd

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CARGO = os.environ.get("CARGO", "cargo").split()


def riskcycle(*args):
    command = [*CARGO, "bench", "-q", "--all-features", "--bench", "evaluation", "--", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def timed(work, rounds=3):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        answer = work()
        times.append(time.perf_counter() - start)
    return statistics.median(times), answer


def write(name, numbers, labels):
    path = os.path.join(ROOT, "target", name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(np.ascontiguousarray(numbers, "<f8").tobytes())
        file.write(labels.astype("u1").tobytes())
    return path


def metrics():
    from sklearn import metrics as sk
    random = np.random.default_rng(0)
    y = (random.random(1_000_000) < 0.02).astype(int)
    p = 1 / (1 + np.exp(-(random.normal(size=y.size) + 1.5 * y - 4)))
    ours = {}
    for line in riskcycle("metrics", write("scores.bin", p, y)).splitlines():
        name, seconds, value = line.split("\t")
        ours[name] = float(seconds), float(value)

    def ks():
        fpr, tpr, _ = sk.roc_curve(y, p)
        return np.abs(tpr - fpr).max()

    theirs = {
        "ROC AUC": lambda: sk.roc_auc_score(y, p),
        "average precision": lambda: sk.average_precision_score(y, p),
        "KS": ks,
        "log loss": lambda: sk.log_loss(y, p),
        "Brier": lambda: sk.brier_score_loss(y, p),
    }
    theirs["all of them"] = lambda: sum(work() for work in list(theirs.values())[:5])
    print("metrics of 1,000,000 scores          riskcycle  scikit-learn  ratio")
    for name, work in theirs.items():
        seconds, value = timed(work)
        mine, my_value = ours[name]
        assert abs(value - my_value) < 1e-9, (name, value, my_value)
        print(f"  {name:32} {1e3 * mine:8.1f} ms {1e3 * seconds:10.1f} ms {seconds / mine:6.1f}x")


def binning(peers_columns=2):
    from optbinning import OptimalBinning
    import toad
    random = np.random.default_rng(1)
    n, k = 1_000_000, 50
    x = random.normal(size=(n, k))
    y = (random.random(n) < 1 / (1 + np.exp(3 - 0.5 * x[:, 0] - 0.3 * x[:, 1] ** 2))).astype(int)
    lines = riskcycle("binning", write("binning.bin", x, y), k).splitlines()
    mine = float(lines[0].split("\t")[1])
    values = [float(line.split("\t")[1]) for line in lines[1:]]

    def optbinning(column):
        fitted = OptimalBinning(max_n_bins=8, min_bin_size=0.05, monotonic_trend="auto").fit(x[:, column], y)
        fitted.binning_table.build()
        return fitted.binning_table.iv

    print(f"optimal bins of {n:,} rows x {k} columns    riskcycle {mine:.2f} s")
    seconds, theirs = timed(lambda: [optbinning(i) for i in range(peers_columns)], 1)
    scaled = seconds / peers_columns * k
    print(f"  optbinning {scaled:8.1f} s ({peers_columns} columns in {seconds:.1f} s)  {scaled / mine:6.1f}x")
    print("  information value of the first columns: riskcycle", values[:peers_columns], "optbinning", theirs)
    frame = pd.DataFrame(x[:, :peers_columns]).assign(y=y)
    for method in ("dt", "quantile"):
        combiner = toad.transform.Combiner()
        options = {"n_bins": 8} if method == "quantile" else {"n_bins": 8, "min_samples": 0.05}
        seconds, _ = timed(lambda: combiner.fit(frame, y="y", method=method, **options), 1)
        scaled = seconds / peers_columns * k
        print(f"  toad {method:9} {scaled:5.1f} s ({peers_columns} columns in {seconds:.1f} s)  {scaled / mine:6.1f}x")


def credit(name, path, label, categorical):
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    frame = pd.read_csv(path)
    y, x = frame[label], frame.drop(columns=[label, "ID"], errors="ignore")
    numeric = [column for column in x if column not in categorical]
    prepare = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numeric),
        (OneHotEncoder(handle_unknown="ignore"), categorical))
    model = make_pipeline(prepare, LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    start = time.perf_counter()
    areas = cross_val_score(model, x, y, cv=folds, scoring="roc_auc")
    print(f"{name}: AUC over five folds")
    print(f"  scikit-learn imputed, one-hot + LR  {areas.mean():.4f} ± {areas.std():.4f}  {time.perf_counter() - start:.2f} s")
    for line in riskcycle("uci" if "UCI" in name else "hmeq", path).splitlines():
        _, trainer, mean, deviation, seconds = line.split("\t")
        print(f"  riskcycle {trainer:25} {mean} ± {deviation}  {seconds} s")


if __name__ == "__main__":
    args = sys.argv[1:] or ["metrics", "binning"]
    while args:
        what = args.pop(0)
        if what == "metrics":
            metrics()
        elif what == "binning":
            binning()
        elif what == "uci":
            credit("UCI default", args.pop(0), "default_payment_next_month", ["SEX", "EDUCATION", "MARRIAGE"])
        elif what == "hmeq":
            credit("HMEQ", args.pop(0), "BAD", ["REASON", "JOB"])
        else:
            sys.exit(__doc__)
