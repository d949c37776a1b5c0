"""Our trees beside LightGBM, XGBoost, scikit-learn, tl2cgen and ONNX Runtime: same data, same machine, one run, as ratios.

    pip install -r benches/peers/requirements.txt
    python benches/peers/trees.py [--part fit|goss|forest|rows|credit ...] [--seed N ...] [--slow] [--credit FOLDER]

Parts, all by default (`credit` where a folder is given):
  fit     100 trees, learning rate 0.1, of 31 leaves and of depth 6, on d2 (100,000 x 30, 2 % bad) and d3 (1,000,000 x 28)
  goss    31 leaves, each tree on a tenth of the rows for their derivatives and another by chance, beside LightGBM's own
  forest  100 trees of depth 10 on the same; scikit-learn's on d3 takes minutes and only runs with --slow
  rows    one row at a time through a model that stays in memory, at 100 x 31 leaves and 100 x depth 6
  credit  AUC of public credit and fraud tables, 5 folds divided anew for each seed, everybody's defaults
A seed (0 to 4 by default) draws other data of the same make; all engines take turns on it, each in a process of its own,
with 2 threads. Seconds and memory are medians over the seeds, AUC and AP means. Memory is the peak beyond what the
process held before it fitted (Linux only). Results of earlier calls are kept in target/trees/results.json and printed
with the others, so seeds may be run one by one.
"""
import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = os.path.join(ROOT, "target", "trees")
THREADS = 2
# As in benches/trees/measure.rs: fits per process, unless they take longer than this together; batches.
FITS, ENOUGH, BATCHES = 3, 5.0, 5
SHAPES = ("31 leaves", "depth 6")
# Parts that fit d2 and d3: shapes and peers.
FITTED = {
    "fit": (SHAPES, ("LightGBM", "XGBoost")),
    "goss": (("GOSS",), ("LightGBM",)),
    "forest": (("forest",), ("LightGBM", "XGBoost", "scikit-learn")),
}
PARTS = (*FITTED, "rows", "credit")
OURS = {
    "31 leaves": ("boosting", {"max_leaves": 31, "max_depth": None}),
    "depth 6": ("boosting", {"max_leaves": None, "max_depth": 6}),
    "GOSS": ("boosting", {"max_leaves": 31, "top_share": 0.1, "row_share": 1 / 9}),
    "forest": ("forest", {"n_trees": 100, "max_depth": 10}),
    "defaults": ("boosting", {}),
}


# Data

def made(name, seed):
    """Folder of one of the made tables; seed 0 of d2 and d3 is the usual one."""
    from sklearn.datasets import make_classification

    folder = os.path.join(WORK, f"{name}_{seed}")
    if os.path.exists(os.path.join(folder, "columns.json")):
        return folder
    if name == "d2":
        n_train, x, y = 100_000, *make_classification(
            150_000, 30, n_informative=15, n_redundant=5, n_clusters_per_class=4,
            weights=[0.98], flip_y=0.001, class_sep=1.0, random_state=2 + 10 * seed,
        )
    else:
        n_train, x, y = 1_000_000, *make_classification(
            1_200_000, 28, n_informative=18, n_redundant=4, n_clusters_per_class=8,
            weights=[0.5], flip_y=0.05, class_sep=0.7, random_state=3 + 10 * seed,
        )
    os.makedirs(folder, exist_ok=True)
    for part, rows in (("train", slice(None, n_train)), ("test", slice(n_train, None))):
        np.save(os.path.join(folder, f"X_{part}.npy"), x[rows])
        np.save(os.path.join(folder, f"y_{part}.npy"), y[rows].astype(np.uint8))
    columns = [(f"x{i}", "Numeric") for i in range(x.shape[1])]
    with open(os.path.join(folder, "columns.json"), "w") as file:
        json.dump(columns, file)
    return folder


