//! Which arm answers: vectors for other languages, what moves and what stays, the state machine.

use std::time::Duration;

use proptest::prelude::*;
use riskcycle::experiment::{
    Allocation, AnalysisPlan, Assignment, AssignmentReason, CanaryStep, Experiment,
    ExperimentConfig, ExperimentEvent, ExperimentState, ExperimentStatistics, Guardrail,
    HashRouter, Holdout, LayerRange, Metric, Mode, RecorderConfig, Router, RoutingConfig, SLOTS,
    StopReason, Verdict,
};
use riskcycle::{AuditEntry, EntityKey, ModelRef, Signature, Timestamp};

const NOW: Timestamp = Timestamp::from_date(2026, 1, 5);

fn half() -> RoutingConfig {
    RoutingConfig::new("half", &[500_000, 500_000])
}

fn route(config: RoutingConfig, unit: EntityKey, request: u64) -> Assignment {
    HashRouter::configured(config).unwrap().route(unit, request, NOW)
}

#[test]
fn another_language_reproduces_every_assignment() {
    let rows: serde_json::Value =
        serde_json::from_str(include_str!("../data/assignment_vectors.json")).unwrap();
    let rows = rows.as_array().unwrap();
    assert!(rows.len() > 60);
    for row in rows {
        let salt = row["salt"].as_str().unwrap();
        let unit = EntityKey(row["unit"].as_str().unwrap().parse().unwrap());
        if let Some(text) = row["text"].as_str() {
            assert_eq!(EntityKey::from(text), unit, "{text}");
        }
        let slot = |purpose: &str| row[purpose].as_u64().unwrap() as u32;
        // Arms: the unit's slot is the middle arm, closed below and open above.
        let arm = slot("arm");
        let router = HashRouter::new(salt, &[arm, 1, SLOTS - 1 - arm]).unwrap();
        assert_eq!(router.slot(unit), arm);
        let assignment = router.route(unit, 1, NOW);
        assert_eq!((assignment.arm, assignment.reason), (1, AssignmentReason::Assigned));
        assert_eq!(u64::from(assignment.bucket), row["bucket"].as_u64().unwrap());

        let config = RoutingConfig::new(salt, &[500_000, 500_000]);
        let reason = |config: RoutingConfig| route(config, unit, 1).reason;
        let exposed = |exposure_ppm| RoutingConfig { exposure_ppm, ..config.clone() };
        assert_eq!(reason(exposed(slot("exposure"))), AssignmentReason::NotExposed);
        assert_eq!(reason(exposed(slot("exposure") + 1)), AssignmentReason::Assigned);
        let held = |share_ppm| {
            let holdout = Some(Holdout { name: salt.into(), share_ppm });
            RoutingConfig { holdout, ..config.clone() }
        };
        assert_eq!(reason(held(slot("holdout"))), AssignmentReason::Assigned);
        assert_eq!(reason(held(slot("holdout") + 1)), AssignmentReason::Holdout);
        let layered = |from, to| {
            let layer = Some(LayerRange { layer: salt.into(), from, to });
            RoutingConfig { layer, ..config.clone() }
        };
        let layer = slot("layer");
        assert_eq!(reason(layered(layer, layer + 1)), AssignmentReason::Assigned);
        assert_eq!(reason(layered(layer + 1, SLOTS)), AssignmentReason::LayerExcluded);
        let through = |let_through_ppm| {
            let config = RoutingConfig { let_through_ppm, ..config.clone() };
            route(config, EntityKey(3), unit.0).let_through
        };
        assert!(!through(slot("let-through")) && through(slot("let-through") + 1));
    }
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(0u32..1000, 2..=5).prop_map(shares)
}

/// Whole shares in proportion to these parts.
fn shares(mut parts: Vec<u32>) -> Vec<u32> {
    parts[0] += 1;
    let total: u32 = parts.iter().sum();
    let mut shares: Vec<u32> =
        parts.iter().map(|p| (u64::from(*p) * 1_000_000 / u64::from(total)) as u32).collect();
    shares[0] += SLOTS - shares.iter().sum::<u32>();
    shares
}

