//! Drift of live rows against a reference profile.

use std::sync::Arc;

use proptest::prelude::*;
use riskcycle::dataset::Dataset;
use riskcycle::drift::{
    ColumnDrift, DriftConfig, DriftReport, DriftWindow, Effect, ProfileConfig, ReferenceProfile,
};
use riskcycle::ndarray::Array2;
use riskcycle::seed::stable_hash;
use riskcycle::{Error, FeatureSchema, Result, Timestamp, days};

/// Number `i` of the stream `seed`, uniform in 0..1.
fn uniform(seed: u64, i: u64) -> f64 {
    (stable_hash(&i.to_le_bytes(), seed) >> 11) as f64 / (1u64 << 53) as f64
}

fn bell(seed: u64, i: u64) -> f64 {
    (0..12).map(|k| uniform(seed, 12 * i + k)).sum::<f64>() - 6.0
}

const NAMES: [&str; 4] = ["amount", "age", "channel", "flag"];

/// A row of the world: a long-tailed amount, a normal age with 5 % missing, one of four channels, a rare flag.
fn row(seed: u64, i: u64) -> [f64; 4] {
    let u = uniform(seed, i);
    let age = if uniform(seed + 1, i) < 0.05 { f64::NAN } else { 40.0 + 10.0 * bell(seed + 2, i) };
    let channel = (uniform(seed + 3, i) * 4.0).floor() + 1.0;
    [100.0 * u / (1.0 - u), age, channel, f64::from(uniform(seed + 4, i) < 0.02)]
}

fn score(row: &[f64; 4]) -> f64 {
    (row[0] / (row[0] + 500.0)).clamp(0.0, 1.0)
}

fn dataset(seed: u64, n: u64) -> (Dataset, Vec<f64>) {
    let rows: Vec<[f64; 4]> = (0..n).map(|i| row(seed, i)).collect();
    let features = Array2::from_shape_fn((rows.len(), 4), |(r, c)| rows[r][c]);
    let labels = (0..n).map(|i| uniform(seed + 9, i) < 0.01).collect();
    let data = Dataset::new(FeatureSchema::new(NAMES).unwrap(), features, labels).unwrap();
    (data, rows.iter().map(score).collect())
}

fn config() -> ProfileConfig {
    ProfileConfig { categorical: vec!["channel".into()], ..ProfileConfig::default() }
}

fn profile(n: u64) -> ReferenceProfile {
    let (data, scores) = dataset(100, n);
    ReferenceProfile::new(&data, &scores, &config()).unwrap()
}

fn window(profile: &ReferenceProfile) -> DriftWindow {
    DriftWindow::new(Arc::new(profile.clone()), DriftConfig::default()).unwrap()
}

fn finish(window: &DriftWindow) -> DriftReport {
    let from = Timestamp::from_date(2024, 1, 1);
    window.finish(from, from.plus(days(1))).unwrap()
}

/// A report on `n` live rows that `change` has passed over.
fn report(
    profile: &ReferenceProfile,
    seed: u64,
    n: u64,
    change: impl Fn(&mut [f64; 4]),
) -> DriftReport {
    let window = window(profile);
    for i in 0..n {
        let mut row = row(seed, i);
        change(&mut row);
        window.observe_row(&row, None).unwrap();
        window.observe_score(Some(score(&row)), None).unwrap();
    }
    finish(&window)
}

fn column<'a>(report: &'a DriftReport, name: &str) -> &'a ColumnDrift {
    report.features.iter().find(|column| column.column == name).unwrap()
}

fn drifted(report: &DriftReport) -> Vec<&str> {
    report.drifted().map(|column| column.column.as_str()).collect()
}

