"""Models of older libraries, whose files say some things otherwise, with the margins those libraries gave.

    PYTHONPATH=<xgboost 1.7.6, numpy 1.26.4> python make_older.py xgboost part1.json
    PYTHONPATH=<xgboost 1.1.1, numpy 1.26.4> python make_older.py xgboost part2.json
    PYTHONPATH=<lightgbm 3.3.5, numpy 1.26.4> python make_older.py lightgbm part3.json
    python make_older.py join part1.json part2.json part3.json

writes older.json.gz beside itself. XGBoost 1.1.1 added the base behind the leaves: its case is one whose base is 0.
"""

import gzip
import json
import pathlib
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[2] / "src/model/tree/foreign"))
from export_scikit_learn import golden_rows  # noqa: E402

rng = np.random.default_rng(5)
X = rng.normal(size=(400, 5))
X[:, 4] = rng.integers(0, 12, 400)
X[rng.random(X.shape) < 0.1] = np.nan
X[rng.random(X.shape) < 0.1] = 0
Y = (np.nan_to_num(X[:, 0]) + np.sin(np.nan_to_num(X[:, 4])) > 0).astype(float)
ROWS = np.concatenate([X[:50], [[0, np.nan, 1e-36, -1e-300, 3], [np.nan] * 5, [5e-324, -0.5, 2, 3, 4.5]]])


def xgboost_cases():
    import xgboost as xgb

    old = xgb.__version__ < "1.6"
    logistic = {"objective": "binary:logistic"}
    kinds = {"logistic": logistic, "dart": {**logistic, "booster": "dart", "rate_drop": 0.4}}
    if not old:
        kinds["poisson"] = {"objective": "count:poisson"}
        kinds["forests"] = {**logistic, "num_parallel_tree": 2, "subsample": 0.8}
        kinds["categories"] = {**logistic, "tree_method": "hist", "max_cat_to_onehot": 2}
    for name, params in kinds.items():
        options = {"feature_types": ["q"] * 4 + ["c"], "enable_categorical": True} if name == "categories" else {}
        booster = xgb.train({"max_depth": 3, **params}, xgb.DMatrix(X, Y, **options), 4)
        margins = booster.predict(xgb.DMatrix(ROWS, **options), output_margin=True)
        for form in ["json"] if old else ["json", "ubj"]:
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / f"model.{form}"
                booster.save_model(str(path))
                yield {"name": f"xgboost {xgb.__version__} {name} {form}", "options": {"missing": "Nan"},
                       "golden": golden_rows(ROWS, margins.astype(np.float64)), "hex": path.read_bytes().hex()}


def lightgbm_cases():
    import lightgbm as lgb

    kinds = {"binary": {}, "zero is missing": {"zero_as_missing": True}, "missing ignored": {"use_missing": False},
             "dart": {"boosting": "dart"}}
    for name, params in kinds.items():
        for categories in [[], [4]]:
            params = {"objective": "binary", "verbosity": -1, "num_leaves": 8, "min_data_in_leaf": 5,
                      "min_data_per_group": 5, "cat_smooth": 1, **params}
            booster = lgb.train(params, lgb.Dataset(X, Y, categorical_feature=categories), 4)
            yield {"name": f"lightgbm {lgb.__version__} {name}{', categories' if categories else ''}", "options": {},
                   "golden": golden_rows(ROWS, booster.predict(ROWS, raw_score=True)), "model": booster.model_to_string()}


if __name__ == "__main__":
    what, *paths = sys.argv[1:]
    if what == "join":
        cases = [case for path in paths for case in json.loads(pathlib.Path(path).read_text())]
        packed = gzip.compress(json.dumps(cases).encode(), 9, mtime=0)
        (HERE / "older.json.gz").write_bytes(packed)
        print(f"{len(cases)} models, {len(packed) // 1024} KiB")
    else:
        cases = list(xgboost_cases() if what == "xgboost" else lightgbm_cases())
        pathlib.Path(paths[0]).write_text(json.dumps(cases))
