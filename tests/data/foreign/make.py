"""Models of XGBoost, LightGBM and scikit-learn with rows that break careless readers, and the margins these libraries give.

    python make.py          writes xgboost.json.gz, lightgbm.json.gz, scikit_learn.json.gz beside itself

Made with xgboost 3.2.0, lightgbm 4.7.0, scikit-learn 1.9.1, numpy 2.3.5, pandas 3.1.1 on x86-64 with glibc 2.36.

Each file is a list of cases: name, model (text, or hexadecimal digits of bytes), options (missing, trees, link) and golden
rows with the library's margins, or `refused`: a part of the reason for which it must be refused. `scores` are the library's
for the same rows.
"""

import ctypes
import gzip
import json
import pathlib
import re
import sys
import warnings

import lightgbm as lgb
import numpy as np
import pandas as pd
import sklearn.ensemble as ens
import sklearn.tree as skt
import xgboost as xgb
from sklearn.ensemble._gradient_boosting import predict_stages

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2] / "src/model/tree/foreign"))
from export_scikit_learn import export_model, golden_rows, margins  # noqa: E402

warnings.filterwarnings("ignore")
N, WIDTH = 400, 5
CAT = 4  # the column of categories, where there is one
F32 = np.finfo(np.float32)


def data(seed, missing=0.1, categories=0, zeros=0.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, WIDTH))
    x[:, 1] = np.round(x[:, 1] * 4)  # ties
    x[:, 2] = x[:, 2] * 1e-35 * rng.integers(0, 3, N)  # around what LightGBM takes for zero
    x[rng.random(x.shape) < zeros] = 0.0
    score = np.nan_to_num(x[:, 0] + 0.3 * x[:, 1] + 4e34 * x[:, 2])
    if categories:
        x[:, CAT] = rng.integers(0, categories, N)
        score = score + np.sin(7.0 * x[:, CAT])
    x[rng.random(x.shape) < missing] = np.nan
    y = (score + rng.normal(size=N) > 0).astype(float)
    return x, y, score


def adversarial(x, thresholds, seed, codes=False, n=110):
    """Rows of values on and beside thresholds, of edges of the number formats, and of ordinary values."""
    rng = np.random.default_rng(seed + 1000)
    edges = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, -5e-324, 1e-45, -1e-45, 1e-40, -1e-40, 1e-35, -1e-35,
                      np.float64(np.float32(1e-35)), -np.float64(np.float32(1e-35)), 2e-35, -2e-35, F32.max, F32.min,
                      1e300, -1e300, F32.tiny, -999.0, -998.99999999, 1.0, 2.0])
    rows = x[rng.integers(0, len(x), n)].copy()
    for r in range(n):
        for f in range(x.shape[1]):
            draw = rng.integers(0, 10)
            near = thresholds.get(f, [])
            if draw < 2:
                rows[r, f] = rng.choice(edges)
            elif codes and f == CAT:
                part = rng.choice([0, 0, 0, 0.5, 1 - 2.0**-20, 1 - 2.0**-40, -0.5, -1])
                rows[r, f] = rng.choice([rng.integers(0, 12), rng.integers(0, 70), 2.0**24, 2.0**31, 2.0**32]) + part
            elif draw < 8 and len(near):
                t = float(rng.choice(near))
                single = np.float32(t)
                with np.errstate(over="ignore"):
                    below = (float(single) + float(np.nextafter(single, -F32.max))) / 2  # rounds up or down
                rows[r, f] = rng.choice([t, np.nextafter(t, np.inf), np.nextafter(t, -np.inf), float(single), below,
                                         np.nextafter(below, np.inf), np.nextafter(below, -np.inf),
                                         float(np.nextafter(single, F32.max)), float(np.nextafter(single, F32.min))])
    return rows


def case(name, model, rows, margins, scores=None, **options):
    assert np.isfinite(margins).all(), name
    out = {"name": name, "options": options, "golden": golden_rows(rows, margins)}
    out["model" if isinstance(model, str) else "hex"] = model if isinstance(model, str) else bytes(model).hex()
    if scores is not None:
        out["scores"] = [float(s) for s in np.asarray(scores, np.float64)]
    return out