#[test]
fn the_same_world_does_not_drift_and_a_changed_column_does() {
    let profile = profile(20_000);
    assert_eq!(drifted(&report(&profile, 500, 5000, |_| {})), [] as [&str; 0]);
    let dearer = report(&profile, 500, 5000, |row| row[0] *= 3.0);
    assert_eq!(drifted(&dearer), ["score", "amount"]);
    let amount = column(&dearer, "amount");
    // A decile PSI of a log-logistic amount three times as high is 0.4126 (numpy, floors instead of half rows).
    assert!((amount.psi - 0.4126).abs() < 0.05, "{}", amount.psi);
    assert!(amount.psi > amount.critical && amount.q_value < 1e-6);
    // Everything moves up: the Kolmogorov-Smirnov distance of that shift is (√3 − 1) / (√3 + 1) = 0.268.
    assert!((amount.ks - 0.268).abs() < 0.03, "{}", amount.ks);
    assert_eq!(amount.bins[0].bin.split(' ').next(), Some(">"));
    assert!(amount.bins[0].live > 2.0 * amount.bins[0].reference);
    assert!(amount.score_shift > 0.1, "{}", amount.score_shift);
    let missing =
        report(&profile, 500, 5000, |row| row[1] = if row[2] == 1.0 { f64::NAN } else { row[1] });
    assert_eq!(drifted(&missing), ["age"]);
    let age = column(&missing, "age");
    assert!(
        (age.missing_rate - 0.29).abs() < 0.03 && (age.reference_missing_rate - 0.05).abs() < 0.01
    );
    assert_eq!(age.bins[0].bin, "MISSING");
}

#[test]
fn a_difference_must_be_large_and_sure_and_rest_on_rows_enough() {
    let profile = profile(50_000);
    // Sure but small: a tenth of a standard deviation, seen on 50,000 rows.
    let small = report(&profile, 700, 50_000, |row| row[1] += 1.0);
    let age = column(&small, "age");
    assert!(age.q_value < 1e-6 && age.psi < 0.1 && !age.drifted, "{age:?}");
    // Large but chance: a hundred rows, on deciles PSI 0.1 is common there.
    let few = report(&profile, 700, 100, |_| {});
    assert!(few.features.iter().all(|column| !column.drifted), "{:?}", drifted(&few));
    let fewer_needed = DriftConfig { min_rows: 10, ..DriftConfig::default() };
    let window = DriftWindow::new(Arc::new(profile.clone()), fewer_needed).unwrap();
    for i in 0..40 {
        window.observe_row(&row(701, i), None).unwrap();
    }
    let few = finish(&window);
    assert!(few.features.iter().any(|c| c.psi > 0.1), "the size alone would have called it");
    assert_eq!(drifted(&few), [] as [&str; 0]);
}

#[test]
fn windows_of_the_same_world_are_called_drifted_no_more_often_than_stated() {
    let profile = profile(20_000);
    let (mut low_p, mut tests) = (0, 0);
    let mut any = 0;
    for seed in 0..60 {
        let report = report(&profile, 10_000 + 20 * seed, 1000, |_| {});
        any += usize::from(report.drifted().next().is_some());
        for column in &report.features {
            tests += 1;
            low_p += usize::from(column.chi_square.p_value <= 0.05);
        }
    }
    // 240 tests, 12 expected at 5 %, standard deviation 3.4: between 2 and 24 within 3.5 of them.
    assert!((2..=24).contains(&low_p), "{low_p} of {tests}");
    assert_eq!(any, 0, "q and effect together");
}

#[test]
fn codes_and_numbers_the_reference_did_not_have_are_unseen_and_out_of_range() {
    let profile = profile(5000);
    let new = report(&profile, 600, 5000, |row| {
        row[2] = if row[3] == 1.0 { 77.0 } else { row[2] };
        row[1] += if row[3] == 1.0 { 1000.0 } else { 0.0 };
        row[0] = if row[3] == 1.0 { f64::INFINITY } else { row[0] };
    });
    let flagged = 0.02;
    for (name, rate) in [
        ("channel", column(&new, "channel").unseen_rate),
        ("amount", column(&new, "amount").unseen_rate),
    ] {
        assert!((rate - flagged).abs() < 0.006, "{name} {rate}");
    }
    assert_eq!(column(&new, "age").unseen_rate, 0.0);
    assert!((column(&new, "age").outside_rate - flagged).abs() < 0.006);
    let bins: Vec<&str> = column(&new, "channel").bins.iter().map(|bin| bin.bin.as_str()).collect();
    assert_eq!(bins[0], "UNSEEN");
    // Codes are told apart even where they lie side by side; -0 is 0.
    let shuffled =
        report(&profile, 600, 5000, |row| row[2] = if row[2] == 2.0 { 3.0 } else { row[2] });
    assert_eq!(drifted(&shuffled), ["channel"]);
}

