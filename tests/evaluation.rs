//! Metrics against scikit-learn and scipy (tests/data), and properties that hold for any scores.

use proptest::prelude::*;
use riskcycle::dataset::Dataset;
use riskcycle::evaluate::{ConfusionMatrix, Costs, Ranking, card_precision};
use riskcycle::ndarray::Array2;
use riskcycle::stats::population_stability_index;
use riskcycle::{EntityKey, Error, FeatureSchema, Timestamp, days};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("data/metrics_golden.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn labels(value: &Value) -> Vec<bool> {
    numbers(value).into_iter().map(|v| v == 1.0).collect()
}

fn close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 1e-12 * theirs.abs().max(1.0)
}

#[test]
fn ranking_metrics_equal_scikit_learn_and_scipy_ties_and_inversions_included() {
    let golden = golden();
    let cases = golden["ranking"].as_object().unwrap();
    assert_eq!(cases.len(), 8);
    for (name, case) in cases {
        let ranking = Ranking::new(&labels(&case["y"]), &numbers(&case["score"])).unwrap();
        let ks = ranking.ks();
        assert!(close(ranking.roc_auc(), case["auc"].as_f64().unwrap()), "{name}");
        let precision = case["average_precision"].as_f64().unwrap();
        assert!(close(ranking.average_precision(), precision), "{name}");
        assert!(close(ks.value, case["ks"].as_f64().unwrap()), "{name}");
        if let Some(at) = case["ks_at"].as_f64() {
            assert_eq!(ks.score, at, "{name}");
        }
    }
}

#[test]
fn the_cost_of_every_threshold_and_the_best_one_equal_the_table() {
    let golden = &golden()["cost"];
    let (y, p, amount) = (labels(&golden["y"]), numbers(&golden["p"]), numbers(&golden["amount"]));
    let costs = Costs {
        alert: golden["investigation_cost_per_alert"].as_f64().unwrap(),
        false_positive: golden["extra_cost_per_false_positive"].as_f64().unwrap(),
        ..Costs::default()
    };
    for step in golden["table_threshold_cost"].as_array().unwrap() {
        let threshold = step[0].as_f64().unwrap_or(f64::INFINITY);
        let outcome = costs.outcome(threshold, &y, &p, &amount).unwrap();
        assert!(close(outcome.total_cost, step[1].as_f64().unwrap()), "{threshold}");
        assert!(close(outcome.cost_without_model, 605.0));
    }
    let best = costs.best_threshold(&y, &p, &amount).unwrap();
    assert_eq!(best, golden["best_threshold"].as_f64().unwrap());
    // At 0.4: four alerts, one of them good; frauds of 500, 100 and 5 caught.
    let outcome = costs.outcome(best, &y, &p, &amount).unwrap();
    assert_eq!((outcome.prevented_loss, outcome.intervention_cost), (605.0, 45.0));
    assert_eq!(outcome.roi, Some((605.0 - 45.0) / 45.0));
    let confusion = ConfusionMatrix::at(best, &y, &p);
    assert_eq!((confusion.true_positives, confusion.false_positives), (3, 1));
    assert_eq!((confusion.precision(), confusion.recall()), (Some(0.75), Some(1.0)));
}

#[test]
fn psi_equals_the_formula_with_half_a_row_in_every_bin() {
    let golden = golden();
    for (name, case) in golden["psi"].as_object().unwrap() {
        let counts = |key: &str| -> Vec<u64> {
            numbers(&case[key]).into_iter().map(|count| count as u64).collect()
        };
        let psi = population_stability_index(&counts("expected"), &counts("actual")).unwrap();
        assert!(close(psi.value, case["laplace_half"].as_f64().unwrap()), "{name}: {psi:?}");
    }
}

