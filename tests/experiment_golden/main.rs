//! Tests, intervals, areas and evidence against numbers from trusted peers, file by file; how they were made:
//! tests/data/README.md. Each test walks its file whole: a number that no check asks for fails it, unless it is declined
//! by name with the reason why riskcycle has no such thing. The file of special functions is walked by the unit tests of
//! `stats::special`.

mod areas;
mod claims;
mod fixed_horizon;
mod misc;
mod sequential;

use claims::Golden;

#[test]
fn hashes_are_those_of_xxh3() {
    let file = Golden::new(include_str!("../data/experiments/hash_vectors.json"));
    for row in file.section("raw_hashes").rows() {
        // "x*128" stands for as many of them.
        let input = row.get("input").text();
        let times = input.strip_prefix("x*").map(|times| "x".repeat(times.parse().unwrap()));
        let input = times.as_deref().unwrap_or(input);
        let check = |key: &str, seed: u64| {
            let expected: u64 = row.get(key).text().parse().unwrap();
            assert_eq!(riskcycle::seed::stable_hash(input.as_bytes(), seed), expected, "{input}");
        };
        assert_eq!(row.count("utf8_len"), input.len() as u64);
        check("xxh3_64_seed0", 0);
        check("xxh3_64_seed42", 42);
        check("xxh3_64_seed_max", u64::MAX);
    }
    // The multiply-shift onto places, with any integer hash.
    for row in file.section("proposed_bucketing").rows() {
        let (salt, key) = (row.get("salt").text(), row.get("key").text());
        let seed = riskcycle::seed::stable_hash(salt.as_bytes(), 0);
        assert_eq!(row.get("seed").text().parse(), Ok(seed));
        let hash = riskcycle::seed::stable_hash(key.as_bytes(), seed);
        let slot = (u128::from(hash) * u128::from(row.count("slots"))) >> 64;
        assert_eq!(u64::try_from(slot), Ok(row.count("slot")));
    }
    const OTHERS: &str = "another library's hash or assignment, which riskcycle does not use";
    file.finish(&[
        ("/_meta", "prose"),
        ("/raw_hashes/fnv1a32", OTHERS),
        ("/raw_hashes/fnv1a64", OTHERS),
        ("/raw_hashes/murmur3_x86_32_seed0", OTHERS),
        ("/raw_hashes/murmur3_x86_32_seed42", OTHERS),
        ("/raw_hashes/murmur3_x64_128_seed0_lo64", OTHERS),
        ("/raw_hashes/murmur3_x64_128_seed0_hi64", OTHERS),
        ("/raw_hashes/xxh32_seed0", OTHERS),
        ("/raw_hashes/xxh64_seed0", OTHERS),
        ("/raw_hashes/xxh3_128_seed0", OTHERS),
        ("/growthbook_hash", OTHERS),
        ("/growthbook_bucket_ranges", OTHERS),
        ("/growthbook_choose_variation", OTHERS),
        ("/growthbook_namespace", OTHERS),
        ("/growthbook_utf16_vs_utf8_divergence", OTHERS),
        ("/unleash_normalized", OTHERS),
        ("/spotify_confidence", OTHERS),
        ("/flagd_multiply_shift", OTHERS),
        (
            "/two_stage_same_seed_demo",
            "what a seed shared between purposes does; ours have one each",
        ),
    ]);
}
