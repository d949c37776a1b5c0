//! What all processes agree on: the requests, the experiment, how answers and labels are counted.

use std::sync::Arc;
use std::time::Duration;

use riskcycle::dataset::{Dataset, TimeSplit};
use riskcycle::drift::{DriftConfig, DriftWindow, ProfileConfig, ReferenceProfile};
use riskcycle::evaluate::{Costs, DecisionBands};
use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentStatistics, Metric, Mode, RecorderConfig,
    Router, RoutingConfig,
};
use riskcycle::feature::FeatureFrame;
use riskcycle::model::{
    DecisionTree, DecisionTreeConfig, LogisticRegression, LogisticRegressionConfig, ModelExt,
    Trainer,
};
use riskcycle::monitor::{Monitor, MonitorConfig};
use riskcycle::registry::{Artifact, LoadOptions};
use riskcycle::serve::{Deployment, Lineup, ModelService, Request, SlotConfig};
use riskcycle::testing::World;
use riskcycle::testing::handbook::{self, START, Transaction};
use riskcycle::train::TrainingRun;
use riskcycle::{EntityKey, ManualClock, ModelRef, Seed, Signature, Timestamp, days};

use crate::Result;
use crate::counted::Counted;

const SEED: Seed = Seed(20_180_401);
const SLOT: &str = "card-fraud";
const LABEL_DELAY: Duration = days(7);

pub(crate) struct Plan {
    events: Vec<Transaction>,
    frame: FeatureFrame,
    train: Dataset,
    pub(crate) experiment: Experiment,
    pub(crate) monitor: MonitorConfig,
}

impl Plan {
    pub(crate) fn new() -> Result<Self> {
        let world = World { customers: 400, terminals: 800, days: 70, ..World::default() };
        let events = world.transactions(SEED)?;
        let schema = handbook::events();
        let frame = handbook::features().bind(&schema)?.compute(&events)?;
        let split =
            TimeSplit { start: START.plus(days(10)), train: days(28), gap: days(7), test: days(7) };
        let rows = split.rows(&schema, &events, "customer")?.train;
        let train = Dataset::from_events(&frame, &schema, &events, &rows, "customer", "amount")?;
        let by = |reason| Signature::new("head-of-fraud", reason, Plan::start());
        let experiment = Experiment::new(
            ExperimentConfig {
                name: "a tree against the logistic regression".into(),
                arms: vec![version(1), version(2)],
                routing: RoutingConfig::new("fleet-1", &[500_000, 500_000]),
                mode: Mode::AbTest,
                plan: AnalysisPlan {
                    maturity: LABEL_DELAY,
                    secondary: vec![Metric::Recall, Metric::Cost],
                    ..AnalysisPlan::new(Metric::Precision, 200, 20_000)
                },
            },
            by("planned"),
        )?;
        experiment.start(by("approved"))?;
        let monitor = MonitorConfig { label_delay: LABEL_DELAY, ..MonitorConfig::default() };
        Ok(Plan { events, frame, train, experiment, monitor })
    }

    /// When the models go live.
    fn start() -> Timestamp {
        START.plus(days(45))
    }

    /// When the last label is there.
    pub(crate) fn end() -> Timestamp {
        START.plus(days(78))
    }

    pub(crate) fn train(&self) -> &Dataset {
        &self.train
    }

    /// The requests.
    pub(crate) fn live(&self) -> &[Transaction] {
        let first = self.events.partition_point(|event| event.at < Plan::start());
        &self.events[first..]
    }

    /// Both models, with what live rows are held against.
    pub(crate) fn train_models(&self) -> Result<Vec<Artifact>> {
        let logistic = LogisticRegression::new(LogisticRegressionConfig::default())?;
        let tree = DecisionTree::new(DecisionTreeConfig::default())?;
        let trainers: [&dyn Trainer; 2] = [&logistic, &tree];
        let artifacts = trainers.into_iter().map(|trainer| {
            let run = TrainingRun::fit(trainer, &self.train, None, SEED)?;
            let scores = run.model.score_dataset(&self.train)?;
            let amounts = self.train.amounts().unwrap_or(&[]);
            let threshold =
                Costs::default().best_threshold(self.train.labels(), &scores, amounts)?;
            let bands = DecisionBands::review_from(threshold)?;
            let profile = ReferenceProfile::new(&self.train, &scores, &ProfileConfig::default())?;
            let mut artifact = Artifact::new(SLOT, "data-science", Plan::start(), bands, run);
            artifact.attach(ReferenceProfile::ATTACHMENT, profile.to_bytes())?;
            Ok(artifact)
        });
        artifacts.collect()
    }

