//! What a lifecycle is made of.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::alert::{AlertConfig, AlertEngine};
use crate::drift::ProfileConfig;
use crate::experiment::{ExperimentRecorder, HashRouter, Router};
use crate::feature::{FeaturePlan, OnlineConfig};
use crate::ids::EntityKey;
use crate::monitor::{InMemoryPredictionLog, PredictionLog};
use crate::monitoring::MonitoringConfig;
use crate::registry::ModelRegistry;
use crate::retrain::{GateConfig, RetrainConfig};
use crate::serve::SlotConfig;
use crate::time::Clock;

/// Parameters of a [`Lifecycle`](crate::lifecycle::Lifecycle).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleConfig {
    /// Slot of the registry whose champion answers.
    pub slot: String,
    /// Entity that requests are routed by, a customer or a card.
    pub unit: String,
    /// Money field with the amount at stake, for experiments; `None` where only counts matter.
    pub amount: Option<String>,
    /// How live features treat late events, and how much they keep.
    pub online: OnlineConfig,
    /// What values models take, and what is decided without a score.
    pub serving: SlotConfig,
    /// How predictions and labels are counted, and what is called drift.
    pub monitoring: MonitoringConfig,
    /// When to train again, and on what.
    pub retrain: RetrainConfig,
    /// What a challenger must show.
    pub gate: GateConfig,
    /// Bins of the drift reference that comes with a promoted challenger: the rows that it was compared on, which it was not
    /// trained on, so that its scores there are what live ones will be.
    pub profile: ProfileConfig,
    /// Most live requests that a challenger in shadow is compared on.
    pub max_shadow: usize,
}

impl LifecycleConfig {
    /// Routes by `unit` to the champion of `slot`; a request that cannot be scored goes to review; the rest by default.
    pub fn new(slot: &str, unit: &str) -> Self {
        LifecycleConfig {
            slot: slot.to_owned(),
            unit: unit.to_owned(),
            amount: None,
            online: OnlineConfig::default(),
            serving: SlotConfig::default(),
            monitoring: MonitoringConfig::default(),
            retrain: RetrainConfig::default(),
            gate: GateConfig::default(),
            profile: ProfileConfig::default(),
            max_shadow: 1_000_000,
        }
    }
}

/// What the host hands to a [`Lifecycle`](crate::lifecycle::Lifecycle); the traits' defaults or its own.
#[derive(Debug)]
pub struct Parts<E> {
    /// Features of its events.
    pub features: FeaturePlan<E>,
    /// Versions and champions.
    pub registry: Arc<ModelRegistry>,
    /// Which arm answers; arm 0 is the champion, the next ones the challengers.
    pub router: Arc<dyn Router>,
    /// Counts the exposures and outcomes of a running experiment; its router goes with it.
    pub recorder: Option<Arc<ExperimentRecorder>>,
    /// What was known of each unit before the experiment, where its plan takes it out of the differences: see
    /// [`with_covariate`](crate::experiment::ExposureToken::with_covariate). A unit that is not there has 0.
    pub covariates: HashMap<EntityKey, i32>,
    /// Predictions kept for inspection.
    pub log: Arc<dyn PredictionLog>,
    /// Rules and sinks.
    pub alerts: AlertEngine,
    /// What latency is measured with; `None` for not at all.
    pub clock: Option<Arc<dyn Clock>>,
}

impl<E> Parts<E> {
    /// The defaults, all in memory: every request to the champion, the last 10,000 predictions of each version kept, no
    /// alert rules, no clock. Replace a field to have it otherwise.
    pub fn in_memory(features: FeaturePlan<E>, registry: Arc<ModelRegistry>) -> Self {
        Parts {
            features,
            registry,
            router: Arc::new(HashRouter::champion_only()),
            recorder: None,
            covariates: HashMap::new(),
            log: Arc::new(InMemoryPredictionLog::default()),
            alerts: AlertEngine::new(AlertConfig::default(), Vec::new(), Vec::new())
                .expect("the default configuration, and nothing to refuse"),
            clock: None,
        }
    }
}
