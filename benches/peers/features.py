"""The handbook's twelve window features by numpy, Polars, DuckDB, DataFusion, pandas and riskcycle, side by side.

    pip install -r benches/peers/requirements.txt
    python benches/peers/features.py [transactions.csv[.gz]]

The file is in the Fraud Detection Handbook's raw layout; without one, random transactions of the same size are written to
target/. Every engine runs three times, in turn, and the median counts; reading the file does not. Values are compared with
numpy's, column by column. Memory is the peak of a process of its own, beyond what the data take (Linux).
"""
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pandas as pd

DAY = 86_400
WIDTHS = (1, 7, 30)
LABEL_DELAY = 7
ROUNDS = 3
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def random_file():
    path = os.path.join(ROOT, "target", "random_transactions.csv")
    if not os.path.exists(path):
        n, random = 1_754_155, np.random.default_rng(0)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        pd.DataFrame({
            "TRANSACTION_ID": np.arange(n),
            "TX_TIME_SECONDS": np.sort(random.integers(0, 183 * DAY, n)),
            "CUSTOMER_ID": random.integers(0, 5000, n),
            "TERMINAL_ID": random.integers(0, 10_000, n),
            "TX_AMOUNT": np.round(random.gamma(2, 27, n), 2),
            "TX_FRAUD": (random.random(n) < 0.0084).astype(int),
        }).to_csv(path, index=False)
    return path


def streams():
    """Key, value, delay in days, prefix of the columns."""
    return (("customer", "amount", 0, "customer"), ("terminal", "fraud", LABEL_DELAY, "terminal"))


def by_numpy(df):
    out = {}
    for key, value, delay, prefix in streams():
        order = np.lexsort((df.ts.values, df[key].values))
        group = df[key].values[order].astype(np.int64)
        keyed = group * (1 << 40) + df.ts.values[order] + (1 << 35)
        sums = np.concatenate([[0.0], np.cumsum(df[value].values[order].astype(float))])
        start = np.searchsorted(group, group, side="left")
        high = np.searchsorted(keyed, keyed - delay * DAY, side="right")
        for width in WIDTHS:
            low = np.searchsorted(keyed, keyed - (delay + width) * DAY, side="right")
            low = np.maximum(low, start)
            end = np.maximum(high, low)
            count, total = (end - low).astype(float), sums[end] - sums[low]
            n, mean = np.empty(len(df)), np.empty(len(df))
            n[order] = count
            mean[order] = np.where(count > 0, total / np.maximum(count, 1), 0.0)
            out[f"{prefix}_n_{width}"], out[f"{prefix}_mean_{width}"] = n, mean
    return pd.DataFrame(out)


def by_polars(df):
    import polars as pl

    frame, out = pl.from_pandas(df), {}
    for key, value, delay, prefix in streams():
        rows = frame.select("id", key, value, "dt").sort([key, "dt"], maintain_order=True)
        result = rows.select("id")
        for width in WIDTHS:
            rolled = rows.rolling(
                "dt", period=f"{width}d", offset=f"-{width + delay}d", closed="right", group_by=key
            ).agg(pl.len().alias("n"), pl.col(value).sum().alias("s"))
            result = result.with_columns(
                rolled["n"].cast(pl.Float64).alias(f"{prefix}_n_{width}"),
                (rolled["s"] / rolled["n"].clip(1)).fill_nan(0).alias(f"{prefix}_mean_{width}"),
            )
        result = result.sort("id").drop("id").to_pandas()
        out.update({column: result[column].values for column in result})
    return pd.DataFrame(out)


def query():
    windows, columns = [], ["id"]
    for key, value, delay, prefix in streams():
        for width in WIDTHS:
            # RANGE is closed on both sides and times are whole seconds: one second less makes it open on the left.
            back = (width + delay) * DAY - 1
            end = f"INTERVAL '{delay * DAY} seconds' PRECEDING" if delay else "CURRENT ROW"
            windows.append(
                f"{prefix}{width} AS (PARTITION BY {key} ORDER BY dt "
                f"RANGE BETWEEN INTERVAL '{back} seconds' PRECEDING AND {end})"
            )
            columns.append(f"count(*) OVER {prefix}{width} AS {prefix}_n_{width}")
            columns.append(
                f"coalesce(avg({value}) OVER {prefix}{width}, 0) AS {prefix}_mean_{width}"
            )
    return f"SELECT {', '.join(columns)} FROM tx WINDOW {', '.join(windows)}"


