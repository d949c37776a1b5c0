//! Scorecards in SQL and JSON: a database gives every row the points that the card does.

use std::path::PathBuf;

use riskcycle::dataset::{CsvLayout, Dataset};
use riskcycle::model::{
    BasePoints, BinningConfig, Orientation, Scorecard, ScorecardConfig, ScorecardTrainer,
    UnseenCategory,
};
use riskcycle::ndarray::Array2;
use riskcycle::{Categories, FeatureKind, FeatureSchema};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use serde_json::Value;

/// Of the German credit data: a number, a flag, and categories with commas, quotes and slashes in them.
fn german_credit() -> Dataset {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/germancredit.csv.gz");
    let schema = |columns: &[(&str, FeatureKind)]| {
        FeatureSchema::with_kinds(columns.iter().cloned()).unwrap()
    };
    let numeric = schema(&[
        ("duration_in_month", FeatureKind::Numeric),
        ("credit_amount", FeatureKind::Numeric),
        ("age_in_years", FeatureKind::Numeric),
    ]);
    let mut layout = CsvLayout::new("creditability", "bad").with_schema(&numeric);
    for name in ["purpose", "credit_history", "status_of_existing_checking_account"] {
        layout.features.push(riskcycle::dataset::CsvFeature::categorical(name));
    }
    layout.read(path).unwrap()
}

/// Ages with a code for unknown, homes with a category that only later rows have, and missing values of both.
fn small() -> Dataset {
    let homes = FeatureKind::Categorical(Categories::new(["own", "rent", "boat"]).unwrap());
    let schema = FeatureSchema::with_kinds([("age", FeatureKind::Numeric), ("home", homes)]);
    let age = |i: usize| match i % 12 {
        0 => f64::NAN,
        1 => -1.0,
        _ => (20 + i % 40) as f64,
    };
    let home = |i: usize| if i.is_multiple_of(11) { f64::NAN } else { (i % 2) as f64 };
    let features = Array2::from_shape_fn((600, 2), |(i, j)| if j == 0 { age(i) } else { home(i) });
    let bad =
        (0..600).map(|i| (i * 37 % 40) as f64 > age(i).max(25.0) - 15.0 + 8.0 * (i % 2) as f64);
    Dataset::new(schema.unwrap(), features, bad.collect()).unwrap()
}

fn card(data: &Dataset, config: ScorecardConfig) -> Scorecard {
    ScorecardTrainer::new(config).unwrap().fit_scorecard(data).unwrap().scorecard
}

/// What a value is in a table: a category is its text.
fn sql_value(value: f64, kind: &FeatureKind) -> Sql {
    match kind {
        _ if value.is_nan() => Sql::Null,
        FeatureKind::Categorical(categories) => {
            Sql::Text(categories.name(value).unwrap().to_owned())
        }
        FeatureKind::Boolean => Sql::Integer(value as i64),
        FeatureKind::Numeric => Sql::Real(value),
    }
}

/// The points of every row as SQLite works them out.
fn points_in_sqlite(card: &Scorecard, data: &Dataset) -> Vec<i64> {
    let database = Connection::open_in_memory().unwrap();
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = data.schema().names().iter().map(quoted).collect();
    let places = vec!["?"; columns.len()].join(", ");
    database.execute(&format!("CREATE TABLE applications ({})", columns.join(", ")), []).unwrap();
    let insert = format!("INSERT INTO applications VALUES ({places})");
    let mut insert = database.prepare(&insert).unwrap();
    for row in 0..data.n_rows() {
        let values = data.row(row).iter().zip(data.schema().kinds());
        let values: Vec<Sql> = values.map(|(value, kind)| sql_value(*value, kind)).collect();
        insert.execute(rusqlite::params_from_iter(values)).unwrap();
    }
    let query = format!("SELECT {} FROM applications ORDER BY rowid", card.to_sql());
    let mut query = database.prepare(&query).unwrap();
    let points = query.query_map([], |row| row.get(0)).unwrap();
    points.map(Result::unwrap).collect()
}

