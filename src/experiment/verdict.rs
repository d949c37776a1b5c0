//! The verdict, by the plan's rules.

use super::config::{ExperimentConfig, Mode};
use super::report::{Doubt, ExperimentReport, GuardrailReport, GuardrailStatus, Outcome, Verdict};
use super::state::ExperimentState;

/// What it comes to, by the plan's rules.
pub(super) fn verdict(report: &ExperimentReport, config: &ExperimentConfig) -> Verdict {
    let plan = &config.plan;
    let mut doubts = Vec::new();
    if !matches!(report.state, ExperimentState::Stopped | ExperimentState::Decided) {
        doubts.push(Doubt::NotStopped);
    }
    if matches!(config.mode, Mode::Bandit(_)) {
        doubts.push(Doubt::Adaptive);
    }
    if report.sample_ratio_mismatch {
        doubts.push(Doubt::SampleRatio);
    }
    let counters = &report.counters;
    if counters.beyond_units + counters.beyond_days + counters.counted_twice > 0 {
        doubts.push(Doubt::Incomplete);
    }
    if report.matured < plan.min_matured {
        doubts.push(Doubt::Immature { matured: report.matured });
    }
    let mut best: Option<(f64, u8)> = None;
    let mut out = 0;
    for comparison in &report.comparisons {
        let arm = comparison.arm;
        if comparison.label_coverage_p_value.is_some_and(|p| p <= plan.srm_alpha) {
            doubts.push(Doubt::LabelCoverage { arm });
        }
        let violated = |guard: &GuardrailReport| guard.status == GuardrailStatus::Violated;
        if comparison.primary.outcome == Outcome::Worse
            || comparison.guardrails.iter().any(violated)
        {
            out += 1;
            continue;
        }
        if comparison.primary.outcome == Outcome::Undecided {
            doubts.push(Doubt::NoEvidence { arm });
            continue;
        }
        let undecided = comparison.guardrails.iter();
        let undecided = undecided.filter(|guard| guard.status == GuardrailStatus::Undecided);
        let waiting: Vec<Doubt> = undecided
            .map(|guard| Doubt::GuardrailUndecided { arm, metric: guard.metric })
            .collect();
        if waiting.is_empty() {
            let gain =
                comparison.primary.difference.map_or(0.0, |difference| difference.value.abs());
            if best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, arm));
            }
        }
        doubts.extend(waiting);
    }
    // Doubts about one challenger do not stand in the way of another; doubts about the data do.
    let of_one = |doubt: &Doubt| {
        matches!(doubt, Doubt::NoEvidence { .. } | Doubt::GuardrailUndecided { .. })
    };
    let sound = doubts.iter().all(of_one);
    match best {
        Some((_, arm)) if sound => Verdict::Ship { arm },
        _ if sound && out == report.comparisons.len() => Verdict::KeepChampion,
        _ => Verdict::Inconclusive { reasons: doubts },
    }
}
