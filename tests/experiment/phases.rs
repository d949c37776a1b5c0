//! A change of shares: what moves, what is left out, and that evidence goes on.

use std::collections::BTreeMap;

use riskcycle::experiment::{
    AnalysisPlan, EventProcess, Evidence, Experiment, ExperimentStatistics, Inference, Metric,
    Mode, RoutingConfig, SLOTS, Spending, crossing_probability,
};

use crate::world::*;

#[test]
fn after_a_reweight_units_that_moved_are_left_out_and_phases_are_told_apart() {
    let experiment = half();
    let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
    for i in 0..8000u64 {
        if i == 4000 {
            experiment.reweight(&[200_000, 800_000], SLOTS, sign(START)).unwrap();
        }
        let happened = request(&experiment, i, 3000, &|_| 0.05).unwrap();
        statistics.expose(&happened.token);
        statistics.outcome(&happened.token, happened.bad, happened.labelled);
    }
    let report = experiment.report(&statistics, LATE);
    assert_eq!(report.phases.len(), 2);
    assert_eq!(report.phases[1].weights_ppm, [200_000, 800_000]);
    // Binomial(units, 0.3) of some 2,800 units: standard deviation 24.
    assert!(
        report.switchers.abs_diff(3 * statistics.n_units() / 10) < 6 * 25,
        "{}",
        report.switchers
    );
    // The split is held against the shares of each phase.
    assert!(!report.sample_ratio_mismatch, "{:?}", report.sample_ratio);
    let ratio = report.sample_ratio.as_ref().unwrap();
    assert_eq!(ratio.observed.iter().sum::<u64>(), statistics.n_units());
    assert!(ratio.planned[0] > 0.2 && ratio.planned[0] < 0.5, "{:?}", ratio.planned);
    assert_sound(&report);
}

/// Requests 0 to `n`, shares changed to 20/80 from the middle on; the challenger has the lower rate.
fn reweighted(experiment: &Experiment, n: u64) -> impl Iterator<Item = Happened> + '_ {
    (0..n).map(move |i| {
        if i == n / 2 {
            experiment.reweight(&[200_000, 800_000], SLOTS, sign(START)).unwrap();
        }
        request(experiment, i, 6000, &|arm| if arm == 1 { 0.01 } else { 0.03 }).unwrap()
    })
}

#[test]
fn events_count_for_the_phase_and_arm_that_answered_the_first_of_a_unit() {
    let experiment = half();
    let world: Vec<Happened> = reweighted(&experiment, 9000).collect();
    let mut first: BTreeMap<_, (u16, u8)> = BTreeMap::new();
    for happened in world.iter().filter(|happened| happened.bad) {
        let answered = (happened.token.phase(), happened.token.arm());
        first.entry(happened.token.unit()).or_insert(answered);
    }
    let events =
        |phase: u16, arm: u8| first.values().filter(|a| **a == (phase, arm)).count() as u64;
    let process = EventProcess::new(50.0).unwrap();
    let process = process.with_events(0.5, events(0, 0), events(0, 1)).unwrap();
    let process = process.with_events(0.8, events(1, 0), events(1, 1)).unwrap();
    let report = experiment.report(&record(&experiment, &world), LATE);
    let Evidence::AlwaysValid { p_value, interval, .. } = report.comparisons[0].primary.evidence
    else {
        panic!("{report}");
    };
    assert!((p_value / (-process.ln_e()).exp() - 1.0).abs() < 1e-9, "{p_value}");
    assert!(p_value < 0.05 && interval.contains(1.0 / 3.0), "{report}");
}

