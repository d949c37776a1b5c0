"""Loads what we export into XGBoost and LightGBM and keeps what they make of it.

    EXPORTS=/some/folder cargo test --all-features --test foreign_models -- --ignored write_exports
    python load_exports.py /some/folder

writes exports.json.gz beside itself: per export its SHA-256 and the margins that the library gives the rows. The same
versions as in make.py.
"""

import gzip
import hashlib
import json
import pathlib
import sys

import lightgbm as lgb
import numpy as np
import xgboost as xgb


def values(digits):
    return np.array([int(digits[i : i + 16], 16) for i in range(0, len(digits), 16)], np.uint64).view(np.float64)


def digits(margin):
    return f"{int(np.float64(margin).view(np.uint64)):016x}"


def margins(export):
    rows = np.array([values(row) for row in export["rows"]])
    if export["library"] == "lightgbm":
        booster = lgb.Booster(model_str=export["model"])
        raw = booster.predict(rows, raw_score=True)
        if "\naverage_output\n" in export["model"]:
            raw = raw / booster.num_trees()
        return [digits(margin) for margin in raw]
    booster = xgb.Booster(model_file=bytearray(export["model"].encode()))
    missing = np.nan if export["missing"] is None else export["missing"]
    raw = booster.inplace_predict(rows, predict_type="margin", missing=missing, validate_features=False)
    return [digits(margin) for margin in raw]


if __name__ == "__main__":
    exports = json.loads((pathlib.Path(sys.argv[1]) / "exports.json").read_text())
    loaded = [
        {"name": export["name"], "sha256": hashlib.sha256(export["model"].encode()).hexdigest(),
         "margins": margins(export)}
        for export in exports
    ]
    packed = gzip.compress(json.dumps(loaded).encode(), 9, mtime=0)
    (pathlib.Path(__file__).parent / "exports.json.gz").write_bytes(packed)
    print(f"{len(loaded)} exports, {len(packed) // 1024} KiB")