# Name: file, label, its bad value, columns that are no features. Columns of text are categorical, and these too.
CREDIT = {
    "german credit": ("germancredit.csv", "creditability", "bad", []),
    "HMEQ": ("hmeq.csv", "BAD", 1, []),
    "UCI default": ("uci_credit_default.csv.gz", "default_payment_next_month", 1, ["ID"]),
    "ISLP default": ("default.csv.gz", "default", "Yes", []),
    "lending club": ("lending_club_modeldata.csv.gz", "Class", "bad", []),
    "credit data": ("credit_data_modeldata.csv.gz", "Status", "bad", []),
    "card fraud": ("creditcard_casecontrol.csv.gz", "Class", 1, []),
    "PaySim": ("paysim_sample.csv.gz", "isFraud", 1, ["nameOrig", "nameDest", "isFlaggedFraud"]),
}
CODES = {"SEX", "EDUCATION", "MARRIAGE"}


def credit(source, name, seed):
    """Folder of a real table with its five folds."""
    import pandas as pd
    from sklearn.model_selection import StratifiedKFold

    file, label, bad, dropped = CREDIT[name]
    folder = os.path.join(WORK, f"{name.replace(' ', '_')}_{seed}")
    table = pd.read_csv(os.path.join(source, file))
    y = (table.pop(label) == bad).to_numpy(np.uint8)
    table = table.drop(columns=dropped)
    columns, values = [], []
    for column in table:
        value = table[column]
        if column in CODES or not pd.api.types.is_numeric_dtype(value):
            value = value.astype("category")
            columns.append((column, {"Categorical": [str(c) for c in value.cat.categories]}))
            value = value.cat.codes.replace(-1, np.nan)
        else:
            columns.append((column, "Numeric"))
        values.append(value.to_numpy(float))
    folds = np.zeros(len(y), np.uint8)
    division = StratifiedKFold(5, shuffle=True, random_state=seed).split(y, y)
    for fold, (_, held_out) in enumerate(division):
        folds[held_out] = fold
    os.makedirs(folder, exist_ok=True)
    np.save(os.path.join(folder, "X.npy"), np.ascontiguousarray(np.column_stack(values)))
    np.save(os.path.join(folder, "y.npy"), y)
    np.save(os.path.join(folder, "folds.npy"), folds)
    with open(os.path.join(folder, "columns.json"), "w") as file:
        json.dump(columns, file)
    return folder


def load(folder, name):
    return np.load(os.path.join(folder, f"{name}.npy"))


# Peers: each gives what fits and what scores. `categorical` are positions of columns.

def lightgbm(shape, n_features, categorical):
    import lightgbm as lgb

    chosen = {
        "31 leaves": dict(num_leaves=31),
        "depth 6": dict(num_leaves=64, max_depth=6),
        "GOSS": dict(num_leaves=31, data_sample_strategy="goss", top_rate=0.1, other_rate=0.1),
        "forest": dict(
            boosting="rf", num_leaves=1024, max_depth=10, bagging_freq=1, bagging_fraction=0.632,
            feature_fraction_bynode=int(n_features**0.5) / n_features, min_data_in_leaf=1,
        ),
        "defaults": {},
    }[shape]
    parameters = dict(objective="binary", num_threads=THREADS, verbosity=-1, **chosen)

    def fit(x, y):
        data = lgb.Dataset(x, y, categorical_feature=categorical or "auto")
        return lgb.train(parameters, data, 100)

    return fit, [lambda model, x: model.predict(x)]


def xgboost(shape, n_features, categorical):
    import xgboost as xgb

    chosen = {
        "31 leaves": dict(learning_rate=0.1, max_depth=0, max_leaves=31, grow_policy="lossguide"),
        "depth 6": dict(learning_rate=0.1, max_depth=6),
        "forest": dict(
            learning_rate=1.0, max_depth=10, subsample=0.632, num_parallel_tree=100,
            colsample_bynode=int(n_features**0.5) / n_features,
        ),
        "defaults": {},
    }[shape]
    parameters = dict(objective="binary:logistic", tree_method="hist", nthread=THREADS, **chosen)
    types = ["c" if i in categorical else "q" for i in range(n_features)] if categorical else None
    kinds = dict(feature_types=types, enable_categorical=bool(categorical))

    def fit(x, y):
        data = xgb.QuantileDMatrix(x, y, nthread=THREADS, **kinds)
        return xgb.train(parameters, data, 1 if shape == "forest" else 100)

    if categorical:
        return fit, [lambda model, x: model.predict(xgb.DMatrix(x, **kinds))]
    # Rows of 32 bits are its own way: both are tried.
    return fit, [lambda model, x: model.inplace_predict(x),
                 lambda model, x: model.inplace_predict(x.astype(np.float32))]