fn three_weights() -> impl Strategy<Value = [Vec<u32>; 3]> {
    (2usize..=5).prop_flat_map(|n| {
        let weights = || proptest::collection::vec(0u32..1000, n).prop_map(shares);
        [weights(), weights(), weights()]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn raising_exposure_adds_units_and_moves_none(
        unit in any::<u64>(), small in 0u32..=1_000_000, more in 0u32..=1_000_000,
    ) {
        let at = |exposure_ppm: u32| {
            let config = RoutingConfig { exposure_ppm, ..half() };
            route(config, EntityKey(unit), 1)
        };
        let (before, after) = (at(small), at(small.saturating_add(more).min(SLOTS)));
        if before.reason == AssignmentReason::Assigned {
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn slots_are_parted_among_arms_exactly_by_their_shares(weights in weights()) {
        let allocation = Allocation::new(&weights).unwrap();
        prop_assert_eq!(allocation.weights_ppm(), weights.clone());
        let mut end = 0;
        for (arm, weight) in weights.iter().enumerate() {
            if *weight > 0 {
                prop_assert_eq!(usize::from(allocation.owner(end).arm), arm);
                prop_assert_eq!(usize::from(allocation.owner(end + weight - 1).arm), arm);
            }
            end += weight;
        }
        prop_assert_eq!(end, SLOTS);
    }

    #[test]
    fn reweighting_moves_as_few_slots_as_can_be_and_composes([one, two, three] in three_weights()) {
        let first = Allocation::new(&one).unwrap();
        let second = first.reweighted(&two).unwrap();
        let third = second.reweighted(&three).unwrap();
        let least = |a: &[u32], b: &[u32]| -> u32 {
            a.iter().zip(b).map(|(a, b)| a.saturating_sub(*b)).sum()
        };
        prop_assert_eq!(second.moved_from(&first), least(&one, &two));
        prop_assert_eq!(third.moved_from(&second), least(&two, &three));
        prop_assert_eq!(second.weights_ppm(), two);
        prop_assert_eq!(third.weights_ppm(), three);
        // What a phase calls moved is what differs from some phase before.
        for slot in (0..SLOTS).step_by(9973) {
            let arms = [&first, &second, &third].map(|phase| phase.owner(slot).arm);
            prop_assert_eq!(third.owner(slot).moved, arms[0] != arms[1] || arms[1] != arms[2]);
        }
    }

    #[test]
    fn experiments_in_disjoint_ranges_of_a_layer_never_share_a_unit_and_a_holdout_joins_none(
        unit in any::<u64>(), cut in 1u32..1_000_000, share_ppm in 0u32..=1_000_000,
    ) {
        let experiment = |salt: &str, from: u32, to: u32| {
            let layer = Some(LayerRange { layer: "scoring".into(), from, to });
            let holdout = Some(Holdout { name: "2026".into(), share_ppm });
            let config = RoutingConfig::new(salt, &[500_000, 500_000]);
            route(RoutingConfig { layer, holdout, ..config }, EntityKey(unit), 1).reason
        };
        let (one, two) = (experiment("one", 0, cut), experiment("two", cut, SLOTS));
        let assigned = |reason| reason == AssignmentReason::Assigned;
        prop_assert!(!(assigned(one) && assigned(two)));
        prop_assert_eq!(one == AssignmentReason::Holdout, two == AssignmentReason::Holdout);
        prop_assert!(assigned(one) || assigned(two) || one == AssignmentReason::Holdout);
    }
}

#[test]
fn layers_that_overlap_are_told() {
    let range = |layer: &str, from, to| LayerRange { layer: layer.into(), from, to };
    assert!(range("a", 0, 10).overlaps(&range("a", 9, 20)));
    assert!(!range("a", 0, 10).overlaps(&range("a", 10, 20)));
    assert!(!range("a", 0, 10).overlaps(&range("b", 0, 10)));
}

#[test]
fn purposes_are_independent_of_each_other() {
    // 20,000 units in a 4 × 4 table of two purposes each: χ² with 15 degrees of freedom stays below 45 with probability
    // 1 − 8e-5, for all fifteen pairs 1 − 1.2e-3; the units are fixed.
    let salt = "independent";
    let quarter = |slot: u32| (slot / 250_000) as usize;
    let n = 20_000u64;
    let places: Vec<[usize; 6]> = (0..n)
        .map(|unit| {
            let unit = EntityKey(unit);
            let reason = |config: RoutingConfig| route(config, unit, 1).reason;
            let base = RoutingConfig::new(salt, &[500_000, 500_000]);
            // The slot of a purpose by where its share begins to hold the unit.
            let exposure = (1..4).filter(|q| {
                let exposure_ppm = q * 250_000;
                let config = RoutingConfig { exposure_ppm, ..base.clone() };
                reason(config) == AssignmentReason::NotExposed
            });
            let holdout = (1..4).filter(|q| {
                let holdout = Some(Holdout { name: salt.into(), share_ppm: q * 250_000 });
                reason(RoutingConfig { holdout, ..base.clone() }) != AssignmentReason::Holdout
            });
            let router = HashRouter::new(salt, &[500_000, 500_000]).unwrap();
            let assignment = router.route(unit, 1, NOW);
            let bucket = usize::from(assignment.bucket) / 64;
            let layer = (1..4).filter(|q| {
                let layer = Some(LayerRange { layer: salt.into(), from: 0, to: q * 250_000 });
                reason(RoutingConfig { layer, ..base.clone() }) == AssignmentReason::LayerExcluded
            });
            let through = (1..4).filter(|q| {
                let let_through_ppm = q * 250_000;
                // Drawn by the request: give it the unit's number.
                let config = RoutingConfig { let_through_ppm, ..base.clone() };
                !route(config, unit, unit.0).let_through
            });
            let arm = quarter(router.slot(unit));
            [arm, exposure.count(), holdout.count(), bucket, layer.count(), through.count()]
        })
        .collect();
    for (i, j) in (0..6).flat_map(|j| (0..j).map(move |i| (i, j))) {
        let mut table = [[0f64; 4]; 4];
        places.iter().for_each(|place| table[place[i]][place[j]] += 1.0);
        let expected = n as f64 / 16.0;
        let chi_squared: f64 =
            table.iter().flatten().map(|count| (count - expected).powi(2) / expected).sum();
        assert!(chi_squared < 45.0, "{i} {j}: {chi_squared}");
    }
}

#[test]
fn overrides_come_before_everything_but_the_switch_and_the_schedule() {
    let config = RoutingConfig {
        exposure_ppm: 0,
        overrides: vec![(EntityKey(9), 1), (EntityKey(3), 0)],
        start: Some(NOW),
        end: Some(NOW.plus(Duration::from_secs(60))),
        ..half()
    };
    let router = HashRouter::configured(config).unwrap();
    let at = |seconds| router.route(EntityKey(9), 1, NOW.plus(Duration::from_secs(seconds)));
    assert_eq!((at(0).arm, at(0).reason), (1, AssignmentReason::Override));
    assert_eq!((at(60).arm, at(60).reason), (0, AssignmentReason::OutsideSchedule));
    let early = router.route(EntityKey(9), 1, NOW.minus(Duration::from_micros(1)));
    assert_eq!((early.arm, early.reason), (0, AssignmentReason::OutsideSchedule));
    assert_eq!(router.route(EntityKey(4), 1, NOW).reason, AssignmentReason::NotExposed);
}

#[test]
fn routing_that_cannot_work_is_refused() {
    let refused = |change: fn(&mut RoutingConfig)| {
        let mut config = half();
        change(&mut config);
        HashRouter::configured(config).unwrap_err().to_string()
    };
    assert!(refused(|c| c.salt.clear()).contains("salt"));
    assert!(refused(|c| c.weights_ppm = vec![1, 2]).contains("add up to 3"));
    assert!(refused(|c| c.weights_ppm = vec![]).contains("0 arms"));
    assert!(refused(|c| c.exposure_ppm = SLOTS + 1).contains("share"));
    assert!(refused(|c| c.overrides = vec![(EntityKey(1), 2)]).contains("override"));
    assert!(
        refused(|c| c.overrides = vec![(EntityKey(1), 1), (EntityKey(1), 0)]).contains("twice")
    );
    assert!(refused(|c| (c.start, c.end) = (Some(NOW), Some(NOW))).contains("ends before"));
    assert!(
        refused(|c| c.layer = Some(LayerRange { layer: "l".into(), from: 5, to: 5 }))
            .contains("layer")
    );
    let json = r#"{"salt": "x", "weights_ppm": [1000000], "exposure": 5}"#;
    assert!(serde_json::from_str::<RoutingConfig>(json).is_err(), "an unknown field");
}

fn version(version: u32) -> ModelRef {
    ModelRef { name: "m".into(), version }
}

fn config() -> ExperimentConfig {
    ExperimentConfig {
        name: "test".into(),
        arms: vec![version(1), version(2)],
        routing: half(),
        mode: Mode::AbTest,
        plan: AnalysisPlan::new(Metric::UnitBadRate, 1000, 10_000),
    }
}

fn sign() -> Signature<'static> {
    Signature::new("anna", "test", NOW)
}

fn experiment() -> Experiment {
    Experiment::new(config(), sign()).unwrap()
}

/// A unit of the challenger.
fn challenged(router: &HashRouter) -> EntityKey {
    (0..).map(EntityKey).find(|unit| router.slot(*unit) >= 500_000).unwrap()
}

#[test]
fn only_a_running_experiment_sends_anybody_to_a_challenger() {
    let experiment = experiment();
    let router = experiment.router();
    let unit = challenged(&router);
    let now = || {
        let assignment = router.route(unit, 1, NOW);
        (assignment.arm, assignment.reason)
    };
    assert_eq!(now(), (0, AssignmentReason::NotRunning));
    experiment.start(sign()).unwrap();
    assert_eq!(now(), (1, AssignmentReason::Assigned));
    experiment.pause(sign()).unwrap();
    assert_eq!(now(), (0, AssignmentReason::Paused));
    experiment.resume(sign()).unwrap();
    assert_eq!(now(), (1, AssignmentReason::Assigned));
    experiment.kill(sign()).unwrap();
    assert_eq!(now(), (0, AssignmentReason::Killed));
    experiment.stop(StopReason::Manual, sign()).unwrap();
    assert_eq!(now(), (0, AssignmentReason::NotRunning));
}

#[test]
fn the_kill_switch_works_whoever_throws_it() {
    let experiment = experiment();
    experiment.start(sign()).unwrap();
    let nobody = Signature::new("", "no time", NOW);
    assert!(experiment.kill(nobody).is_err());
    let router = experiment.router();
    assert_eq!(router.route(challenged(&router), 1, NOW).reason, AssignmentReason::Killed);
    assert_eq!(experiment.state(), ExperimentState::Running); // the trail still wants a name
    experiment.kill(sign()).unwrap();
    assert_eq!(experiment.state(), ExperimentState::Killed);
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Start,
    Pause,
    Resume,
    Kill,
    Stop,
    Decide,
    Raise,
    Reweight,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    use Act::*;
    let act = prop_oneof![
        Just(Start),
        Just(Pause),
        Just(Resume),
        Just(Kill),
        Just(Stop),
        Just(Decide),
        Just(Raise),
        Just(Reweight),
    ];
    proptest::collection::vec(act, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_path_leads_around_the_rules_and_the_trail_restores_each(acts in acts()) {
        let mut config = config();
        config.routing.exposure_ppm = 100_000;
        let experiment = Experiment::new(config.clone(), sign()).unwrap();
        let statistics = ExperimentStatistics::new(&experiment, RecorderConfig { requests: 8, units: 8, days: 8 }).unwrap();
        let mut states = vec![experiment.state()];
        for (i, act) in (1u32..).zip(acts) {
            let before = experiment.state();
            let done = match act {
                Act::Start => experiment.start(sign()),
                Act::Pause => experiment.pause(sign()),
                Act::Resume => experiment.resume(sign()),
                Act::Kill => experiment.kill(sign()),
                Act::Stop => experiment.stop(StopReason::Manual, sign()),
                Act::Decide => experiment.decide(&statistics, sign()).map(drop),
                Act::Raise => experiment.raise_exposure(100_000 + i, sign()),
                Act::Reweight => experiment.reweight(&[i, SLOTS - i], 100_000, sign()),
            };
            let after = experiment.state();
            if done.is_err() {
                prop_assert_eq!(before, after);
            }
            states.push(after);
            // A challenger answers only while it runs.
            let router = experiment.router();
            let challenged = (0..200).any(|unit| router.route(EntityKey(unit), 1, NOW).arm != 0);
            prop_assert!(!challenged || after == ExperimentState::Running);
        }
        if let Some(decided) = states.iter().position(|s| *s == ExperimentState::Decided) {
            prop_assert!(states[..decided].contains(&ExperimentState::Stopped));
            prop_assert!(states[decided..].iter().all(|s| *s == ExperimentState::Decided));
        }
        let trail = experiment.audit();
        AuditEntry::verify(&trail).unwrap();
        let restored = Experiment::restore(config, trail.clone()).unwrap();
        prop_assert_eq!(restored.state(), experiment.state());
        prop_assert_eq!(restored.audit(), trail);
        prop_assert_eq!(restored.verdict(), experiment.verdict());
        for unit in 0..100 {
            let [a, b] = [&restored, &experiment].map(|e| e.router().route(EntityKey(unit), 1, NOW));
            prop_assert_eq!(a, b);
        }
    }
}

#[test]
fn a_trail_that_was_tampered_with_restores_nothing() {
    let experiment = experiment();
    experiment.start(sign()).unwrap();
    experiment.pause(sign()).unwrap();
    let trail = experiment.audit();
    let mut changed = trail.clone();
    changed[1].event = ExperimentEvent::Resumed;
    assert!(Experiment::restore(config(), changed).is_err());
    let other = ExperimentConfig { name: "other".into(), ..config() };
    let error = Experiment::restore(other, trail.clone()).unwrap_err();
    assert!(error.to_string().contains("another configuration"), "{error}");
    assert_eq!(trail[1].to_string().split(": ").nth(1), Some("started"));
}

#[test]
fn reweighting_starts_a_phase_and_marks_who_moved() {
    let experiment = experiment();
    experiment.start(sign()).unwrap();
    let router = experiment.router();
    let before: Vec<Assignment> =
        (0..5000).map(|unit| router.route(EntityKey(unit), 1, NOW)).collect();
    experiment.reweight(&[300_000, 700_000], SLOTS, sign()).unwrap();
    let mut moved = 0;
    for (unit, before) in (0..).zip(before) {
        let after = router.route(EntityKey(unit), 1, NOW);
        assert_eq!((before.phase, after.phase), (0, 1));
        assert_eq!(after.moved, before.arm != after.arm);
        moved += u32::from(after.moved);
    }
    // Binomial(5000, 0.2): standard deviation 28; six of them.
    assert!(moved.abs_diff(1000) < 6 * 28, "{moved}");
    assert!(experiment.reweight(&[300_000, 600_000], SLOTS, sign()).is_err());
    assert!(experiment.raise_exposure(SLOTS, sign()).is_err(), "not above the present");
}

#[test]
fn plans_that_cannot_work_are_refused() {
    let refused = |change: fn(&mut ExperimentConfig)| {
        let mut config = config();
        change(&mut config);
        Experiment::new(config, sign()).unwrap_err().to_string()
    };
    assert!(refused(|c| c.arms.truncate(1)).contains("two or more arms"));
    assert!(refused(|c| c.arms[1] = c.arms[0].clone()).contains("in two arms"));
    assert!(refused(|c| c.mode = Mode::Shadow).contains("shadow"));
    assert!(refused(|c| c.plan.alpha = 0.0).contains("error probabilities"));
    assert!(refused(|c| c.plan.primary = Metric::Cost).contains("event process"));
    assert!(refused(|c| c.plan.planned_units = 0).contains("planned_units"));
    assert!(refused(|c| c.mode = Mode::Canary { steps: vec![] }).contains("steps"));
    let canary = refused(|c| {
        let (exposure_ppm, duration) = (SLOTS, Duration::ZERO);
        c.mode = Mode::Canary { steps: vec![CanaryStep { exposure_ppm, duration, units: 0 }] };
    });
    assert!(canary.contains("guardrail"), "{canary}");
    assert!(
        refused(|c| c.plan.guardrails = vec![Guardrail { metric: Metric::Cost, margin: -1.0 }])
            .contains("margins")
    );
    assert!(Experiment::new(config(), Signature::new("", "", NOW)).is_err());
    let experiment = experiment();
    let verdict = Verdict::Ship { arm: 7 };
    assert!(experiment.decide_by_hand(verdict, sign()).is_err());
    assert!(experiment.decide_by_hand(Verdict::KeepChampion, sign()).is_err(), "a draft");
}

#[test]
fn any_number_of_threads_route_alike() {
    let router = HashRouter::new("threads", &[200_000, 300_000, 500_000]).unwrap();
    let all = || -> Vec<u8> {
        (0..20_000).map(|unit| router.route(EntityKey(unit), 1, NOW).arm).collect()
    };
    let expected = all();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(all)).collect();
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), expected));
    });
    // Binomial(20,000, 0.5): standard deviation 71; six of them.
    let third = expected.iter().filter(|arm| **arm == 2).count();
    assert!(third.abs_diff(10_000) < 6 * 71, "{third}");
}