#[test]
fn evidence_of_a_phase_is_not_forgotten_in_the_next() {
    let experiment = half();
    let n = 9000;
    let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
    let mut last = 1.0;
    for (i, happened) in (0..).zip(reweighted(&experiment, n)) {
        statistics.expose(&happened.token);
        statistics.outcome(&happened.token, happened.bad, happened.labelled);
        if i % 1000 == 999 {
            let now = happened.token.at().plus(riskcycle::days(9));
            let (report, _) = experiment.look(&statistics, sign(now)).unwrap();
            let Evidence::AlwaysValid { p_value, .. } = report.comparisons[0].primary.evidence
            else {
                panic!("{report}");
            };
            assert!(p_value <= last, "at {i}");
            last = p_value;
        }
    }
    let phases: Vec<u16> = experiment.looks().iter().map(|look| look.phase).collect();
    assert_eq!(phases, [0, 0, 0, 0, 1, 1, 1, 1, 1]);
    assert!(last < 0.05, "{last}");
}

#[test]
fn looks_after_a_change_of_shares_spend_only_what_is_left_of_alpha() {
    let spending = Spending::Pocock;
    let plan = AnalysisPlan {
        inference: Inference::GroupSequential { spending },
        ..AnalysisPlan { planned_requests: 10_000, ..AnalysisPlan::new(Metric::BadRate, 1, 10_000) }
    };
    let plan = AnalysisPlan { maturity: riskcycle::days(7), ..plan };
    let routing = RoutingConfig::new("half", &[500_000; 2]);
    let experiment = started(config(routing, Mode::AbTest, plan));
    let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
    let mut bounds = Vec::new();
    for i in 0..9000u64 {
        if i == 6000 {
            experiment.reweight(&[200_000, 800_000], SLOTS, sign(START)).unwrap();
        }
        let happened = request(&experiment, i, 6000, &|_| 0.05).unwrap();
        statistics.expose(&happened.token);
        statistics.outcome(&happened.token, happened.bad, happened.labelled);
        if i % 3000 == 2999 {
            let (report, _) = experiment.look(&statistics, sign(LATE)).unwrap();
            let Evidence::GroupSequential { bound, .. } = report.comparisons[0].primary.evidence
            else {
                panic!("{report}");
            };
            bounds.push((report.information, bound));
        }
    }
    let [(_, _), (before, _), (after, bound)] = bounds[..] else { panic!("three looks") };
    assert!(after > before && after < 1.0, "{before} {after}");
    let spent = spending.spent(after, 0.05) - spending.spent(before, 0.05);
    let chance = crossing_probability(&[after], &[bound], 0.0).unwrap();
    assert!((chance - spent).abs() < 1e-7, "{chance} {spent}");
}

#[test]
fn a_confidence_sequence_on_units_and_a_change_of_shares_refuse_each_other() {
    let plan = AnalysisPlan { inference: Inference::ConfidenceSequence, ..plan() };
    let routing = RoutingConfig::new("half", &[500_000; 2]);
    let experiment = started(config(routing, Mode::AbTest, plan));
    let error = experiment.reweight(&[200_000, 800_000], SLOTS, sign(START)).unwrap_err();
    assert!(error.to_string().contains("plan the event process"), "{error}");
    assert_eq!(experiment.router().allocations().len(), 1);
}

#[test]
fn a_split_that_breaks_in_one_phase_is_a_mismatch() {
    let experiment = half();
    let world: Vec<Happened> = reweighted(&experiment, 9000).collect();
    // From the change of shares on, a third of the champion's new units get lost.
    let lost = |h: &Happened| {
        h.token.phase() == 1 && h.token.arm() == 0 && h.token.unit().0.is_multiple_of(3)
    };
    let seen: std::collections::BTreeSet<_> =
        world.iter().filter(|h| h.token.phase() == 0).map(|h| h.token.unit()).collect();
    let kept: Vec<Happened> =
        world.into_iter().filter(|h| seen.contains(&h.token.unit()) || !lost(h)).collect();
    let ratio = experiment.report(&record(&experiment, &kept), LATE).sample_ratio.unwrap();
    assert!(ratio.p_value < 0.01, "{ratio:?}");
}