def scikit_learn(shape, n_features, categorical):
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if shape == "forest":
        new = lambda: RandomForestClassifier(100, max_depth=10, n_jobs=THREADS, random_state=0)
    else:
        chosen = {
            "31 leaves": dict(max_leaf_nodes=31, early_stopping=False),
            "depth 6": dict(max_leaf_nodes=64, max_depth=6, early_stopping=False),
            "defaults": {},
        }[shape]
        kinds = dict(categorical_features=categorical or None)
        new = lambda: HistGradientBoostingClassifier(random_state=0, **kinds, **chosen)
    fit = lambda x, y: new().fit(x, y)
    return fit, [lambda model, x: model.predict_proba(x)[:, 1]]


PEERS = {"LightGBM": lightgbm, "XGBoost": xgboost, "scikit-learn": scikit_learn}


def memory(key):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith(key))


def measure_fit(engine, shape, folder, out):
    """In a process of its own: what `trees fit` does for us."""
    x, y, x_test = load(folder, "X_train"), load(folder, "y_train"), load(folder, "X_test")
    fit, scorers = PEERS[engine](shape, x.shape[1], [])
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, seconds, model = memory("VmRSS"), [], None
    while len(seconds) < FITS and sum(seconds) < ENOUGH:
        del model
        start = time.perf_counter()
        model = fit(x, y)
        seconds.append(time.perf_counter() - start)
        if len(seconds) == 1:
            peak = memory("VmHWM") - before
    batches = []
    for score in scorers:
        taken = []
        for _ in range(BATCHES):
            start = time.perf_counter()
            scores = score(model, x_test)
            taken.append(time.perf_counter() - start)
        batches.append(statistics.median(taken))
    np.save(out, np.asarray(scores, float))
    print(json.dumps({
        "fit_s": statistics.median(seconds), "memory_mib": peak,
        "rows_per_s": len(x_test) / min(batches),
    }))


def measure_folds(engine, shape, folder, out):
    """In a process of its own: what `trees folds` does for us."""
    x, y, folds = load(folder, "X"), load(folder, "y"), load(folder, "folds")
    with open(os.path.join(folder, "columns.json")) as file:
        categorical = [i for i, (_, kind) in enumerate(json.load(file)) if kind != "Numeric"]
    fit, scorers = PEERS[engine](shape, x.shape[1], categorical)
    scores = np.empty(len(y))
    for fold in range(folds.max() + 1):
        model = fit(x[folds != fold], y[folds != fold])
        scores[folds == fold] = scorers[0](model, x[folds == fold])
    np.save(out, scores)


# The run

def run(command):
    threads = dict(OMP_NUM_THREADS=str(THREADS), RAYON_NUM_THREADS=str(THREADS))
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **threads}, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def built():
    """Path of our bench, built before any clock starts."""
    messages = run(["cargo", "bench", "--bench", "trees", "--no-run", "--message-format=json"])
    paths = [json.loads(line).get("executable") for line in messages.splitlines()]
    return next(path for path in reversed(paths) if path)


def measured(binary, what, engine, shape, folder):
    """One line of figures, and the scores."""
    out = os.path.join(WORK, "scores.npy")
    if engine == "riskcycle":
        kind, config = OURS[shape]
        printed = run([binary, what, kind, json.dumps(config), folder, out])
    else:
        printed = run([sys.executable, __file__, "--measure", what, engine, shape, folder, out])
    return json.loads(printed or "{}"), np.load(out)


class Results:
    """Part, table, shape, engine -> seed -> figures."""

    def __init__(self):
        self.path = os.path.join(WORK, "results.json")
        self.all = {}
        if os.path.exists(self.path):
            with open(self.path) as file:
                self.all = json.load(file)

    def keep(self, part, table, shape, engine, seed, figures):
        shown = ", ".join(f"{name} {value:.5g}" for name, value in figures.items())
        print(f"  seed {seed}: {part}, {table}, {shape}, {engine}: {shown}", flush=True)
        place = self.all
        for key in (part, table, shape, engine):
            place = place.setdefault(key, {})
        place[str(seed)] = figures
        with open(self.path, "w") as file:
            json.dump(self.all, file, indent=1)

    def of(self, part):
        for table, shapes in self.all.get(part, {}).items():
            for shape, engines in shapes.items():
                yield table, shape, engines