#[test]
fn a_segment_that_drifts_is_found_where_the_whole_does_not_show_it() {
    let n = 20_000;
    let (data, scores) = dataset(100, n);
    let segment = |row: &[f64]| Some(if row[2] == 4.0 { 1 } else { 0 });
    let of_row: Vec<Option<usize>> = (0..data.n_rows()).map(|i| segment(data.row(i))).collect();
    let profile =
        ReferenceProfile::segmented(&data, &scores, &config(), &["web", "branch"], &of_row)
            .unwrap();
    assert_eq!((profile.segment("branch"), profile.segment("none")), (Some(1), None));
    let window = DriftWindow::new(Arc::new(profile), DriftConfig::default()).unwrap();
    for i in 0..8000 {
        let mut row = row(900, i);
        let of = segment(&row);
        if of == Some(1) {
            row[1] += 4.0;
        }
        window.observe_row(&row, of).unwrap();
        window.observe_score(Some(score(&row)), of).unwrap();
    }
    let whole = finish(&window);
    assert_eq!(drifted(&whole), [] as [&str; 0]);
    let [web, branch] = &whole.segments[..] else { panic!("{:?}", whole.segments) };
    assert!(!web.is_drifted() && branch.is_drifted());
    assert_eq!((branch.drifted.len(), branch.drifted[0].column.as_str()), (1, "age"));
    assert_eq!(web.n + branch.n, 8000);
    assert!(!whole.mix.as_ref().unwrap().drifted);
    // The mix itself: three times as many rows from the branch, nothing else.
    for i in 0..8000 {
        let row = row(950, i);
        let times = if segment(&row) == Some(1) { 3 } else { 1 };
        for _ in 0..times {
            window.observe_row(&row, segment(&row)).unwrap();
        }
    }
    let mixed = finish(&window);
    assert!(mixed.mix.as_ref().unwrap().drifted && mixed.segments.iter().all(|s| !s.is_drifted()));
    assert!(matches!(window.observe_row(&row(1, 1), Some(2)), Err(Error::InvalidInput { .. })));
}

#[test]
fn a_changed_rate_of_bad_rows_is_told_apart_from_chance() {
    let profile = profile(50_000);
    let rate = |p: f64, n: u64| {
        let window = window(&profile);
        window.observe_row(&row(1, 1), None).unwrap();
        (0..n).for_each(|i| window.observe_label(uniform(77, i) < p, None).unwrap());
        finish(&window).bad_rate.unwrap()
    };
    assert!(!rate(0.01, 20_000).drifted);
    let doubled = rate(0.02, 20_000);
    assert!(
        doubled.drifted && doubled.q_value < 1e-6 && (doubled.live - 0.02).abs() < 0.003,
        "{doubled:?}"
    );
    assert!(!rate(0.0105, 20_000).drifted, "a twentieth more is tolerated");
    let window = window(&profile);
    window.observe_row(&row(1, 1), None).unwrap();
    assert_eq!(finish(&window).bad_rate, None);
}

#[test]
fn features_are_ranked_by_what_they_do_to_the_model() {
    let profile = profile(20_000);
    let changed = report(&profile, 500, 5000, |row| {
        row[0] *= 1.8;
        row[1] += 20.0;
    });
    let names = |importance: Option<&[f64]>| -> Vec<String> {
        let parts = changed.attribution(Effect::Psi, importance).unwrap();
        assert!((parts.iter().map(|part| part.weight).sum::<f64>() - 1.0).abs() < 1e-12);
        parts.into_iter().take(2).map(|part| part.feature).collect()
    };
    assert_eq!(names(None), ["age", "amount"]);
    assert_eq!(names(Some(&[1.0, 0.0, 0.0, 0.0])), ["amount", "age"]);
    assert!(changed.attribution(Effect::Psi, Some(&[1.0])).is_err());
    assert!(changed.attribution(Effect::Psi, Some(&[1.0, f64::NAN, 0.0, 0.0])).is_err());
    // Only the amount goes into the score; its shift alone is nearly the score's own.
    let shift = |name: &str| column(&changed, name).score_shift;
    let score = changed.score.as_ref().unwrap().score_shift;
    assert!((shift("amount") - score).abs() < 0.02 && shift("age").abs() < 0.02, "{score}");
}