fn assert_same_points(card: &Scorecard, data: &Dataset) {
    let in_sqlite = points_in_sqlite(card, data);
    assert_eq!(in_sqlite.len(), data.n_rows());
    for (row, theirs) in in_sqlite.iter().enumerate() {
        assert_eq!(*theirs, card.points(data.row(row)).unwrap(), "row {row}: {:?}", data.row(row));
    }
}

#[test]
fn a_database_gives_every_applicant_the_points_of_the_card() {
    let data = german_credit();
    for base_points in [BasePoints::Apart, BasePoints::Spread, BasePoints::WorstIsZero] {
        let config =
            ScorecardConfig { min_information_value: 0.0, base_points, ..Default::default() };
        assert_same_points(&card(&data, config), &data);
    }
}

#[test]
fn a_database_treats_missing_special_and_unseen_values_as_the_card_does() {
    let data = small();
    // Every kind of value with every other, edges of bins and infinite ones among them.
    let later = |edges: &[f64]| {
        let mut ages = vec![f64::NAN, -1.0, -1.5, 0.0, f64::INFINITY, f64::NEG_INFINITY, 1e300];
        ages.extend(edges.iter().flat_map(|edge| [edge.next_down(), *edge, edge.next_up()]));
        let homes = [0.0, 1.0, 2.0, f64::NAN];
        let rows: Vec<f64> =
            ages.iter().flat_map(|age| homes.into_iter().flat_map(|home| [*age, home])).collect();
        let n = rows.len() / 2;
        Dataset::from_rows(data.schema().clone(), rows, vec![false; n]).unwrap()
    };
    for unseen in [UnseenCategory::AsMissing, UnseenCategory::Neutral] {
        for orientation in [Orientation::BadOverGood, Orientation::GoodOverBad] {
            let special = vec![-1.0, 0.0];
            let binning = BinningConfig { special, unseen, orientation, ..Default::default() };
            let config =
                ScorecardConfig { binning, min_information_value: 0.0, ..Default::default() };
            let card = card(&data, config);
            assert_eq!(card.characteristics().len(), 2);
            let age = card.characteristics().iter().find(|of| of.binning().feature() == "age");
            assert_same_points(&card, &later(age.unwrap().binning().edges().unwrap()));
            assert_same_points(&card, &data);
        }
    }
}

#[test]
fn names_and_categories_with_quotes_stay_names_and_categories() {
    let kind = FeatureKind::Categorical(Categories::new(["it's", "a \"b\""]).unwrap());
    let schema =
        FeatureSchema::with_kinds([("the \"kind\"; --", kind), ("flag", FeatureKind::Boolean)]);
    let cell = |i: usize, j: usize| ((i / (j + 1)) % 2) as f64;
    let features = Array2::from_shape_fn((400, 2), |(i, j)| cell(i, j));
    let bad = (0..400).map(|i| (i * 37 % 40) as f64 > 20.0 + 8.0 * cell(i, 0) - 9.0 * cell(i, 1));
    let data = Dataset::new(schema.unwrap(), features, bad.collect()).unwrap();
    let config = ScorecardConfig { min_information_value: 0.0, ..Default::default() };
    let card = card(&data, config);
    assert_eq!(card.characteristics().len(), 2);
    assert_same_points(&card, &data);
}

#[test]
fn json_carries_every_bin_of_the_card_to_the_last_bit() {
    let data = small();
    let binning = BinningConfig { special: vec![-1.0], ..Default::default() };
    let config = ScorecardConfig { binning, min_information_value: 0.0, ..Default::default() };
    let card = card(&data, config);
    let json: Value = serde_json::from_str(&card.to_json()).unwrap();
    assert_eq!(json["base_points"], card.base_points());
    for (ours, written) in
        card.characteristics().iter().zip(json["characteristics"].as_array().unwrap())
    {
        let bins = written["bins"].as_array().unwrap();
        assert_eq!(bins.len(), ours.points().len());
        for ((points, bin), written) in ours.points().iter().zip(ours.binning().bins()).zip(bins) {
            assert_eq!(written["points"], *points);
            assert_eq!(
                written["woe"].as_f64().unwrap().to_bits(),
                bin.weight_of_evidence.to_bits()
            );
        }
    }
}
