"""Vintages and roll rates by pandas: `python portfolio_golden.py > portfolio_golden.json`."""
import json

import numpy as np
import pandas as pd

random = np.random.default_rng(7)
LAST = 12  # month on book 0 of the first vintage is month 0; month 12 is the last that is over
accounts, months = [], []
for account in range(1, 151):
    opened = int(random.integers(0, 9))
    booked = round(float(random.uniform(500, 9000)), 2)
    accounts.append((account, opened, booked))
    late, balance = 0, booked
    for month in range(opened, LAST + 1):
        if month > opened:
            late = max(0, late + int(random.choice([-30, 0, 31], p=[0.35, 0.3, 0.35])))
            balance = round(max(0.0, balance * float(random.uniform(0.85, 1.0))), 2)
        if late == 0 and random.random() < 0.03:
            break  # paid off
        if random.random() > 0.02:  # a month that nobody recorded
            months.append((account, month, late, balance))

book = pd.DataFrame(accounts, columns=["account", "opened", "booked"])
rows = pd.DataFrame(months, columns=["account", "month", "days", "balance"]).merge(book, on="account")

first = rows[rows.days >= 30].sort_values("month").groupby("account").first().reset_index()
first["mob"] = first.month - first.opened
cells = pd.MultiIndex.from_product([sorted(book.opened.unique()), range(LAST + 1)], names=["opened", "mob"])
by = first.groupby(["opened", "mob"])
vintages = pd.DataFrame({"accounts": by.size(), "balance": by.balance.sum()}).reindex(cells, fill_value=0)
vintages = vintages.groupby("opened").cumsum().reset_index()
vintages = vintages[vintages.opened + vintages.mob <= LAST]
booked = book.groupby("opened").agg(accounts=("account", "size"), booked=("booked", "sum"))

limits = [1, 30, 60, 90]
rows["bucket"] = np.digitize(rows.days, limits)
later = rows[["account", "month", "bucket"]].assign(month=rows.month - 1)
moves = rows[rows.month < LAST].merge(later, on=["account", "month"], how="left", suffixes=("", "_next"))
moves["bucket_next"] = moves.bucket_next.fillna(len(limits) + 1).astype(int)
square = dict(index=range(len(limits) + 1), columns=range(len(limits) + 2), fill_value=0)
count = pd.crosstab(moves.bucket, moves.bucket_next).reindex(**square)
owed = moves.pivot_table(index="bucket", columns="bucket_next", values="balance", aggfunc="sum").reindex(**square).fillna(0)

print(json.dumps({
    "accounts": accounts,
    "months": months,
    "vintages": [
        {"opened": int(opened), "accounts": int(booked.accounts[opened]), "booked": float(booked.booked[opened]),
         "bad_accounts": [int(n) for n in of.accounts], "bad_balance": [float(x) for x in of.balance]}
        for opened, of in vintages.groupby("opened")
    ],
    "limits": limits,
    "moved": count.values.tolist(),
    "moved_balance": owed.values.tolist(),
}))