#[test]
fn every_measure_of_effect_agrees_on_a_plain_shift() {
    let profile = profile(20_000);
    let shifted = report(&profile, 500, 20_000, |row| row[1] += 10.0);
    let age = column(&shifted, "age");
    for effect in [
        Effect::Psi,
        Effect::JensenShannon,
        Effect::Hellinger,
        Effect::CramersV,
        Effect::Ks,
        Effect::Wasserstein,
    ] {
        assert!(age.effect(effect) > 0.2, "{effect:?}");
        assert!(column(&shifted, "flag").effect(effect) < 0.05, "{effect:?}");
    }
    // One standard deviation is 0.741 interquartile ranges of a normal; the outer deciles hide a little of it.
    let wasserstein = age.wasserstein.unwrap();
    assert!((0.55..0.8).contains(&wasserstein), "{wasserstein}");
    assert_eq!(column(&shifted, "channel").wasserstein, None);
}

#[test]
fn findings_name_what_rules_look_at() {
    let profile = profile(1000);
    let report = report(&profile, 500, 1000, |_| {});
    let metrics: Vec<String> =
        report.findings(None).into_iter().map(|f| f.metric.to_string()).collect();
    let psi: Vec<&String> = metrics.iter().filter(|m| m.starts_with("psi/")).collect();
    assert_eq!(psi, ["psi/score", "psi/amount", "psi/age", "psi/channel", "psi/flag", "psi/*"]);
    assert!(metrics.contains(&"missing_rate/age".to_owned()));
    assert!(metrics.contains(&"drifted_features".to_owned()));
}

#[test]
fn what_cannot_be_profiled_or_counted_is_refused() {
    let (data, scores) = dataset(100, 50);
    assert!(ReferenceProfile::new(&data, &scores[1..], &config()).is_err());
    let bad = |config: ProfileConfig| ReferenceProfile::new(&data, &scores, &config).unwrap_err();
    assert!(matches!(bad(ProfileConfig { n_bins: 0, ..config() }), Error::InvalidConfig { .. }));
    assert!(bad(ProfileConfig { categorical: vec!["chanel".into()], ..config() }).is_not_found());
    let segments = |names: &[&str], of: &[Option<usize>]| {
        ReferenceProfile::segmented(&data, &scores, &config(), names, of).is_err()
    };
    assert!(segments(&["a", "a"], &[None; 50]) && segments(&["a"], &[None; 49]));
    assert!(segments(&["a"], &[Some(1); 50]) && segments(&[""], &[None; 50]));
    let profile = profile(50);
    assert!(
        DriftWindow::new(
            Arc::new(profile.clone()),
            DriftConfig { max_q: 1.5, ..DriftConfig::default() }
        )
        .is_err()
    );
    let window = window(&profile);
    assert!(matches!(window.observe_row(&[1.0], None), Err(Error::SchemaMismatch { .. })));
    assert_eq!(window.finish(Timestamp::default(), Timestamp::default()), None);
    // A constant column, a column without any value, and rows without a score make a profile that works.
    let data = Dataset::new(
        FeatureSchema::new(["same", "none"]).unwrap(),
        Array2::from_shape_fn((300, 2), |(_, c)| if c == 0 { 1.0 } else { f64::NAN }),
        vec![false; 300],
    )
    .unwrap();
    let profile =
        ReferenceProfile::new(&data, &[f64::NAN; 300], &ProfileConfig::default()).unwrap();
    let window = DriftWindow::new(Arc::new(profile), DriftConfig::default()).unwrap();
    for _ in 0..300 {
        let gaps = window.observe_row(&[2.0, f64::NAN], None).unwrap();
        assert_eq!((gaps.missing, gaps.unseen), (1, 1));
    }
    window.observe_score(None, None).unwrap();
    let report = finish(&window);
    let moved = &report.features[0];
    assert_eq!(
        (moved.unseen_rate, moved.outside_rate),
        (1.0, 1.0),
        "it stood still, and now it moves"
    );
    assert!(moved.psi > 5.0 && moved.drifted, "{moved:?}");
    assert_eq!((report.features[1].psi, report.features[1].missing_rate), (0.0, 1.0));
}

