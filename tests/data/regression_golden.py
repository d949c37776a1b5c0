"""Logistic regression by statsmodels and scikit-learn on seeded rows, as `regression_golden.json`."""
import json
import numpy as np, sklearn, statsmodels, statsmodels.api as sm
from sklearn.linear_model import LogisticRegression

rng = np.random.default_rng(5)
n = 300
x = np.round(np.column_stack([rng.normal(50, 20, n), rng.exponential(3, n), rng.integers(0, 2, n), rng.normal(0, 1, n)]), 3)
logit = -1.0 + 0.03 * (x[:, 0] - 50) + 0.2 * x[:, 1] - 0.8 * x[:, 2]
y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
w = rng.integers(1, 4, n).astype(float)
out = {"versions": {"statsmodels": statsmodels.__version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__},
       "rows": x.tolist(), "bad": y.tolist(), "weights": w.tolist()}
fit = sm.Logit(y, sm.add_constant(x)).fit(disp=0, tol=1e-14, maxiter=200)
out["statsmodels_logit"] = {"coefficients": fit.params.tolist(), "standard_errors": fit.bse.tolist(), "p_values": fit.pvalues.tolist(), "log_likelihood": fit.llf}
glm = sm.GLM(y, sm.add_constant(x), family=sm.families.Binomial(), freq_weights=w).fit(tol=1e-14, maxiter=200)
out["statsmodels_weighted"] = {"coefficients": glm.params.tolist(), "standard_errors": glm.bse.tolist(), "p_values": glm.pvalues.tolist()}
z = (x - x.mean(0)) / x.std(0)
def sk(weights=None, **kw):
    m = LogisticRegression(tol=1e-14, max_iter=1_000_000, **kw).fit(z, y, sample_weight=weights)
    return {"intercept": float(m.intercept_[0]), "coefficients": m.coef_[0].tolist()}
out["ridge"] = sk(C=0.1, solver="newton-cholesky")
out["balanced"] = sk(C=1.0, solver="newton-cholesky", class_weight="balanced")
out["lasso"] = sk(C=0.1, solver="saga", l1_ratio=1.0)
out["elastic_net"] = sk(C=0.1, solver="saga", l1_ratio=0.4)
json.dump(out, open("regression_golden.json", "w"))
print({k: v for k, v in out.items() if k not in ("rows", "bad", "weights")})
