"""Makes assignment_vectors.json: python assignment_vectors.py > assignment_vectors.json, with the package xxhash 4.1.0.

An independent statement of the assignment, in another language than the one it is tested in.
"""
import json
import struct

import xxhash


def seed(salt, purpose):
    parts = (part.encode() for part in (salt, purpose))
    return xxhash.xxh3_64_intdigest(b"".join(struct.pack("<I", len(p)) + p for p in parts), 0)


def key(unit):
    return xxhash.xxh3_64_intdigest(unit.encode(), 0) if isinstance(unit, str) else unit


def place(salt, purpose, unit, n):
    return (xxhash.xxh3_64_intdigest(struct.pack("<Q", key(unit)), seed(salt, purpose)) * n) >> 64


def main():
    salts = ["card-fraud-1", "é 用户 😀", "a\x1fb", "x" * 300]
    units = [0, 1, 42, 2**32, 2**64 - 1, "", "card:1", "José", "用户-1", "😀", "user-ü", "k" * 16, "k" * 17, "k" * 128, "k" * 129, "k" * 240, "k" * 241]
    rows = []
    for salt in salts:
        for unit in units:
            row = dict(salt=salt, unit=str(key(unit)), text=unit if isinstance(unit, str) else None)
            for purpose in ["arm", "exposure", "layer", "holdout", "let-through"]:
                row[purpose] = place(salt, purpose, unit, 1_000_000)
            row["bucket"] = place(salt, "bucket", unit, 256)
            rows.append(row)
    print(json.dumps(rows, ensure_ascii=False, indent=0))


main()
