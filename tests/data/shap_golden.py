"""Shapley values of small models by the libraries themselves, path-dependent, on the scale of the margin.

    python shap_golden.py          writes shap_golden.json beside itself

Made with shap 0.51.0, lightgbm 4.7.0, xgboost 3.2.0, scikit-learn 1.9.1, numpy 2.4.6. shap computes scikit-learn's itself, in
double precision; for LightGBM it asks LightGBM (double), for XGBoost XGBoost (single).
"""

import json
import pathlib
import sys
import warnings

import lightgbm as lgb
import numpy as np
import shap
import sklearn.ensemble as ens
import sklearn.linear_model as lin
import xgboost as xgb

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "src/model/tree/foreign"))
from export_scikit_learn import export_model  # noqa: E402

warnings.filterwarnings("ignore")
N, WIDTH, ROWS = 600, 5, 24


def data(seed, missing=0.0, categories=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, WIDTH))
    score = x[:, 0] + x[:, 1] * x[:, 2]
    if categories:
        x[:, 4] = rng.integers(0, categories, N)
        score = score + np.sin(5.0 * x[:, 4])
    x[rng.random(x.shape) < missing] = np.nan
    return x, (np.nan_to_num(score) + rng.normal(size=N) > 0.5).astype(int)


def case(name, source, model, rows, values, base, tolerance):
    return {
        "name": name,
        "source": source,
        "model": model,
        "rows": [[None if np.isnan(v) else float(v) for v in row] for row in rows],
        "values": np.asarray(values, float).tolist(),
        "base": float(base),
        "tolerance": tolerance,
    }


def tree_values(model, rows):
    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")
    values = np.asarray(explainer.shap_values(rows))
    base = np.asarray(explainer.expected_value, float).ravel()
    if values.ndim == 3:  # one output per class
        values = values[:, :, 1]
    return values, base[-1]


def main():
    cases = []
    for depth, leaves, categories in [(3, 8, 0), (9, 60, 0), (5, 20, 6)]:
        x, y = data(depth, missing=0.1, categories=categories)
        names = [4] if categories else "auto"
        params = {"objective": "binary", "num_leaves": leaves, "max_depth": depth, "min_data_in_leaf": 3,
                  "min_data_per_group": 3, "cat_smooth": 1.0, "verbose": -1, "seed": 1, "num_threads": 1}
        booster = lgb.train(params, lgb.Dataset(x, y, categorical_feature=names), 6)
        values, base = tree_values(booster, x[:ROWS])
        cases.append(case(f"LightGBM depth {depth}", "lightgbm", booster.model_to_string(), x[:ROWS], values, base, 1e-9))
    x, y = data(7, missing=0.1)
    params = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.3, "seed": 1, "nthread": 1, "min_child_weight": 0.1}
    booster = xgb.train(params, xgb.DMatrix(x, y), 6)
    phi = booster.predict(xgb.DMatrix(x[:ROWS]), pred_contribs=True, strict_shape=True)[:, 0, :]
    model = booster.save_raw("json").decode()
    cases.append(case("XGBoost depth 6", "xgboost", model, x[:ROWS], phi[:, :-1], phi[0, -1], 2e-5))
    x, y = data(8)
    x = x.astype(np.float32).astype(float)  # shap reads a row in single precision's place
    forest = ens.RandomForestClassifier(4, max_depth=5, random_state=1).fit(x, y)
    boosted = ens.GradientBoostingClassifier(n_estimators=6, max_depth=4, random_state=1).fit(x, y)
    for name, model in [("random forest", forest), ("gradient boosting", boosted)]:
        values, base = tree_values(model, x[:ROWS])
        cases.append(case(f"scikit-learn {name}", "scikit_learn", json.dumps(export_model(model)), x[:ROWS], values, base, 1e-7))
    logistic = lin.LogisticRegression().fit(x, y)
    explainer = shap.LinearExplainer(logistic, shap.maskers.Independent(x, max_samples=N))
    linear = case("linear", "linear", "", x[:ROWS], explainer.shap_values(x[:ROWS]), explainer.expected_value, 1e-9)
    linear["weights"] = logistic.coef_[0].tolist()
    linear["intercept"] = float(logistic.intercept_[0])
    linear["means"] = x.mean(axis=0).tolist()
    cases.append(linear)
    (HERE / "shap_golden.json").write_text(json.dumps({"cases": cases}) + "\n")


main()