/// Rows of (day, card, score, bad).
fn cards(rows: &[(u64, u64, f64, bool)]) -> (Dataset, Vec<f64>) {
    let schema = FeatureSchema::new(["x"]).unwrap();
    let data =
        Dataset::new(schema, Array2::zeros((rows.len(), 1)), rows.iter().map(|r| r.3).collect())
            .and_then(|d| {
                d.with_times(rows.iter().map(|r| Timestamp::default().plus(days(r.0))).collect())
            })
            .and_then(|d| d.with_entities(rows.iter().map(|r| EntityKey(r.1)).collect()))
            .unwrap();
    (data, rows.iter().map(|r| r.2).collect())
}

#[test]
fn card_precision_counts_a_card_once_and_drops_it_when_found() {
    let (data, scores) = cards(&[
        (0, 1, 0.2, true), // card 1 counts with its highest score and its worst label
        (0, 1, 0.9, false),
        (0, 2, 0.8, false),
        (0, 3, 0.8, true), // a tie with card 2, which has the lower key
        (1, 1, 0.9, true), // found yesterday, gone
        (1, 3, 0.5, true),
    ]);
    let precision = card_precision(&data, &scores, 2).unwrap();
    assert_eq!(precision.by_day, [0.5, 0.5]);
    assert_eq!(precision.mean, 0.5);
    assert!(matches!(card_precision(&data, &scores, 0), Err(Error::InvalidConfig { .. })));
    assert!(card_precision(&data, &scores[1..], 2).is_err());
}

proptest! {
    /// By the definitions, pair by pair and cut by cut.
    #[test]
    fn metrics_equal_their_definitions(
        rows in prop::collection::vec((any::<bool>(), 0u8..12), 2..60),
    ) {
        let y: Vec<bool> = rows.iter().map(|row| row.0).collect();
        let s: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
        type Rows<'a> = Vec<&'a (bool, u8)>;
        let (bad, good): (Rows, Rows) = rows.iter().partition(|row| row.0);
        prop_assume!(!bad.is_empty() && !good.is_empty());
        let ranking = Ranking::new(&y, &s).unwrap();
        let mut pairs = 0.0;
        for b in &bad {
            for g in &good {
                pairs += if b.1 > g.1 { 1.0 } else if b.1 == g.1 { 0.5 } else { 0.0 };
            }
        }
        prop_assert!(close(ranking.roc_auc(), pairs / (bad.len() * good.len()) as f64));
        let share = |rows: &[&(bool, u8)], cut: u8| {
            rows.iter().filter(|row| row.1 >= cut).count() as f64 / rows.len() as f64
        };
        let ks = (0..=12).map(|cut| (share(&bad, cut) - share(&good, cut)).abs());
        prop_assert!(close(ranking.ks().value, ks.fold(0.0, f64::max)));
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_no_threshold_is_cheaper_than_the_best(
        rows in prop::collection::vec((any::<bool>(), 0u8..12, 0u16..500), 2..60),
        turn in 0usize..60,
    ) {
        let split = |rows: &[(bool, u8, u16)]| -> (Vec<bool>, Vec<f64>, Vec<f64>) {
            let y = rows.iter().map(|row| row.0).collect();
            let s = rows.iter().map(|row| f64::from(row.1)).collect();
            (y, s, rows.iter().map(|row| f64::from(row.2)).collect())
        };
        let (y, s, a) = split(&rows);
        prop_assume!(y.contains(&true) && y.contains(&false));
        let mut turned = rows.clone();
        turned.rotate_left(turn % rows.len());
        let (y2, s2, a2) = split(&turned);
        let (one, two) = (Ranking::new(&y, &s).unwrap(), Ranking::new(&y2, &s2).unwrap());
        prop_assert_eq!(one.roc_auc(), two.roc_auc());
        prop_assert_eq!(one.average_precision(), two.average_precision());
        let costs = Costs::default();
        let best = costs.best_threshold(&y, &s, &a).unwrap();
        prop_assert_eq!(best, costs.best_threshold(&y2, &s2, &a2).unwrap());
        let at = |t| costs.outcome(t, &y, &s, &a).unwrap().total_cost;
        for cut in 0..=12 {
            prop_assert!(at(best) <= at(f64::from(cut)) + 1e-9);
        }
        prop_assert!(at(best) <= at(f64::INFINITY) + 1e-9);
    }
}