    /// What [`train_models`](Self::train_models) made, from its bytes: each model shows again that it scores as it did.
    pub(crate) fn read_models(&self, kept: &[Vec<u8>]) -> Result<Vec<Artifact>> {
        let read = |bytes: &Vec<u8>| Ok(Artifact::from_bytes(bytes, &LoadOptions::default())?);
        kept.iter().map(read).collect()
    }

    /// What the champion's rows are held against.
    pub(crate) fn reference(artifacts: &[Artifact]) -> Result<ReferenceProfile> {
        let bytes = artifacts.first().and_then(|of| of.attachment(ReferenceProfile::ATTACHMENT));
        Ok(ReferenceProfile::from_bytes(bytes.ok_or("the champion has no reference")?)?)
    }

    /// Answers the requests of some customers, takes their labels a week later, and counts.
    pub(crate) fn count(
        &self,
        artifacts: &[Artifact],
        mine: impl Fn(u64) -> bool,
    ) -> Result<Counted> {
        let numbered = artifacts.iter().zip(1..);
        let arms = numbered
            .map(|(artifact, number)| Deployment::of(version(number), artifact))
            .collect::<riskcycle::Result<Vec<_>>>()?;
        let service = ModelService::new(Arc::new(ManualClock::new(Plan::start())));
        let schema = self.train.schema().clone();
        let lineup = Lineup { arms, fallback: None, shadows: Vec::new() };
        let config = SlotConfig { latency_every: 0, ..SlotConfig::default() };
        service.open(SLOT, schema.clone(), config, lineup)?;
        let mut predictor = service.predictor(SLOT)?;
        let monitor = Monitor::new(self.monitor)?;
        let reference = Arc::new(Plan::reference(artifacts)?);
        let window = DriftWindow::new(reference, DriftConfig::default())?;
        let mut experiment =
            ExperimentStatistics::new(&self.experiment, RecorderConfig::default())?;
        let router = self.experiment.router();
        let mut row = vec![0.0; schema.n_features()];
        let first = self.events.len() - self.live().len();
        let live = self.live().iter().enumerate();
        for (i, event) in live.filter(|(_, event)| mine(u64::from(event.customer))) {
            self.frame.copy_row(first + i, &mut row);
            let (id, at, unit) = (event.id, event.at, EntityKey::from(event.customer));
            let assignment = router.route(unit, id, at);
            let request = Request { assignment, ..Request::new(id, at, unit, &row) };
            let answer = predictor.predict(&request)?;
            // Two runs never take the same time; made up, so that their reports can be compared.
            let latency = Duration::from_nanos(600 + id * 37 % 900);
            predictor.record_latency(&answer, latency);
            let gaps = window.observe_row(&row, None)?;
            if answer.model == version(1) {
                window.observe_score(answer.score, None)?;
            }
            // A service ticks by the second; what has a day's bucket need not.
            monitor.traffic().tick(at);
            monitor.record(&answer, latency, gaps);
            let known = at.plus(LABEL_DELAY);
            monitor.label(id, event.fraud, known);
            window.observe_label(event.fraud, None)?;
            if let Some(token) = answer.exposure {
                let token = token.with_amount(event.cents);
                experiment.expose(&token);
                experiment.outcome(&token, event.fraud, known);
            }
        }
        Ok(Counted {
            service: service.stats(),
            monitor: monitor.counts(Plan::end()),
            drift: window.take(Plan::start(), Plan::end()),
            experiment,
        })
    }
}

fn version(version: u32) -> ModelRef {
    ModelRef { name: SLOT.into(), version }
}
