"""Trees, forests and boosted ensembles of scikit-learn as JSON for riskcycle.

    from export_scikit_learn import export_model
    export_model(model, "model.json", rows=X_valid[:200])

`rows` become golden rows: their margins as scikit-learn computes them travel with the model, and riskcycle checks its own
against them, bit for bit, whenever the model is loaded. Of a classifier with two classes the second is bad.

    from export_scikit_learn import golden_rows
    json.dump(golden_rows(X, booster.predict(xgb.DMatrix(X), output_margin=True)), file)

writes golden rows for models of other libraries, for GoldenRows::from_json.

Numbers are written so that they are read back exactly; a threshold of null is infinite. Written for scikit-learn 1.9;
older ones are exported as far as they keep the same attributes. Forests add up their trees in order only with one job, so
golden rows are computed with n_jobs=1.
"""

import json

import numpy as np

FORMAT = "riskcycle trees 1"
TREES = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")
FORESTS = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
BOOSTED = ("GradientBoostingClassifier", "GradientBoostingRegressor")
BINNED = ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor")


def export_model(model, path=None, rows=None):
    """The model as a dictionary, also written to `path`; with golden rows if `rows` are given."""
    import sklearn

    kind = type(model).__name__
    parts = _binned(model) if kind in BINNED else _boosted(model) if kind in BOOSTED else _forest(model, kind)
    names = getattr(model, "feature_names_in_", None)
    document = {
        "format": FORMAT,
        "origin": f"scikit-learn {sklearn.__version__} {kind}",
        "n_features": int(model.n_features_in_),
        "feature_names": [] if names is None else [str(name) for name in names],
        "category_names": {},
        **parts,
        "golden": None if rows is None else golden_rows(_coded(model, rows), margins(model, rows)),
    }
    if path is not None:
        with open(path, "w") as file:
            json.dump(document, file, allow_nan=False)
    return document


def margins(model, rows):
    """What scikit-learn computes before the link: the share of bad, the prediction, or the raw score of boosting."""
    kind = type(model).__name__
    if kind in BINNED + BOOSTED:
        if kind.endswith("Classifier"):
            return np.asarray(model.decision_function(rows), dtype=np.float64)
        rows = np.ascontiguousarray(rows, dtype=np.float32) if kind in BOOSTED else rows
        return np.asarray(model._raw_predict(rows), dtype=np.float64).ravel()
    if hasattr(model, "n_jobs"):
        model = model.set_params(n_jobs=1)
    return model.predict_proba(rows)[:, 1] if kind.endswith("Classifier") else model.predict(rows)


def golden_rows(rows, margins):
    """Rows and their margins with each value as the 16 hexadecimal digits of its bits."""
    def digits(values):
        return "".join(f"{bits:016x}" for bits in np.ascontiguousarray(values, np.float64).view(np.uint64).ravel())

    rows, margins = np.atleast_2d(np.asarray(rows, np.float64)), np.asarray(margins, np.float64).ravel()
    if len(rows) != len(margins):
        raise ValueError(f"{len(rows)} rows, {len(margins)} margins")
    return {"rows": [digits(row) for row in rows], "margins": [digits(margin) for margin in margins]}


def _forest(model, kind):
    if kind not in TREES + FORESTS:
        raise ValueError(f"{kind} is not a model that can be exported")
    if getattr(model, "n_outputs_", 1) != 1:
        raise ValueError("a model with several outputs has several margins a row")
    classifier = kind.endswith("Classifier")
    if classifier:
        _two_classes(model)
    estimators = [model] if kind in TREES else list(model.estimators_)

    def leaves(tree):
        values = np.array(tree.value[:, 0, :], dtype=np.float64)
        if not classifier:
            return values[:, 0]
        # Before 1.3 the values are counts, which scikit-learn divided when it predicted.
        if not np.allclose(values.sum(axis=1), 1.0, rtol=1e-6, atol=0):
            values = values / values.sum(axis=1, keepdims=True)
        return values[:, 1]

    trees = [_tree(estimator.tree_, leaves(estimator.tree_)) for estimator in estimators]
    return {"base": 0.0, "combine": "Mean", "link": "Identity", "single": True, "trees": trees}


def _boosted(model):
    if model.estimators_.shape[1] != 1:
        raise ValueError("a model of several classes has several margins a row")
    loss = getattr(model, "_loss", None)
    link = "Identity"
    if type(model).__name__.endswith("Classifier"):
        _two_classes(model)
        link = {"Logistic": {"slope": 2.0 if model.loss == "exponential" else 1.0}}
    elif loss is not None and type(getattr(loss, "link", None)).__name__ not in ("IdentityLink", "NoneType"):
        raise ValueError(f"loss {model.loss} is not known")
    if model.init not in (None, "zero"):
        raise ValueError("an estimator for init gives every row another base")
    rows = np.zeros((2, model.n_features_in_), dtype=np.float32)
    base = float(model._raw_predict_init(rows)[0, 0])
    trees = []
    for (estimator,) in model.estimators_:
        tree = estimator.tree_
        written = _tree(tree, model.learning_rate * tree.value[:, 0, 0])
        # Boosting compares without a rule for what is missing, so NaN is not at most any threshold.
        written["missing_left"] = [False] * tree.node_count
        trees.append(written)
    return {"base": base, "combine": "Sum", "link": link, "single": True, "trees": trees}


