//! Data sets: splits that keep apart what must be apart, and CSV files read by column.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use proptest::prelude::*;
use riskcycle::dataset::{CsvFeature, CsvLayout, Dataset, FoldPlan, SplitRows, TimeSplit};
use riskcycle::ndarray::Array2;
use riskcycle::{EntityKey, Error, FeatureKind, FeatureSchema, Seed, Timestamp, days};

/// One row per (entity, bad), an hour apart.
fn data(rows: &[(u64, bool)]) -> Dataset {
    let features = Array2::from_shape_fn((rows.len(), 1), |(row, _)| row as f64);
    let hour = |row: usize| Timestamp::from_seconds(3600 * row as i64);
    Dataset::new(FeatureSchema::new(["x"]).unwrap(), features, rows.iter().map(|r| r.1).collect())
        .and_then(|data| data.with_times((0..rows.len()).map(hour).collect()))
        .and_then(|data| data.with_entities(rows.iter().map(|r| EntityKey(r.0)).collect()))
        .unwrap()
}

fn every_row_is_tested_once(folds: &[SplitRows], n_rows: usize) -> bool {
    let mut tested: Vec<usize> = folds.iter().flat_map(|fold| fold.test.clone()).collect();
    tested.sort_unstable();
    let complete = |fold: &SplitRows| {
        let mut rows = [&fold.train[..], &fold.test].concat();
        rows.sort_unstable();
        rows == (0..n_rows).collect::<Vec<_>>() && fold.train.is_sorted() && fold.test.is_sorted()
    };
    tested == (0..n_rows).collect::<Vec<_>>() && folds.iter().all(complete)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn stratified_folds_share_rows_and_labels_evenly(
        labels in prop::collection::vec(any::<bool>(), 10..80),
        folds in 2usize..5,
        seed in any::<u64>(),
    ) {
        let rows: Vec<(u64, bool)> = labels.iter().map(|&bad| (0, bad)).collect();
        let data = data(&rows);
        prop_assume!(data.n_bad() >= folds && data.n_rows() - data.n_bad() >= folds);
        let plan = FoldPlan::Stratified { folds };
        let dealt = plan.split(&data, Seed(seed)).unwrap();
        prop_assert!(every_row_is_tested_once(&dealt, data.n_rows()));
        let sizes: Vec<usize> = dealt.iter().map(|fold| fold.test.len()).collect();
        let bad = |fold: &SplitRows| fold.test.iter().filter(|&&row| labels[row]).count();
        let bads: Vec<usize> = dealt.iter().map(bad).collect();
        for counts in [sizes, bads] {
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
        }
        prop_assert_eq!(&dealt, &plan.split(&data, Seed(seed)).unwrap());
    }

    #[test]
    fn no_entity_is_on_both_sides_of_a_grouped_split(
        rows in prop::collection::vec((0u64..20, any::<bool>()), 30..120),
        folds in 2usize..5,
        seed in any::<u64>(),
    ) {
        let data = data(&rows);
        let keys: BTreeSet<u64> = rows.iter().map(|row| row.0).collect();
        prop_assume!(keys.len() >= folds);
        let mut splits = FoldPlan::Grouped { folds }.split(&data, Seed(seed)).unwrap();
        prop_assert!(every_row_is_tested_once(&splits, rows.len()));
        splits.push(SplitRows::grouped(&data, 0.4, Seed(seed)).unwrap());
        for split in splits {
            let keys = |side: &[usize]| side.iter().map(|&row| rows[row].0).collect::<BTreeSet<_>>();
            prop_assert!(keys(&split.train).is_disjoint(&keys(&split.test)));
        }
    }

    #[test]
    fn a_time_split_never_trains_on_what_comes_after_its_gap(
        n in 20usize..200, start in 0u64..3, train in 1u64..4, gap in 0u64..3, test in 1u64..3,
    ) {
        let data = data(&vec![(0, false); n]);
        let split = TimeSplit {
            start: Timestamp::default().plus(days(start)),
            train: days(train),
            gap: days(gap),
            test: days(test),
        };
        if let Ok(rows) = split.rows_of(&data) {
            let times = data.times().unwrap();
            let latest = rows.train.iter().map(|&row| times[row]).max().unwrap();
            let earliest = rows.test.iter().map(|&row| times[row]).min().unwrap();
            prop_assert!(latest.plus(days(gap)) < earliest);
        }
    }
}

#[test]
fn a_stratified_holdout_has_the_share_asked_for_of_each_label() {
    let data = data(&(0..100).map(|i| (i, i % 5 == 0)).collect::<Vec<_>>());
    let split = SplitRows::stratified(&data, 0.3, Seed(1)).unwrap();
    let bad = |rows: &[usize]| rows.iter().filter(|&&row| data.labels()[row]).count();
    assert_eq!((split.test.len(), bad(&split.test)), (30, 6));
    assert_eq!((split.train.len(), bad(&split.train)), (70, 14));
    assert_ne!(split, SplitRows::stratified(&data, 0.3, Seed(2)).unwrap());
}

