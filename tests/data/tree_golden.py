"""Writes tree_golden.json: scikit-learn's trees on 600 rows, for our own to be compared with. scikit-learn 1.9.1, numpy 2.3.5."""
import json

import numpy as np
import sklearn
from sklearn.tree import DecisionTreeClassifier

rng = np.random.default_rng(7)
n = 600
# Continuous, tied whole numbers, a constant, and pure noise; singles, so that scikit-learn's cast changes nothing.
rows = np.column_stack([
    rng.normal(size=n).astype(np.float32),
    rng.integers(0, 12, n).astype(np.float32),
    np.full(n, 3.0, np.float32),
    rng.gamma(0.7, 100.0, n).astype(np.float32),
]).astype(float)
bad = (rows[:, 0] + 0.2 * rows[:, 1] + 0.004 * rows[:, 3] + rng.normal(size=n) > 2.6)
weights = rng.integers(1, 5, n)


def fitted(**parameters):
    weighted = parameters.pop("weighted", False)
    tree = DecisionTreeClassifier(random_state=0, **parameters).fit(
        rows, bad, sample_weight=weights if weighted else None)
    return {
        "leaves": int(tree.get_n_leaves()),
        "depth": int(tree.get_depth()),
        "scores": tree.predict_proba(rows)[:, 1].tolist(),
        "importance": tree.tree_.compute_feature_importances(normalize=False).tolist(),
    }


golden = {
    "scikit_learn": sklearn.__version__,
    "rows": rows.tolist(), "bad": bad.tolist(), "weights": weights.tolist(),
    "gini_3": fitted(max_depth=3),
    "entropy_4": fitted(max_depth=4, criterion="entropy"),
    "leaf_25": fitted(min_samples_leaf=25),
    "leaves_7": fitted(max_leaf_nodes=7),
    "balanced_3": fitted(max_depth=3, class_weight="balanced"),
    "weighted_3": fitted(max_depth=3, weighted=True),
    "pruned": fitted(ccp_alpha=0.006, min_samples_leaf=5),
}
print(bad.sum(), {k: (v["leaves"], v["depth"]) for k, v in golden.items() if isinstance(v, dict)})
json.dump(golden, open("tree_golden.json", "w"))
