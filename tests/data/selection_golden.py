"""Writes selection_golden.json. Made with Python 3.11, numpy 2.3.5, scipy 1.17.1, scikit-learn 1.9.1, pandas 3.1.1."""
import json
import numpy as np
import pandas as pd
from scipy.stats import chi2, ks_2samp, pearsonr, spearmanr
from sklearn.metrics import mutual_info_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier

N, N_BINS, N_PARTS = 400, 10, 4
random = np.random.default_rng(20261122)
seconds = np.sort(random.integers(0, 90 * 86_400, N))
amount = random.gamma(2.0, 27.0, N).round(2)
night = random.integers(0, 2, N).astype(float)
count = random.poisson(3.0, N).astype(float)
margin = -3.0 + 0.025 * amount + 0.9 * night - 0.25 * count
bad = random.random(N) < 1.0 / (1.0 + np.exp(-margin))
sparse = random.normal(0.0, 1.0, N).round(1) + 0.6 * bad
sparse[random.random(N) < np.where(bad, 0.2, 0.45)] = np.nan     # missing says something, too
chargeback = bad * 2.0 + random.normal(0.0, 0.45, N).round(3)   # written after the outcome
closed = np.where(bad, random.integers(1, 9, N), np.nan)        # filled in for bad rows only
x = pd.DataFrame({
    "amount": amount,
    "night": night,                                             # ties
    "count": count,                                             # ties, falling with bad
    "constant": np.full(N, 3.25),
    "sparse": sparse,
    "far": random.normal(1e6, 1e3, N).round(3),                 # far from zero
    "chargeback": chargeback,
    "closed": closed,
    "amount_log": (np.log1p(amount) + random.normal(0.0, 0.02, N)).round(4),  # a twin of amount
    "drifting": (0.02 * amount + seconds / (30 * 86_400) + random.normal(0.0, 1.0, N)).round(3),
    "empty": np.full(N, np.nan),
})

def edges(values):
    """Values at ranks ceil(i n / bins), each once, none at the maximum: what stats::Bins lays down."""
    s = np.sort(values[np.isfinite(values)])
    if len(s) == 0:
        return np.array([])
    found = np.unique([s[max(-(-i * len(s) // N_BINS), 1) - 1] for i in range(1, N_BINS)])
    return found[found < s[-1]]

def index(values, cuts):
    return np.where(np.isnan(values), len(cuts) + 1, np.searchsorted(cuts, values, side="left"))

def shares(counts, used):
    return (counts[used] + 0.5) / (counts.sum() + used.sum() / 2)

def index_of_change(reference, current):
    used = (reference > 0) | (current > 0)
    p, q = shares(reference, used), shares(current, used)
    return float(((q - p) * np.log(q / p)).sum()), int(used.sum())

part = (seconds - seconds[0]) * 1_000_000 * N_PARTS // ((seconds[-1] - seconds[0]) * 1_000_000 + 1)

def screen(column):
    values = column.to_numpy()
    here = ~np.isnan(values)
    v, y = values[here], bad[here]
    both = 0 < y.sum() < len(y)
    varies = both and len(np.unique(v)) > 1
    cuts = edges(values)
    bins = index(values, cuts)
    cells = [np.bincount(bins[label], minlength=len(cuts) + 2) for label in (bad, ~bad)]
    missing = roc_auc_score(bad, ~here)
    first = edges(values[part == 0])
    counts = [np.bincount(index(values[part == p], first), minlength=len(first) + 2) for p in range(N_PARTS)]
    psi = []
    for p in range(1, N_PARTS):
        value, used = index_of_change(counts[0], counts[p])
        critical = chi2.ppf(0.999, used - 1) * (1 / counts[0].sum() + 1 / counts[p].sum()) if used > 1 else 0.0
        psi.append([value, critical])
    return {
        "name": column.name,
        "values": [None if np.isnan(value) else value for value in values],
        "n": int(here.sum()),
        "n_bad": int(y.sum()),
        "pearson": pearsonr(v, y.astype(float)).statistic if varies else None,
        "spearman": spearmanr(v, y).statistic if varies else None,
        "mutual_information": mutual_info_score(bad, bins),
        "information_value": index_of_change(cells[1], cells[0])[0],
        "auc": roc_auc_score(y, v) if both else None,
        "ks": ks_2samp(v[y], v[~y]).statistic if both else None,
        "missing_auc": max(missing, 1 - missing),
        "psi": psi,
    }

with_values = ["amount", "night", "count", "far"]
tree = DecisionTreeClassifier(max_depth=4, random_state=1).fit(x[with_values], bad).tree_
samples = tree.n_node_samples
nodes = [{
    "feature": int(tree.feature[i]), "threshold": float(tree.threshold[i]),
    "left": int(tree.children_left[i]), "right": int(tree.children_right[i]),
    "n_bad": round(tree.value[i][0][1] * samples[i]), "n": int(samples[i]),
} for i in range(tree.node_count)]

golden = {
    "seconds": seconds.tolist(),
    "bad": bad.astype(int).tolist(),
    "features": [screen(x[name]) for name in x],
    # Pairwise complete; null where it is not defined.
    "spearman": x.corr(method="spearman", min_periods=2).astype(object).where(lambda m: m.notna(), None).to_numpy().tolist(),
    "tree": {"features": with_values, "nodes": nodes,
             "importance": tree.compute_feature_importances(normalize=False).tolist()},
}
json.dump(golden, open("selection_golden.json", "w"), allow_nan=False)
for feature in golden["features"]:
    print({key: value for key, value in feature.items() if key != "values"})
print(bad.sum(), golden["tree"]["importance"])
