//! Which bins and how much ridge penalty make the best card: a search that shows how far it is and survives being killed.

use std::ops::ControlFlow;

use indicatif::{ProgressBar, ProgressStyle};
use riskcycle::dataset::{Dataset, FoldPlan};
use riskcycle::evaluate::ScoreMetric;
use riskcycle::model::{
    BinningConfig, BinningMethod, ScorecardConfig, ScorecardTrainer, Trainer, Trend,
};
use riskcycle::train::{
    JsonLinesTuningJournal, ParameterRange, ParameterSet, SearchSpace, SearchStrategy, Tuner,
    TunerConfig, TuningTask,
};
use riskcycle::{Result, Seed};

/// Bad rates rise or fall from bin to bin, so that every row of the card can be explained.
pub(crate) fn monotone(max_bins: usize, min_share: f64, l2: f64) -> ScorecardConfig {
    let method = BinningMethod::Optimal { trend: Trend::Monotone, max_p_value: None };
    let binning = BinningConfig { method, max_bins, min_share, ..Default::default() };
    // Every feature is in; a stricter card would ask for an information value of 0.02.
    ScorecardConfig { binning, l2, min_information_value: 0.0, ..Default::default() }
}

/// Searches by cross-validation. A journal that is there already is gone on with, or found complete.
pub(crate) fn tune(data: &Dataset, journal: &str) -> Result<()> {
    let space = SearchSpace::new([
        ("max_bins", ParameterRange::Whole { low: 2, high: 10, log: false }),
        ("min_share", ParameterRange::Number { low: 0.02, high: 0.15, log: false }),
        ("l2", ParameterRange::Number { low: 0.1, high: 100.0, log: true }),
    ])?;
    let trainer = |parameters: &ParameterSet| -> Result<Box<dyn Trainer>> {
        let max_bins = parameters.whole("max_bins")? as usize;
        let config = monotone(max_bins, parameters.number("min_share")?, parameters.number("l2")?);
        Ok(Box::new(ScorecardTrainer::new(config)?))
    };
    let task = TuningTask {
        space: &space,
        trainer: &trainer,
        data,
        plan: FoldPlan::Stratified { folds: 5 },
        metric: &ScoreMetric::RocAuc,
        seed: Seed(7),
    };
    let strategy = SearchStrategy::Parzen { startup: 10 };
    let tuner = Tuner::new(TunerConfig { strategy, trials: 40, patience: Some(20) })?;

    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("tuning {bar:32} {pos}/{len} trials, {msg}, {eta} to go")
            .expect("a template of known fields"),
    );
    let mut journal = JsonLinesTuningJournal::open(journal)?;
    let result = tuner.run(&task, &mut journal, |progress| {
        bar.set_length(progress.planned);
        bar.set_position(progress.done);
        if let Some(best) = progress.best.and_then(|trial| trial.outcome) {
            bar.set_message(format!("best AUC {:.4}", best.mean));
        }
        ControlFlow::Continue(()) // Break(()) would end the search and keep what it has found
    })?;
    bar.finish_and_clear();

    let best = &result.best;
    let mean = best.outcome.map_or(f64::NAN, |outcome| outcome.mean);
    println!(
        "\ntuned in {} trials ({:?}): AUC {mean:.4} over five folds with",
        result.trials.len(),
        result.end
    );
    for name in best.parameters.values().keys() {
        println!("  {name} = {:.3}", best.parameters.number(name)?);
    }
    Ok(())
}
