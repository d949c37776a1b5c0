"""Seeded rows with their areas and waiting times: python rows.py > rows.json

MLstatkit 0.1.91, numpy 2.4, scipy 1.17.1. Areas and components below are by their definition, over all pairs of a bad and a
good row; MLstatkit checks z and p.
"""
import json
import sys

import numpy as np
from MLstatkit import Delong_test
from scipy import stats


def components(y, s):
    """DeLong's structural components, by definition."""
    bad, good = s[y == 1], s[y == 0]
    wins = (bad[:, None] > good[None, :]) + 0.5 * (bad[:, None] == good[None, :])
    return wins.mean(), wins.mean(axis=1), wins.mean(axis=0)


def estimate(y, s):
    auc, v10, v01 = components(y, s)
    return auc, v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01)


def paired(y, a, b):
    (auc_a, xa, ya), (auc_b, xb, yb) = components(y, a), components(y, b)
    covariance = np.cov(xa, xb)[0, 1] / len(xa) + np.cov(ya, yb)[0, 1] / len(ya)
    (_, va), (_, vb) = estimate(y, a), estimate(y, b)
    se = (va + vb - 2 * covariance) ** 0.5
    z = (auc_b - auc_a) / se
    peer_z, peer_p = Delong_test(y, a, b)[:2]
    assert abs(abs(peer_z) - abs(z)) < 1e-9 and abs(peer_p - 2 * stats.norm.sf(abs(z))) < 1e-9
    return dict(auc=[auc_a, auc_b], variance=[va, vb], covariance=covariance, z=z, p=2 * stats.norm.sf(abs(z)))


def unpaired(y1, s1, y2, s2):
    """Degrees of freedom as in pROC 1.18."""
    (a1, v1), (a2, v2) = estimate(y1, s1), estimate(y2, s2)
    df = (v1 + v2) ** 2 / (v1**2 / (len(y1) - 1) + v2**2 / (len(y2) - 1))
    t = (a2 - a1) / (v1 + v2) ** 0.5
    return dict(auc=[a1, a2], variance=[v1, v2], t=t, df=df, p=2 * stats.t.sf(abs(t), df))


def main():
    golden = {}
    rng = np.random.default_rng(7)
    cases = []
    for n, rate, digits in [(60, 0.3, 1), (500, 0.05, 2), (1500, 0.03, 5)]:
        y = (rng.random(n) < rate).astype(int)
        a = np.round(rng.normal(size=n) + 1.2 * y, digits)
        b = np.round(0.6 * a + 0.8 * rng.normal(size=n) + 0.9 * y, digits)
        other = np.round(rng.normal(size=n) + 1.0 * y, digits)
        case = dict(labels=y.tolist(), first=a.tolist(), second=b.tolist(), other=other.tolist())
        case["paired"] = paired(y, a, b)
        case["unpaired"] = unpaired(y, a, y[::-1].copy(), other[::-1].copy())
        cases.append(case)
    golden["delong_rows"] = cases
    waits = [rng.integers(0, 9, 40), rng.integers(0, 12, 55)]
    test = stats.logrank(*waits)
    counts = [np.bincount(wait, minlength=12).tolist() for wait in waits]
    golden["log_rank"] = dict(first=counts[0], second=counts[1], z=test.statistic, p=test.pvalue)
    json.dump(golden, sys.stdout, separators=(",", ":"))


main()