def run_fits(results, binary, part, seed, slow):
    from sklearn.metrics import average_precision_score, roc_auc_score

    for table in ("d2", "d3"):
        folder = made(table, seed)
        labels = load(folder, "y_test")
        shapes, peers = FITTED[part]
        for shape in shapes:
            for engine in ("riskcycle", *peers):
                if engine == "scikit-learn" and table == "d3" and not slow:
                    continue
                figures, scores = measured(binary, "fit", engine, shape, folder)
                figures["auc"] = roc_auc_score(labels, scores)
                figures["ap"] = average_precision_score(labels, scores)
                results.keep(part, table, shape, engine, seed, figures)


def run_rows(results, binary, seed):
    """LightGBM's model of d2 through its own fast path, compiled, and as ONNX; ours of the same shape."""
    import onnxmltools
    import onnxruntime
    import tl2cgen
    import treelite
    from onnxmltools.convert.common.data_types import FloatTensorType

    folder = made("d2", seed)
    x, y, x_test = load(folder, "X_train"), load(folder, "y_train"), load(folder, "X_test")
    n_features, rows = x.shape[1], x_test[:1000]
    raw, program = os.path.join(WORK, "rows.bin"), os.path.join(WORK, "single_row")
    rows.tofile(raw)
    source = os.path.join(ROOT, "benches", "peers", "single_row.c")
    run(["cc", "-O2", "-o", program, source, "-ldl", "-lm"])
    import lightgbm as lgb

    library = os.path.join(os.path.dirname(lgb.__file__), "lib", "lib_lightgbm.so")
    for shape in SHAPES:
        figures, _ = measured(binary, "fit", "riskcycle", shape, folder)
        keep = lambda engine, figures: results.keep("rows", "d2", shape, engine, seed, figures)
        keep("riskcycle", {key: figures[key] for key in ("p50_ns", "p99_ns")})
        model = lightgbm(shape, n_features, [])[0](x, y)
        expected = model.predict(rows)

        path = os.path.join(WORK, "model.txt")
        model.save_model(path)
        native = [program, "lightgbm", library, path, str(n_features), raw]
        figures = json.loads(run(native))
        assert abs(figures.pop("mean") - expected.mean()) < 1e-9
        keep("LightGBM, C API", figures)

        compiled = os.path.join(WORK, "model.so")
        tl2cgen.export_lib(
            treelite.frontend.load_lightgbm_model(path), "gcc", compiled,
            params={"parallel_comp": 8, "quantize": 1},
        )
        figures = json.loads(run([program, "tl2cgen", compiled, "-", str(n_features), raw]))
        assert abs(figures.pop("mean") - expected.mean()) < 1e-6
        keep("tl2cgen, from C", figures)

        types = [("x", FloatTensorType([None, n_features]))]
        onnx = onnxmltools.convert_lightgbm(model, initial_types=types, zipmap=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(onnx.SerializeToString(), options)
        inputs = [{"x": row[None].astype(np.float32)} for row in rows]
        taken = []
        for i in range(6000):
            start = time.perf_counter_ns()
            session.run(None, inputs[i % len(inputs)])
            taken.append(time.perf_counter_ns() - start)
        p50, p99 = np.percentile(taken[1000:], [50, 99])
        keep("ONNX Runtime, from Python", {"p50_ns": p50, "p99_ns": p99})


def run_credit(results, binary, source, seed):
    from sklearn.metrics import average_precision_score, roc_auc_score

    for table in CREDIT:
        folder = credit(source, table, seed)
        labels, folds = load(folder, "y"), load(folder, "folds")
        held_out = [folds == fold for fold in range(folds.max() + 1)]
        for engine in ("riskcycle", *PEERS):
            _, scores = measured(binary, "folds", engine, "defaults", folder)
            mean = lambda metric: statistics.mean(metric(labels[f], scores[f]) for f in held_out)
            figures = {"auc": mean(roc_auc_score), "ap": mean(average_precision_score)}
            results.keep("credit", table, "defaults", engine, seed, figures)


def summarised(seeds):
    """Medians over the seeds, means of AUC and AP."""
    return {
        key: (statistics.mean if key in ("auc", "ap") else statistics.median)(
            figures[key] for figures in seeds.values()
        )
        for key in next(iter(seeds.values()))
        if next(iter(seeds.values()))[key] is not None
    }


def report(results):
    for part in FITTED:
        for table, shape, engines in results.of(part):
            ours = summarised(engines["riskcycle"])
            n = len(engines["riskcycle"])
            print(f"\n{part}: {table}, 100 trees, {shape}, {THREADS} threads, {n} seeds")
            print(f"  {'':14}{'fit s':>8}{'':>9}{'MiB':>8}{'':>9}{'M rows/s':>9}{'':>9}"
                  f"{'AUC':>8}{'ours −':>8}{'AP':>8}{'ours −':>8}")
            for engine, seeds in engines.items():
                its = summarised(seeds)
                # Compared on the seeds that both have: slow peers may have fewer.
                both = summarised({s: f for s, f in engines["riskcycle"].items() if s in seeds})
                slower = its["fit_s"] / both["fit_s"]
                more = its["memory_mib"] / both["memory_mib"]
                faster = both["rows_per_s"] / its["rows_per_s"]
                print(f"  {engine:14}{its['fit_s']:8.3f}{slower:7.2f} x{its['memory_mib']:8.1f}"
                      f"{more:7.2f} x{its['rows_per_s'] / 1e6:9.2f}{faster:7.2f} x"
                      f"{its['auc']:8.4f}{both['auc'] - its['auc']:+8.4f}"
                      f"{its['ap']:8.4f}{both['ap'] - its['ap']:+8.4f}")
    for table, shape, engines in results.of("rows"):
        ours = summarised(engines["riskcycle"])
        print(f"\none row: {table}, 100 trees, {shape}, µs, the clock included")
        for engine, seeds in engines.items():
            its = summarised(seeds)
            print(f"  {engine:26}p50 {its['p50_ns'] / 1e3:7.2f}{its['p50_ns'] / ours['p50_ns']:7.1f} x"
                  f"   p99 {its['p99_ns'] / 1e3:7.2f}{its['p99_ns'] / ours['p99_ns']:7.1f} x")
    if "credit" in results.all:
        n = len(next(results.of("credit"))[2]["riskcycle"])
        print(f"\nAUC of 5 folds, divided {n} times, everybody's defaults")
        print(f"  {'':14}{'riskcycle':>10}" + "".join(f"{peer:>14}" for peer in PEERS)
              + f"{'ours − best':>14}")
        for table, _, engines in results.of("credit"):
            auc = {engine: summarised(seeds)["auc"] for engine, seeds in engines.items()}
            ours = auc.pop("riskcycle")
            print(f"  {table:14}{ours:10.4f}" + "".join(f"{auc[peer]:14.4f}" for peer in PEERS)
                  + f"{ours - max(auc.values()):+14.4f}")


def main():
    if sys.argv[1:2] == ["--measure"]:
        what, *rest = sys.argv[2:]
        return {"fit": measure_fit, "folds": measure_folds}[what](*rest)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="*", choices=PARTS)
    parser.add_argument("--seed", nargs="*", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--slow", action="store_true", help="scikit-learn's forest on d3 too")
    parser.add_argument("--credit", metavar="FOLDER", help="the public tables, as CSV")
    chosen = parser.parse_args()
    os.makedirs(WORK, exist_ok=True)
    binary, results = built(), Results()
    for seed in chosen.seed:
        for part in chosen.part or PARTS:
            if part in FITTED:
                run_fits(results, binary, part, seed, chosen.slow)
            elif part == "rows":
                run_rows(results, binary, seed)
            elif chosen.credit:
                run_credit(results, binary, chosen.credit, seed)
    report(results)


if __name__ == "__main__":
    main()