def _tree(tree, values):
    left, right = tree.children_left, tree.children_right
    inner = left >= 0
    weight, impurity = tree.weighted_n_node_samples, tree.impurity
    gain = np.zeros(tree.node_count)
    gain[inner] = (weight * impurity)[inner] - (weight * impurity)[left[inner]] - (weight * impurity)[right[inner]]
    missing = getattr(tree, "missing_go_to_left", np.zeros(tree.node_count))
    return {
        "feature": np.where(inner, tree.feature, 0).tolist(),
        "threshold": _numbers(np.where(inner, tree.threshold, 0.0)),
        "missing_left": [bool(flag) for flag in missing],
        "left": np.where(inner, left, -1).tolist(),
        "right": np.where(inner, right, -1).tolist(),
        "value": _numbers(values),
        "cover": _numbers(weight),
        "gain": _numbers(gain),
        "categories": {},
    }


def _binned(model):
    if len(model._predictors[0]) != 1:
        raise ValueError("a model of several classes has several margins a row")
    if type(model).__name__.endswith("Classifier"):
        _two_classes(model)
        link = {"Logistic": {"slope": 1.0}}
    else:
        links = {"squared_error": "Identity", "absolute_error": "Identity", "quantile": "Identity",
                 "gamma": "Exponential", "poisson": "Exponential"}
        if model.loss not in links:
            raise ValueError(f"loss {model.loss} is not known")
        link = links[model.loss]
    categories, order, names = _categories(model)
    known = getattr(model, "_bin_mapper").make_known_categories_bitsets()
    trees = [_binned_tree(predictor, categories, order, known) for (predictor,) in model._predictors]
    base = float(np.asarray(model._baseline_prediction).ravel()[0])
    return {"base": base, "combine": "Sum", "link": link, "single": False, "trees": trees,
            "category_names": {str(feature): list(strings) for feature, strings in names.items()}}


def _categories(model):
    """The values that scikit-learn's codes of categorical features stand for, by its place of a feature (categorical ones
    come first there), the feature at each place, and the strings that our codes stand for, by feature."""
    n = model.n_features_in_
    flags = model.is_categorical_
    if flags is None or not np.any(flags):
        return {}, list(range(n)), {}
    order = [f for f in range(n) if flags[f]] + [f for f in range(n) if not flags[f]]
    encoder = model._preprocessor.named_transformers_["encoder"]
    values, strings = {}, {}
    for place, names in enumerate(encoder.categories_):
        names = [name for name in names if name is not None and name == name]  # without what is missing
        if all(isinstance(name, str) for name in names):
            values[place], strings[order[place]] = list(range(len(names))), names
        elif all(float(name) >= 0 and float(name) == int(name) for name in names):
            values[place] = [int(name) for name in names]
        else:
            raise ValueError("categories must be strings or whole numbers of at least 0")
    return values, order, strings


def _coded(model, rows):
    """The rows as numbers, strings as the positions in their categories; one that training did not know is missing."""
    if type(model).__name__ not in BINNED:
        return rows
    coded = np.empty(np.shape(rows), dtype=np.float64)
    strings = _categories(model)[2]
    for feature in range(coded.shape[1]):
        column = rows.iloc[:, feature] if hasattr(rows, "iloc") else np.asarray(rows)[:, feature]
        if feature in strings:
            codes = {name: code for code, name in enumerate(strings[feature])}
            column = [codes.get(name, np.nan) for name in column]
        coded[:, feature] = column
    return coded


def _binned_tree(predictor, categories, order, known):
    known_sets, place_of = known
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    sets, missing_left = {}, nodes["missing_go_to_left"].astype(bool).tolist()
    for i in np.flatnonzero(inner & (nodes["is_categorical"] == 1)):
        feature = int(nodes["feature_idx"][i])
        left = _codes(predictor.raw_left_cat_bitsets[nodes["bitset_idx"][i]])
        seen = _codes(known_sets[place_of[feature]])
        # A category that training never saw goes where a missing one goes: then the set that is listed is the other side's.
        listed = [code for code in seen if (code in left) != missing_left[i]]
        sets[str(i)] = [categories[feature][code] for code in listed]
    return {
        "feature": [order[f] if is_inner else 0 for f, is_inner in zip(nodes["feature_idx"].tolist(), inner)],
        "threshold": _numbers(np.where(inner & (nodes["is_categorical"] == 0), nodes["num_threshold"], 0.0)),
        "missing_left": missing_left,
        "left": np.where(inner, nodes["left"].astype(np.int64), -1).tolist(),
        "right": np.where(inner, nodes["right"].astype(np.int64), -1).tolist(),
        "value": _numbers(np.where(inner, 0.0, nodes["value"])),
        "cover": _numbers(nodes["count"]),
        "gain": _numbers(np.where(inner, nodes["gain"], 0.0)),
        "categories": sets,
    }


def _codes(bitset):
    return [32 * word + bit for word, bits in enumerate(bitset) for bit in range(32) if int(bits) >> bit & 1]


def _numbers(values):
    return [None if value == np.inf else float(value) for value in np.asarray(values, np.float64)]


def _two_classes(model):
    if len(model.classes_) != 2:
        raise ValueError(f"{len(model.classes_)} classes: a score needs two")