def in_order(result):
    return result.sort_values("id").drop(columns="id").reset_index(drop=True)


def by_duckdb(df):
    import duckdb

    connection = duckdb.connect()
    connection.register("tx", df)
    return in_order(connection.execute(query()).df())


def by_datafusion(df):
    import datafusion
    import pyarrow

    config = datafusion.SessionConfig().with_target_partitions(os.cpu_count())
    context = datafusion.SessionContext(config)
    batches = pyarrow.Table.from_pandas(df, preserve_index=False).to_batches(max_chunksize=65_536)
    context.register_record_batches("tx", [batches])
    return in_order(context.sql(query()).to_pandas())


def by_pandas(df):
    out = {}
    for key, value, delay, prefix in streams():
        rows = df.sort_values([key, "dt"], kind="stable").set_index("dt")
        groups, ids = rows.groupby(key, sort=True)[value], rows.id.values

        def rolled(days):
            window = groups.rolling(f"{days}D")
            return window.sum().values, window.count().values

        late_sum, late_n = rolled(delay) if delay else (0.0, 0.0)
        for width in WIDTHS:
            total, count = rolled(width + delay)
            count, total = count - late_n, total - late_sum
            n, mean = np.empty(len(df)), np.empty(len(df))
            n[ids], mean[ids] = count, np.where(count > 0, total / np.maximum(count, 1), 0.0)
            out[f"{prefix}_n_{width}"], out[f"{prefix}_mean_{width}"] = n, mean
    return pd.DataFrame(out)


def status(name):
    """A figure of this process in KiB."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name))


def peak_of(engine, df):
    """Megabytes that an engine takes at most, beyond the data; meant for a process that does nothing else."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    before = status("VmRSS")
    engine(df)
    return (status("VmHWM") - before) / 1024


def read(path):
    raw = pd.read_csv(path)
    df = pd.DataFrame({
        "id": np.arange(len(raw)),
        "ts": raw.TX_TIME_SECONDS.values,
        "customer": raw.CUSTOMER_ID.values,
        "terminal": raw.TERMINAL_ID.values,
        "amount": raw.TX_AMOUNT.values,
        "fraud": raw.TX_FRAUD.values,
    })
    df["dt"] = pd.to_datetime(df.ts, unit="s", origin="2018-04-01").astype("datetime64[us]")
    return df


def main():
    engines = {
        "numpy": by_numpy, "polars": by_polars, "duckdb": by_duckdb,
        "datafusion": by_datafusion, "pandas": by_pandas,
    }
    if sys.argv[1:2] == ["--peak"]:
        print(peak_of(engines[sys.argv[2]], read(sys.argv[3])))
        return
    path = sys.argv[1] if len(sys.argv) > 1 else random_file()
    df = read(path)
    ours = ["cargo", "bench", "--quiet", "--bench", "features", "--", "batch", path]
    subprocess.run(ours, cwd=ROOT, check=True, capture_output=True)  # built before the clock starts
    peaks = {}
    for name in engines:
        command = [sys.executable, __file__, "--peak", name, path]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[name] = f"{float(run.stdout):.0f} MB"
    seconds, results = {name: [] for name in [*engines, "riskcycle"]}, {}
    for round_ in range(ROUNDS):
        for name, engine in engines.items():
            start = time.perf_counter()
            result = engine(df)
            seconds[name].append(time.perf_counter() - start)
            results[name] = result
        line = subprocess.run(ours, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        print(f"  round {round_ + 1}: {line.strip()}", flush=True)
        seconds["riskcycle"].append(float(line.split("median ")[1].split(" s")[0]))
        peaks["riskcycle"] = line.split("peak ")[1].strip()
    base = statistics.median(seconds["riskcycle"])
    print(f"{len(df)} rows, 12 features, {os.cpu_count()} cores; median of {ROUNDS}")
    for name, times in seconds.items():
        median = statistics.median(times)
        note = ""
        if name in results and name != "numpy":
            a, b = results["numpy"], results[name].astype(float)
            differs = {c: int((np.abs(a[c].values - b[c].values) > 1e-6).sum()) for c in a}
            differs = {c: n for c, n in differs.items() if n}
            note = f"  values differ from numpy's in {differs}" if differs else ""
        print(f"{name:<11}{median:8.3f} s  {median / base:6.1f} x riskcycle  {peaks[name]:>8}{note}")


if __name__ == "__main__":
    main()