#[test]
fn prequential_folds_test_later_and_later() {
    let data = data(&vec![(0, false); 24 * 12]);
    let last = TimeSplit {
        start: Timestamp::default().plus(days(6)),
        train: days(2),
        gap: days(1),
        test: days(2),
    };
    let folds = FoldPlan::Prequential { last, folds: 3 }.split(&data, Seed(1)).unwrap();
    let firsts: Vec<usize> = folds.iter().map(|fold| fold.test[0] / 24).collect();
    assert_eq!(firsts, [5, 7, 9]);
    assert!(folds.iter().all(|fold| fold.train.len() == 48 && fold.test.len() == 48));
}

#[test]
fn folds_that_cannot_be_are_refused() {
    let few = data(&[(1, true), (1, false), (1, false), (1, true)]);
    for folds in [0, 1, 3] {
        let plan = FoldPlan::Stratified { folds };
        assert!(matches!(plan.split(&few, Seed(1)), Err(Error::InvalidConfig { .. })));
    }
    assert!(FoldPlan::Grouped { folds: 2 }.split(&few, Seed(1)).is_err());
    assert!(matches!(SplitRows::grouped(&few, 0.5, Seed(1)), Err(Error::Empty { .. })));
    assert!(SplitRows::stratified(&few, 1.0, Seed(1)).is_err());
    assert!(SplitRows::stratified(&few, f64::NAN, Seed(1)).is_err());
    let one_class = data(&[(1, true), (2, true)]);
    let plan = FoldPlan::Stratified { folds: 2 };
    assert!(matches!(plan.split(&one_class, Seed(1)), Err(Error::OneClass { .. })));
}

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    path
}

const APPLICATIONS: &str = "\
id,opened,months,purpose,owner,amount,outcome
7,60,12,car (new),1,100.5,bad
x9,120,,radio,false,20,good
7,180,24.5,?,,3,good
";

fn layout() -> CsvLayout {
    CsvLayout {
        features: vec![
            CsvFeature::categorical("purpose"),
            CsvFeature::numeric("months"),
            CsvFeature::boolean("owner"),
        ],
        good: Some("good".into()),
        missing: vec!["?".into()],
        time_seconds: Some("opened".into()),
        entity: Some("id".into()),
        amount: Some("amount".into()),
        ..CsvLayout::new("outcome", "bad")
    }
}

#[test]
fn a_csv_file_becomes_a_data_set_plain_or_gzipped() {
    let plain = layout().read(file("applications.csv", APPLICATIONS.as_bytes())).unwrap();
    let text = format!("{:?}", plain.rows());
    assert_eq!(text, "[0.0, 12.0, 1.0, 1.0, NaN, 0.0, NaN, 24.5, NaN]");
    assert_eq!(plain.labels(), [true, false, false]);
    let keys = [EntityKey(7), EntityKey::from("x9"), EntityKey(7)];
    assert_eq!(plain.entities().unwrap(), keys);
    assert_eq!(plain.times().unwrap()[1], Timestamp::from_seconds(120));
    assert_eq!(plain.amounts().unwrap(), [100.5, 20.0, 3.0]);

    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(APPLICATIONS.as_bytes()).unwrap();
    let zipped = layout().read(file("applications.csv.gz", &zipped.finish().unwrap())).unwrap();
    assert_eq!(zipped.fingerprint(), plain.fingerprint());
}

#[test]
fn later_rows_are_read_with_the_categories_of_the_training_data() {
    let train = layout().read(file("train.csv", APPLICATIONS.as_bytes())).unwrap();
    let later =
        "id,opened,months,purpose,owner,amount,outcome\n1,0,1,radio,0,1,good\n2,0,1,boat,0,1,bad\n";
    let later = layout().with_schema(train.schema()).read(file("later.csv", later.as_bytes()));
    let later = later.unwrap();
    train.schema().check(later.schema()).unwrap();
    assert_eq!(later.row(0)[0], 1.0);
    assert!(later.row(1)[0].is_nan(), "a boat is no purpose that training has seen");
    let FeatureKind::Categorical(purposes) = &later.schema().kinds()[0] else { panic!() };
    assert!(purposes.names().eq(["car (new)", "radio"]));
}

#[test]
fn a_row_that_cannot_be_read_is_named() {
    let fails = |from: &str, to: &str| {
        let path = file("wrong.csv", APPLICATIONS.replacen(from, to, 1).as_bytes());
        layout().read(path).unwrap_err().to_string()
    };
    assert!(fails("12,", "twelve,").contains("row 1, column months: \"twelve\" is not a number"));
    assert!(fails("false", "no").contains("row 2, column owner"));
    assert!(fails("bad", "worse").contains("row 1, column outcome: \"worse\" is neither"));
    assert!(fails(",20,", ",,").contains("amounts"));
    assert!(fails("outcome", "result").contains("no column outcome"));
    let empty =
        layout().read(file("empty.csv", b"id,opened,months,purpose,owner,amount,outcome\n"));
    assert!(empty.is_err());
}