#[test]
fn threads_and_order_make_no_difference() {
    let profile = profile(5000);
    let rows: Vec<[f64; 4]> = (0..4000).map(|i| row(31, i)).collect();
    let one = window(&profile);
    for row in rows.iter().rev() {
        one.observe_row(row, None).unwrap();
    }
    let many = window(&profile);
    std::thread::scope(|scope| {
        for part in rows.chunks(500) {
            let many = &many;
            scope.spawn(move || {
                for row in part {
                    many.observe_row(row, None).unwrap();
                }
            });
        }
    });
    assert_eq!(finish(&one), finish(&many));
    assert!(one.memory() > 0);
}

fn round_trip(profile: &ReferenceProfile) -> Result<()> {
    let bytes = profile.to_bytes();
    let back = ReferenceProfile::from_bytes(&bytes)?;
    assert_eq!(&back, profile);
    assert_eq!(back.to_bytes(), bytes);
    Ok(())
}

#[test]
fn a_profile_comes_back_from_its_bytes_and_hostile_bytes_are_refused() {
    let (data, scores) = dataset(100, 300);
    let of_row: Vec<Option<usize>> = (0..300).map(|i| (i % 3 != 0).then_some(i % 2)).collect();
    let profile =
        ReferenceProfile::segmented(&data, &scores, &config(), &["a", "b"], &of_row).unwrap();
    round_trip(&profile).unwrap();
    round_trip(&self::profile(40)).unwrap();
    let bytes = profile.to_bytes();
    for cut in 0..bytes.len() {
        assert!(matches!(ReferenceProfile::from_bytes(&bytes[..cut]), Err(Error::Corrupt { .. })));
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x41;
        assert!(ReferenceProfile::from_bytes(&changed).is_err(), "byte {at}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(ReferenceProfile::from_bytes(&longer).is_err());
    // A checksum can be made to fit: sizes and sums are checked all the same, and nothing is allocated that is not there.
    for at in 8..bytes.len() - 4 {
        for value in [0x00, 0x7f, 0xff] {
            let mut forged = bytes.clone();
            forged[at] = value;
            let body = forged.len() - 4;
            let sum = crc32(&forged[..body]);
            forged[body..].copy_from_slice(&sum.to_le_bytes());
            if let Ok(forged) = ReferenceProfile::from_bytes(&forged) {
                // What is left are numbers that might be true; they must still work.
                let window = window(&forged);
                window.observe_row(&row(1, 1), None).unwrap();
                finish(&window);
            }
        }
    }
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

#[test]
fn rows_that_move_together_are_told_from_the_reference_by_a_kernel() {
    use riskcycle::Seed;
    use riskcycle::drift::kernel_drift;

    let two = |seed: u64| {
        let (data, scores) = dataset(seed, 3000);
        (data.select_columns(&[0, 1]).unwrap(), scores)
    };
    let (reference, scores) = two(100);
    let config = ProfileConfig::default();
    let profile = ReferenceProfile::new(&reference, &scores, &config).unwrap();
    let run = |live: &Dataset, seed| {
        kernel_drift(&profile, &reference, live, 150, 49, Seed(seed)).unwrap()
    };
    let (same, _) = two(5000);
    // Of ten p-values under no change, fewer than 0.06 each with chance 0.06: four of them with chance 0.002.
    let low = (0..10).filter(|seed| run(&same, *seed).p_value < 0.06).count();
    assert!(low < 4, "{low}");
    // Every column as before, amount and age no longer independent: only together they show it.
    let mut values = same.features().to_owned();
    let mut ages: Vec<f64> = values.column(1).to_vec();
    let mut amounts: Vec<f64> = values.column(0).to_vec();
    ages.sort_by(f64::total_cmp);
    amounts.sort_by(f64::total_cmp);
    values.column_mut(0).iter_mut().zip(&amounts).for_each(|(value, amount)| *value = *amount);
    values.column_mut(1).iter_mut().zip(&ages).for_each(|(value, age)| *value = *age);
    let moved = Dataset::new(same.schema().clone(), values, same.labels().to_vec()).unwrap();
    let found = run(&moved, 1);
    assert!(found.p_value == 0.02 && found.mmd.unbiased > 0.0 && found.n == 150, "{found:?}");
    assert_eq!(run(&moved, 1), found, "the same seed gives the same answer");
    assert!(kernel_drift(&profile, &reference, &moved, 10, 9, Seed(1)).is_err());
    assert!(kernel_drift(&profile, &reference, &moved, 100, 0, Seed(1)).is_err());
}

#[cfg(feature = "linfa")]
#[test]
fn a_model_tells_live_rows_from_the_reference_only_where_there_is_a_difference() {
    use riskcycle::Seed;
    use riskcycle::drift::domain_drift;
    use riskcycle::model::LogisticRegression;

    let (reference, scores) = dataset(100, 4000);
    let profile = ReferenceProfile::new(&reference, &scores, &config()).unwrap();
    let (live, _) = dataset(4000, 4000);
    let run = |live: &Dataset| {
        domain_drift(&profile, &reference, live, &LogisticRegression::default(), Seed(5)).unwrap()
    };
    let same = run(&live);
    // The standard error of the area is √(n / 12 / (n/2)²) = 0.0091 for some 4,000 rows; four of them.
    assert!((same.auc - 0.5).abs() < 0.037 && same.p_value > 1e-4, "{same:?}");
    let mut values = live.features().to_owned();
    values.column_mut(1).mapv_inplace(|age| age + 8.0);
    values.column_mut(2).mapv_inplace(|channel| if channel == 4.0 { 9.0 } else { channel });
    let moved = Dataset::new(live.schema().clone(), values, live.labels().to_vec()).unwrap();
    let moved = run(&moved);
    assert!(moved.auc > 0.7 && moved.p_value < 1e-20 && moved.drift > 0.4, "{moved:?}");
    let first: Vec<&str> = moved.features[..2].iter().map(|(name, _)| name.as_str()).collect();
    assert!(first.contains(&"age") && first.contains(&"channel"), "{first:?}");
    let few = live.select_columns(&[0, 1, 2, 3]).unwrap();
    assert_eq!(run(&few), same, "the same seed and rows give the same answer");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_at_all_make_a_profile_and_a_report(
        reference in prop::collection::vec(prop_oneof![3 => -5.0..5.0f64, 1 => Just(0.0), 1 => prop::num::f64::ANY], 1..80),
        live in prop::collection::vec(prop_oneof![3 => -5.0..5.0f64, 1 => prop::num::f64::ANY], 1..80),
        categorical in any::<bool>(),
        n_bins in 1..20usize,
    ) {
        let n = reference.len();
        let data = Dataset::new(
            FeatureSchema::new(["x"]).unwrap(),
            Array2::from_shape_vec((n, 1), reference.clone()).unwrap(),
            vec![false; n],
        ).unwrap();
        let categorical = if categorical { vec!["x".to_owned()] } else { Vec::new() };
        let config = ProfileConfig { n_bins, categorical, max_categories: 5 };
        let profile = ReferenceProfile::new(&data, &reference, &config).unwrap();
        let bytes = profile.to_bytes();
        prop_assert_eq!(&ReferenceProfile::from_bytes(&bytes).unwrap(), &profile);
        let window = window(&profile);
        for value in &live {
            window.observe_row(&[*value], None).unwrap();
            window.observe_score(Some(*value), None).unwrap();
        }
        let report = finish(&window);
        for column in report.features.iter().chain(&report.score) {
            prop_assert_eq!(column.n, live.len() as u64);
            prop_assert!(column.psi.is_finite() && column.psi >= 0.0);
            for share in [column.jensen_shannon, column.hellinger, column.ks, column.missing_rate, column.unseen_rate, column.q_value] {
                prop_assert!((0.0..=1.0).contains(&share));
            }
            prop_assert!(column.score_shift.is_finite());
        }
    }
}
