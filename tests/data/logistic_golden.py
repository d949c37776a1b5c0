"""Writes logistic_golden.json. Made with Python 3.11, numpy 2.3.5, scikit-learn 1.9.1."""
import json
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

random = np.random.default_rng(20261122)
n = 400
x = np.column_stack([
    random.gamma(2.0, 27.0, n),          # an amount
    random.integers(0, 2, n),            # a flag
    np.full(n, 3.25),                    # a constant
    random.normal(1e6, 1e3, n),          # far from zero
]).round(6)
margin = -4.0 + 0.03 * x[:, 0] + 0.8 * x[:, 1] + 0.7 * (x[:, 3] - 1e6) / 1e3
y = random.random(n) < 1.0 / (1.0 + np.exp(-margin))

def fit(labels, l2):
    scaled = StandardScaler().fit_transform(x)
    model = LogisticRegression(C=1.0 / l2, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(scaled, labels)
    return {
        "l2": l2,
        "intercept": model.intercept_[0],
        "coefficients": model.coef_[0].tolist(),
        "scores": model.predict_proba(scaled)[:10, 1].tolist(),
    }

golden = {
    "rows": x.tolist(),
    "bad": y.astype(int).tolist(),
    "rare": fit(y, 1.0),
    "rare_strong_penalty": fit(y, 50.0),
    "common": fit(~y, 1.0),              # the same rows with the labels exchanged
}
json.dump(golden, open("logistic_golden.json", "w"))
print(y.sum(), golden["rare"]["coefficients"])