def refused(name, model, reason, **options):
    text = "model" if isinstance(model, str) else "hex"
    return {"name": name, "options": options, "refused": reason, text: model if text == "model" else bytes(model).hex()}


def write(name, cases):
    names = [case["name"] for case in cases]
    assert len(set(names)) == len(names), names
    text = json.dumps(cases, allow_nan=False).encode()
    (HERE / name).write_bytes(gzip.compress(text, 9, mtime=0))
    n = sum("refused" not in case for case in cases)
    print(f"{name}: {n} models, {len(cases) - n} refused, {len((HERE / name).read_bytes()) // 1024} KiB")


# ---- XGBoost ---------------------------------------------------------------------------------------------------------

NAN, ALL, BEST = "Nan", "All", "BestIteration"


def xgb_thresholds(booster):
    out = {}
    document = json.loads(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]
    for tree in document.get("gbtree", document)["model"]["trees"]:
        for left, feature, condition in zip(tree["left_children"], tree["split_indices"], tree["split_conditions"]):
            if left != -1:
                out.setdefault(feature, []).append(condition)
    return out


def xgb_case(name, params, seed, rounds=6, missing=np.nan, categories=0, zeros=0.0, labels=None, form="json",
             early=None, weight=None, names=None, group=False, tweak=None):
    x, y, score = data(seed, categories=categories, zeros=zeros, missing=0.1)
    if not np.isnan(missing) and missing != 0:
        x = np.where(np.isnan(x), missing, x)
    y = y if labels is None else labels(score, y)
    kinds = ["q"] * WIDTH
    kinds[CAT] = "c" if categories else "q"
    train = xgb.DMatrix(x, y, missing=missing, feature_types=kinds if categories else None, weight=weight,
                        enable_categorical=bool(categories), feature_names=names)
    if group:
        train.set_group([100] * (N // 100))
    if tweak:
        tweak(train, y)
    params = {"max_depth": 3, "eta": 0.3, "seed": seed, "nthread": 1, **params}
    extra = {}
    if early is not None:
        held = xgb.DMatrix(x[::-1], 1 - y, missing=missing)
        extra = {"evals": [(held, "held")], "early_stopping_rounds": 3, "verbose_eval": False}
    booster = xgb.train(params, train, rounds, **extra)
    rows = adversarial(x, xgb_thresholds(booster), seed, codes=bool(categories))
    up_to = {"iteration_range": (0, booster.best_iteration + 1)} if early == BEST else {}
    kept = ~np.isinf(rows.astype(np.float32)).any(axis=1)  # its matrix takes nothing infinite
    matrix = xgb.DMatrix(rows[kept], missing=missing, feature_types=kinds if categories else None, feature_names=names,
                         enable_categorical=bool(categories))
    margin = booster.predict(matrix, output_margin=True, **up_to)
    if params.get("booster") == "dart":
        # Its in-place prediction takes the base out of every tree again, and rounds: another number than predict's.
        rows = rows[kept]
        scores = booster.predict(matrix)
    else:
        inplace = {"missing": missing, "validate_features": False, **up_to}
        everywhere = booster.inplace_predict(rows, predict_type="margin", **inplace)
        assert (everywhere[kept] == margin).all(), name
        margin, scores = everywhere, booster.inplace_predict(rows, **inplace)
    model = bytes(booster.save_raw(form))
    options = {"missing": NAN if np.isnan(missing) else {"Value": float(missing)}}
    if early is not None:
        options["trees"] = early
    return case(name, model.decode() if form == "json" else model, rows, margin.astype(np.float64), scores, **options)


def frame_of(x, name):
    table = pd.DataFrame(x, columns=list("abcde"))
    table["e"] = pd.Categorical([None if np.isnan(code) else name(int(code)) for code in x[:, CAT]])
    return table


def xgb_frame_case(name, seed, form, category, lost=False):
    x, y, _ = data(seed, categories=9)
    train = xgb.DMatrix(frame_of(x, category), y, enable_categorical=True)
    booster = xgb.train({"objective": "binary:logistic", "max_depth": 3, "max_cat_to_onehot": 2}, train, 5)
    margin = booster.predict(train, output_margin=True)
    assert (np.unique(x[:, CAT][~np.isnan(x[:, CAT])]) == np.arange(9)).all()  # so codes are what x holds
    model = bytes(booster.save_raw(form))
    out = case(name, model.decode() if form == "json" else model, x[:100], margin[:100].astype(np.float64),
               booster.predict(train)[:100], missing=NAN)
    return {**out, "categories": {} if lost else {"e": [str(category(code)) for code in range(9)]}}


def hard_scores(n):
    """Base scores whose logit the C library does not round to the nearest single."""
    libm = ctypes.CDLL("libm.so.6")
    libm.logf.restype, libm.logf.argtypes = ctypes.c_float, [ctypes.c_float]
    scores = np.random.default_rng(6).uniform(0.01, 0.6, 20_000).astype(np.float32)
    odds = np.float32(1) / scores - np.float32(1)
    hard = [np.float32(libm.logf(o)) != np.float32(np.log(np.float64(o))) for o in odds]
    return scores[hard][:n]


def xgboost_cases():
    positive = lambda score, y: np.abs(score) + 0.1  # noqa: E731
    counts = lambda score, y: np.floor(np.abs(score) * 2)  # noqa: E731
    real = lambda score, y: score  # noqa: E731

    def bounds(train, y):
        train.set_float_info("label_lower_bound", y)
        train.set_float_info("label_upper_bound", y * 2)

    names = ["amount", "count_7d", "tiny", "älter", "merchant kind"]
    cases = [
        xgb_case("binary logistic", {"objective": "binary:logistic"}, 1),
        xgb_case("binary logistic, ubjson", {"objective": "binary:logistic"}, 1, form="ubj"),
        xgb_case("names", {"objective": "binary:logistic"}, 2, names=names, form="ubj"),
        xgb_case("base score given", {"objective": "binary:logistic", "base_score": 0.013}, 3),
        xgb_case("base score of one half", {"objective": "binary:logistic", "base_score": 0.5}, 4),
        xgb_case("logitraw", {"objective": "binary:logitraw"}, 5, form="ubj"),
        xgb_case("reg logistic", {"objective": "reg:logistic"}, 6),
        xgb_case("squared error", {"objective": "reg:squarederror"}, 7, labels=real),
        xgb_case("squared log error", {"objective": "reg:squaredlogerror"}, 8, labels=positive),
        xgb_case("pseudo Huber", {"objective": "reg:pseudohubererror"}, 9, labels=real),
        xgb_case("absolute error", {"objective": "reg:absoluteerror"}, 10, labels=real, form="ubj"),
        xgb_case("quantile", {"objective": "reg:quantileerror", "quantile_alpha": 0.8}, 11, labels=real),
        xgb_case("poisson", {"objective": "count:poisson"}, 12, labels=counts),
        xgb_case("gamma", {"objective": "reg:gamma"}, 13, labels=positive, form="ubj"),
        xgb_case("tweedie", {"objective": "reg:tweedie"}, 14, labels=positive),
        xgb_case("cox", {"objective": "survival:cox"}, 15, labels=positive),
        xgb_case("aft", {"objective": "survival:aft"}, 16, labels=positive, tweak=bounds),
        xgb_case("rank pairwise", {"objective": "rank:pairwise"}, 17, group=True),
        xgb_case("rank ndcg", {"objective": "rank:ndcg"}, 18, group=True, form="ubj"),
        xgb_case("zero is missing", {"objective": "binary:logistic"}, 19, missing=0.0, zeros=0.3),
        xgb_case("-999 is missing", {"objective": "binary:logistic"}, 20, missing=-999.0),
        xgb_case("categories, partitioned", {"objective": "binary:logistic", "max_cat_to_onehot": 1}, 21, categories=40),
        xgb_case("categories, one hot", {"objective": "binary:logistic", "max_cat_to_onehot": 99}, 22, categories=9,
                 form="ubj"),
        xgb_case("categories and zero is missing", {"objective": "binary:logistic", "max_cat_to_onehot": 4}, 23,
                 missing=0.0, categories=12, zeros=0.2),
        xgb_case("dart", {"objective": "binary:logistic", "booster": "dart", "rate_drop": 0.4}, 24, rounds=8),
        xgb_case("dart, normalised as a forest", {"objective": "reg:squarederror", "booster": "dart", "rate_drop": 0.5,
                 "normalize_type": "forest"}, 25, labels=real, form="ubj"),
        xgb_case("forest in every round", {"objective": "binary:logistic", "num_parallel_tree": 3, "subsample": 0.7}, 26,
                 rounds=3),
        xgb_case("early stopping, all trees", {"objective": "binary:logistic"}, 27, rounds=20, early=ALL),
        xgb_case("early stopping, up to the best", {"objective": "binary:logistic"}, 27, rounds=20, early=BEST),
        xgb_case("early stopping of forests", {"objective": "binary:logistic", "num_parallel_tree": 2}, 28, rounds=9,
                 early=BEST, form="ubj"),
        xgb_case("exact and pruned", {"objective": "binary:logistic", "tree_method": "exact", "gamma": 0.8,
                 "max_depth": 5}, 29),
        xgb_case("approx", {"objective": "binary:logistic", "tree_method": "approx"}, 30),
        xgb_case("deep, grown by loss", {"objective": "binary:logistic", "grow_policy": "lossguide", "max_depth": 0,
                 "max_leaves": 40, "min_child_weight": 0.1}, 31, rounds=3),
        xgb_case("monotone", {"objective": "binary:logistic", "monotone_constraints": "(1,0,0,0,0)"}, 32),
        xgb_case("weighted classes", {"objective": "binary:logistic", "scale_pos_weight": 7.5}, 33),
        xgb_case("stumps", {"objective": "binary:logistic", "max_depth": 1}, 34, rounds=1),
        xgb_frame_case("categories of a data frame", 36, "json", lambda code: f"Kind {code:02}"),
        # XGBoost 3.2.0 saves fewer bytes of such names than there are.
        xgb_frame_case("categories whose names are lost", 38, "ubj", lambda code: f"Kind ä {code:02}", lost=True),
        xgb_frame_case("numbered categories of a data frame", 37, "ubj", lambda code: code * 10),
    ]
    for seed, score in enumerate(hard_scores(8), 40):
        params = {"objective": "binary:logistic", "base_score": float(score)}
        cases.append(xgb_case(f"base score {score}", params, seed, rounds=1))

    x, y, score = data(99)
    train = xgb.DMatrix(x, y)

    def trained(params, label=None, **kwargs):
        matrix = train if label is None else xgb.DMatrix(x, label)
        return bytes(xgb.train({"max_depth": 2, **params}, matrix, 2, **kwargs).save_raw("json")).decode()

    three = np.digitize(score, [-1, 1])
    good = trained({"objective": "binary:logistic"})
    stopped = next(case["model"] for case in cases if case["name"] == "early stopping, all trees")
    cases += [
        refused("several classes", trained({"objective": "multi:softprob", "num_class": 3}, three), "several margins",
                missing=NAN),
        refused("several targets", trained({"objective": "reg:squarederror"}, np.stack([y, score], 1)), "several margins",
                missing=NAN),
        refused("vector leaves", trained({"objective": "reg:squarederror", "multi_strategy": "multi_output_tree"},
                np.stack([y, score], 1)), "several margins", missing=NAN),
        refused("several quantiles", trained({"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}),
                "several margins", missing=NAN),
        refused("no trees", bytes(xgb.train({"objective": "binary:logistic"}, train, 0).save_raw("json")).decode(), "no trees",
                missing=NAN),
        refused("hinge", trained({"objective": "binary:hinge"}), "hinge", missing=NAN),
        refused("linear", trained({"objective": "binary:logistic", "booster": "gblinear"}), "gblinear", missing=NAN),
        refused("objective of tomorrow", good.replace("binary:logistic", "binary:focal"), "binary:focal", missing=NAN),
        refused("field of tomorrow", good.replace('"num_class"', '"temperature":"2","num_class"'), "temperature",
                missing=NAN),
        refused("tree field of tomorrow", good.replace('"split_type"', '"oblique":[],"split_type"', 1), "oblique",
                missing=NAN),
        refused("missing not said", good, "missing"),
        refused("best iteration not said", stopped, "best iteration", missing=NAN),
        refused("best iteration that is not there", good, "best iteration", missing=NAN, trees=BEST),
        refused("cut", good[:-40], "XGBoost"),
    ]
    return cases


# ---- LightGBM --------------------------------------------------------------------------------------------------------

def lgb_thresholds(booster):
    out = {}
    for block in booster.model_to_string().split("Tree=")[1:]:
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "split_feature" in fields:
            for feature, threshold in zip(fields["split_feature"].split(), fields["threshold"].split()):
                out.setdefault(int(feature), []).append(float(threshold))
    return out


def lgb_case(name, params, seed, rounds=6, categories=0, zeros=0.0, missing=0.1, labels=None, group=False, early=False,
             names="auto", link=None, frame=False):
    x, y, score = data(seed, categories=categories, zeros=zeros, missing=missing)
    y = y if labels is None else labels(score, y)
    params = {"num_leaves": 8, "min_data_in_leaf": 5, "seed": seed, "num_threads": 1, "verbosity": -1,
              "min_data_per_group": 5, "cat_smooth": 1.0, "deterministic": True, **params}
    columns = [CAT] if categories else "auto"
    table = x
    if frame:
        table = frame_of(x, lambda code: f"Kind ä {code:02}")
        columns = "auto"
    train = lgb.Dataset(table, y, categorical_feature=columns, feature_name=names,
                        group=[100] * (N // 100) if group else None, free_raw_data=False)
    extra = {}
    if early:
        extra = {"valid_sets": [lgb.Dataset(x[::-1].copy(), 1 - y, reference=train)],
                 "callbacks": [lgb.early_stopping(2, verbose=False)]}
    booster = lgb.train(params, train, rounds, **extra)
    rows = adversarial(x, lgb_thresholds(booster), seed, codes=bool(categories))
    text = booster.model_to_string()
    loaded = lgb.Booster(model_str=text)
    raw = loaded.predict(rows, raw_score=True)
    scores = loaded.predict(rows)
    if params.get("boosting") == "rf":
        n_trees = loaded.num_trees()
        mean = raw / n_trees
        if not np.allclose(1 / (1 + np.exp(-mean)), scores):
            mean = raw
        assert np.allclose(1 / (1 + np.exp(-mean)), scores), name
        raw = mean
    options = {} if link is None else {"link": link}
    # The parameters say how the model was trained, at length.
    text = re.sub(r"\nparameters:.*end of parameters\n", "\nparameters:\nend of parameters\n", text, flags=re.S)
    out = case(name, text, rows, raw, None if link else scores, **options)
    if frame:
        out["categories"] = {"e": [f"Kind ä {code:02}" for code in range(categories)]}
    return out


def lightgbm_cases():
    positive = lambda score, y: np.abs(score) + 0.1  # noqa: E731
    counts = lambda score, y: np.floor(np.abs(score) * 2)  # noqa: E731
    real = lambda score, y: score  # noqa: E731

    def focal(predictions, train):
        p = 1 / (1 + np.exp(-predictions))
        return p - train.get_label(), p * (1 - p)

    logistic = {"Logistic": {"slope": 1.0}}
    cases = [
        lgb_case("binary", {"objective": "binary"}, 1),
        lgb_case("binary, steep", {"objective": "binary", "sigmoid": 2.5}, 2),
        lgb_case("binary, no missing values", {"objective": "binary"}, 3, missing=0.0),
        lgb_case("missing ignored", {"objective": "binary", "use_missing": False}, 4),
        lgb_case("zero is missing", {"objective": "binary", "zero_as_missing": True}, 5, zeros=0.3),
        lgb_case("squared error", {"objective": "regression"}, 6, labels=real),
        lgb_case("absolute error", {"objective": "regression_l1"}, 7, labels=real),
        lgb_case("Huber", {"objective": "huber"}, 8, labels=real),
        lgb_case("fair", {"objective": "fair"}, 9, labels=real),
        lgb_case("quantile", {"objective": "quantile", "alpha": 0.7}, 10, labels=real),
        lgb_case("mape", {"objective": "mape"}, 11, labels=positive),
        lgb_case("poisson", {"objective": "poisson"}, 12, labels=counts),
        lgb_case("gamma", {"objective": "gamma"}, 13, labels=positive),
        lgb_case("tweedie", {"objective": "tweedie"}, 14, labels=positive),
        lgb_case("cross entropy", {"objective": "cross_entropy"}, 15),
        lgb_case("lambdarank", {"objective": "lambdarank"}, 16, group=True),
        lgb_case("xendcg", {"objective": "rank_xendcg"}, 17, group=True),
        lgb_case("dart", {"objective": "binary", "boosting": "dart", "drop_rate": 0.5}, 18, rounds=8),
        lgb_case("forest", {"objective": "binary", "boosting": "rf", "bagging_fraction": 0.6, "bagging_freq": 1}, 19),
        lgb_case("goss", {"objective": "binary", "data_sample_strategy": "goss"}, 20),
        lgb_case("categories", {"objective": "binary", "max_cat_to_onehot": 1}, 21, categories=40),
        lgb_case("categories, one hot", {"objective": "binary", "max_cat_to_onehot": 99}, 22, categories=9),
        lgb_case("categories and zero is missing", {"objective": "binary", "zero_as_missing": True}, 23, categories=12,
                 zeros=0.2),
        lgb_case("categories, missing ignored", {"objective": "binary", "use_missing": False}, 24, categories=12),
        lgb_case("categories of a data frame", {"objective": "binary"}, 25, categories=9, frame=True),
        lgb_case("monotone", {"objective": "binary", "monotone_constraints": [1, 0, 0, 0, 0]}, 26),
        lgb_case("many leaves", {"objective": "binary", "num_leaves": 60, "min_data_in_leaf": 1}, 27, rounds=3),
        lgb_case("early stopping", {"objective": "binary"}, 28, rounds=20, early=True),
        lgb_case("own loss", {"objective": focal}, 29, link=logistic),
        lgb_case("names", {"objective": "binary"}, 30, names=["amount", "count_7d", "tiny", "älter", "kind"]),
        lgb_case("leaves only", {"objective": "binary", "min_data_in_leaf": 300}, 31),
        lgb_case("extra trees", {"objective": "binary", "extra_trees": True}, 32),
        lgb_case("unbalanced", {"objective": "binary", "is_unbalance": True}, 33),
    ]
    x, y, score = data(99)

    def trained(params, label=None):
        params = {"num_leaves": 4, "verbosity": -1, "num_threads": 1, **params}
        return lgb.train(params, lgb.Dataset(x, y if label is None else label), 2).model_to_string()

    three = np.digitize(score, [-1, 1])
    good = trained({"objective": "binary"})
    own = next(case["model"] for case in cases if case["name"] == "own loss")
    cases += [
        refused("several classes", trained({"objective": "multiclass", "num_class": 3}, three), "several margins"),
        refused("several classes, one against all", trained({"objective": "multiclassova", "num_class": 3}, three),
                "several margins"),
        refused("linear leaves", trained({"objective": "regression", "linear_tree": True}, score), "linear"),
        refused("square root", trained({"objective": "regression", "reg_sqrt": True}, np.abs(score)), "sqrt"),
        refused("cross entropy lambda", trained({"objective": "cross_entropy_lambda"}), "cross_entropy_lambda"),
        refused("objective of tomorrow", good.replace("objective=binary", "objective=focal"), "focal"),
        refused("header field of tomorrow", good.replace("label_index=0", "label_index=0\ntemperature=2"), "temperature"),
        refused("tree field of tomorrow", good.replace("num_cat=0", "num_cat=0\noblique=1", 1), "oblique"),
        refused("version of tomorrow", good.replace("version=v4", "version=v5"), "v5"),
        refused("own loss without a link", own, "link"),
        refused("options that it answers itself", good, "missing", missing=NAN),
        refused("cut", good[:-40].split("end of trees")[0], "end of trees"),
    ]
    return cases


# ---- scikit-learn ----------------------------------------------------------------------------------------------------

def sk_thresholds(document):
    out = {}
    for tree in document["trees"]:
        for left, feature, threshold in zip(tree["left"], tree["feature"], tree["threshold"]):
            if left != -1 and threshold is not None:
                out.setdefault(feature, []).append(threshold)
    return out


def sk_margins(model, rows):
    """The margins by scikit-learn's own trees for rows that its interface refuses: infinite values and, for some, NaN."""
    with np.errstate(over="ignore"):
        single = rows.astype(np.float32)
    if isinstance(model, (ens.GradientBoostingClassifier, ens.GradientBoostingRegressor)):
        raw = model._raw_predict_init(np.zeros_like(single))
        predict_stages(model.estimators_, single, model.learning_rate, raw)
        return raw.ravel()
    column = 1 if hasattr(model, "classes_") else 0
    trees = model.estimators_ if hasattr(model, "estimators_") else [model]
    total = np.zeros(len(rows))
    for tree in trees:
        values = tree.tree_.predict(single)
        total += values.reshape(len(rows), -1)[:, column]
    return total / len(trees)


def sk_case(name, model, seed, missing=0.1, categories=0, labels=None):
    x, y, score = data(seed, missing=missing, categories=categories)
    if categories:
        x[:, CAT] = x[:, CAT] * 3  # with gaps
    y = y if labels is None else labels(score, y)
    model.fit(x, y)
    rows = adversarial(x, sk_thresholds(export_model(model)), seed, codes=bool(categories))
    if "Hist" in type(model).__name__:
        if categories:
            rows = rows[~np.isinf(rows[:, CAT])]  # its encoder takes nothing infinite
        found = margins(model, rows)
    else:
        found = sk_margins(model, rows)
        with np.errstate(over="ignore"):
            kept = np.isfinite(rows.astype(np.float32))
        kept = (kept | np.isnan(rows) if missing else kept).all(axis=1)
        assert kept.sum() > 5 and (margins(model, rows[kept]) == found[kept]).all(), name
    document = export_model(model)
    document["golden"] = golden_rows(rows, found)
    out = {"name": name, "options": {}, "golden": document["golden"], "model": json.dumps(document, allow_nan=False)}
    if "Hist" in type(model).__name__:
        scores = model.predict_proba(rows)[:, 1] if hasattr(model, "classes_") else model.predict(rows)
        out["scores"] = [float(score) for score in scores]
    return out


def sk_frame_case(name, seed):
    x, y, _ = data(seed, categories=9)
    table = frame_of(x, lambda code: f"Kind {code}")
    model = ens.HistGradientBoostingClassifier(max_iter=6, min_samples_leaf=5, categorical_features="from_dtype")
    model.fit(table, y)
    document = export_model(model, rows=table[:100])
    scores = model.predict_proba(table[:100])[:, 1].tolist()
    return {"name": name, "options": {}, "golden": document["golden"], "model": json.dumps(document, allow_nan=False),
            "scores": scores, "categories": {"e": [f"Kind {code}" for code in range(9)]}}


def scikit_learn_cases():
    positive = lambda score, y: np.abs(score) + 0.1  # noqa: E731
    real = lambda score, y: score  # noqa: E731
    few = {"n_estimators": 6, "max_depth": 4, "random_state": 1}
    hist = {"max_iter": 6, "min_samples_leaf": 5, "random_state": 1, "early_stopping": False}
    cat = {"categorical_features": [CAT], **hist}
    return [
        sk_case("tree", skt.DecisionTreeClassifier(max_depth=5), 1),
        sk_case("tree, entropy", skt.DecisionTreeClassifier(criterion="entropy", max_leaf_nodes=20), 2, missing=0),
        sk_case("tree, regression", skt.DecisionTreeRegressor(max_depth=5), 3, labels=real),
        sk_case("tree, absolute error", skt.DecisionTreeRegressor(criterion="absolute_error", max_depth=3), 4, labels=real,
                missing=0),
        sk_case("tree, weighted", skt.DecisionTreeClassifier(max_depth=4, class_weight={0: 1, 1: 3.7}), 5),
        sk_case("tree, one leaf", skt.DecisionTreeClassifier(max_depth=1, min_samples_leaf=300), 6),
        sk_case("extra tree", skt.ExtraTreeClassifier(max_depth=6, random_state=1), 7),
        sk_case("extra tree, regression", skt.ExtraTreeRegressor(max_depth=6, random_state=1), 8, labels=real),
        sk_case("forest", ens.RandomForestClassifier(**few), 9),
        sk_case("forest, no missing values", ens.RandomForestClassifier(**few), 10, missing=0),
        sk_case("forest, balanced", ens.RandomForestClassifier(class_weight="balanced_subsample", **few), 11),
        sk_case("forest, pruned", ens.RandomForestClassifier(ccp_alpha=0.01, **few), 12),
        sk_case("forest, monotone", ens.RandomForestClassifier(monotonic_cst=[1, 0, 0, 0, 0], **few), 13, missing=0),
        sk_case("forest, regression", ens.RandomForestRegressor(**few), 14, labels=real),
        sk_case("extra trees", ens.ExtraTreesClassifier(**few), 15),
        sk_case("extra trees, regression", ens.ExtraTreesRegressor(**few), 16, labels=real),
        sk_case("boosting", ens.GradientBoostingClassifier(**few), 17, missing=0),
        sk_case("boosting, exponential loss", ens.GradientBoostingClassifier(loss="exponential", **few), 18, missing=0),
        sk_case("boosting from zero", ens.GradientBoostingClassifier(init="zero", **few), 19, missing=0),
        sk_case("boosting, early stopping", ens.GradientBoostingClassifier(n_iter_no_change=2, **few), 20, missing=0),
        sk_case("boosting, regression", ens.GradientBoostingRegressor(**few), 21, labels=real, missing=0),
        sk_case("boosting, Huber", ens.GradientBoostingRegressor(loss="huber", **few), 22, labels=real, missing=0),
        sk_case("boosting, quantile", ens.GradientBoostingRegressor(loss="quantile", **few), 23, labels=real, missing=0),
        sk_case("histogram boosting", ens.HistGradientBoostingClassifier(**hist), 24),
        sk_case("histogram boosting, no missing values", ens.HistGradientBoostingClassifier(**hist), 25, missing=0),
        sk_case("histogram boosting, categories", ens.HistGradientBoostingClassifier(**cat), 26, categories=9),
        sk_case("histogram boosting, categories never missing", ens.HistGradientBoostingClassifier(**cat), 27,
                categories=30, missing=0),
        sk_frame_case("histogram boosting, categories of a data frame", 35),
        sk_case("histogram boosting, early stopping", ens.HistGradientBoostingClassifier(**{**hist, "early_stopping": True,
                "max_iter": 10}), 28),
        sk_case("histogram boosting, monotone", ens.HistGradientBoostingClassifier(monotonic_cst=[1, 0, 0, 0, 0], **hist), 29),
        sk_case("histogram boosting, regression", ens.HistGradientBoostingRegressor(**hist), 30, labels=real),
        sk_case("histogram boosting, poisson", ens.HistGradientBoostingRegressor(loss="poisson", **hist), 31,
                labels=positive),
        sk_case("histogram boosting, gamma", ens.HistGradientBoostingRegressor(loss="gamma", **hist), 32, labels=positive),
        sk_case("histogram boosting, absolute error", ens.HistGradientBoostingRegressor(loss="absolute_error", **hist), 33,
                labels=real),
        sk_case("histogram boosting, quantile", ens.HistGradientBoostingRegressor(loss="quantile", quantile=0.8, **hist), 34,
                labels=real),
    ]


if __name__ == "__main__":
    write("xgboost.json.gz", xgboost_cases())
    write("lightgbm.json.gz", lightgbm_cases())
    write("scikit_learn.json.gz", scikit_learn_cases())
