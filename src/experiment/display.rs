//! Reports in words.

use std::fmt;

use super::comparison::{
    BandCoverage, Evidence, GuardrailReport, LabelCoverage, MetricComparison, Outcome, Scale,
};
use super::report::{ArmReport, ExperimentReport};
use super::srm::SampleRatio;

/// Names of score bands.
const BANDS: [&str; 5] =
    ["no score", "odds to 1/512", "odds to 1/64", "odds to 1/8", "odds above 1/8"];

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::AlwaysValid { p_value, interval, scale } => {
                let times = if *scale == Scale::Ratio { "×" } else { "" };
                write!(f, "{times}{interval:.5}, always-valid p {p_value:.4}")
            }
            Evidence::GroupSequential { z, bound, crossed, interval } => {
                let crossed = if *crossed { ", crossed" } else { "" };
                write!(f, "{interval:.5}, z {z:.3} against ±{bound:.3}{crossed}")
            }
            Evidence::FixedHorizon { p_value, interval, method } => {
                write!(f, "{interval:.5}, p {p_value:.4} ({method:?})")
            }
            Evidence::TooFew { events, needed } => {
                write!(f, "{events} bad in an arm, {needed} needed")
            }
            Evidence::Pending => f.write_str("not looked at yet"),
            Evidence::None => f.write_str("-"),
        }
    }
}

impl fmt::Display for MetricComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.5}"));
        let (champion, challenger) = (number(self.champion), number(self.challenger));
        write!(f, "{:<18} {champion:>10} → {challenger:>10}", self.metric)?;
        if let Some(lift) = &self.lift {
            let [value, error] = [lift.value, lift.standard_error].map(|x| 100.0 * x);
            write!(f, " ({value:+.1} ± {error:.1} %)")?;
        }
        write!(f, "  {}", self.evidence)?;
        if let Some(detectable) = self.detectable {
            write!(f, ", the plan shows {detectable:.5}")?;
        }
        if let Some(removed) = self.variance_removed {
            write!(f, ", CUPED {:.0} % less variance", 100.0 * removed)?;
        }
        if let Some(p) = self.adjusted_p_value {
            write!(f, ", adjusted p {p:.4}")?;
        }
        match self.outcome {
            Outcome::Better => f.write_str(": better"),
            Outcome::Worse => f.write_str(": worse"),
            Outcome::Undecided => Ok(()),
        }
    }
}

impl fmt::Display for ExperimentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExperimentReport { name, at, state, units, matured, information, .. } = self;
        writeln!(f, "{name} at {at}: {state:?}, {units} units")?;
        writeln!(
            f,
            "{:.1} % of requests old enough, {:.1} % of the planned information",
            100.0 * matured,
            100.0 * information
        )?;
        for (i, arm) in self.arms.iter().enumerate() {
            let role = if i == 0 { "champion" } else { "challenger" };
            let ArmReport { model, requests, labels, units, .. } = arm;
            writeln!(
                f,
                "arm {i} {model} ({role}): {requests} requests, {labels} labels, {units} units"
            )?;
        }
        if let Some(ratio) = &self.sample_ratio {
            let SampleRatio { observed, sequential_p_value, .. } = ratio;
            let word = if self.sample_ratio_mismatch { "MISMATCH" } else { "as planned" };
            writeln!(f, "sample ratio {observed:?} {word} (p {sequential_p_value:.4})")?;
        }
        for comparison in &self.comparisons {
            writeln!(f, "arm {} against the champion", comparison.arm)?;
            writeln!(f, "  primary    {}", comparison.primary)?;
            for secondary in &comparison.secondary {
                writeln!(f, "  secondary  {secondary}")?;
            }
            if let Some(LabelCoverage { p_value, bands }) = &comparison.label_coverage {
                writeln!(f, "  labels     equally many there: always-valid p {p_value:.4}")?;
                let percent = |share: Option<f64>| share.map_or(f64::NAN, |share| 100.0 * share);
                for (band, name) in bands.iter().zip(BANDS) {
                    let BandCoverage { champion, challenger, p_value: Some(p) } = *band else {
                        continue;
                    };
                    let (a, b) = (percent(champion), percent(challenger));
                    writeln!(f, "             {name}: {a:.1} % and {b:.1} %, p {p:.4}")?;
                }
            }
            for guardrail in &comparison.guardrails {
                let GuardrailReport { metric, margin, harm, status, .. } = guardrail;
                let harm = harm.map_or("-".to_owned(), |harm| format!("{harm:+.5}"));
                writeln!(
                    f,
                    "  guardrail  {metric:<18} worse by {harm} of {margin} tolerated: {status:?}"
                )?;
            }
        }
        write!(f, "verdict: {}", self.verdict)
    }
}
