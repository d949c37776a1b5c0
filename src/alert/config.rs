//! Parameters of the engine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::notify::GroupConfig;
use super::silence::{Inhibition, MuteWindow};
use super::state::RestoreConfig;
use crate::error::{Error, Result};

/// Parameters of an [`AlertEngine`](super::AlertEngine).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertConfig {
    /// How alerts are gathered into notifications.
    pub group: GroupConfig,
    /// How often the host means to tick. After a gap of more than three times this, or three times the gap before, pending
    /// alerts wait anew: nobody knows whether their rules held meanwhile.
    pub interval: Duration,
    /// Resolved alerts are listed for this long.
    pub retention: Duration,
    /// Most alerts of one rule. Further ones are counted, and an alert `rule_overflow` says so; those there are stay.
    pub max_instances: usize,
    /// Changes kept for [`AlertEngine::history`](super::AlertEngine::history).
    pub max_history: usize,
    /// When an alert counts as flapping.
    pub flap: FlapConfig,
    /// How pending alerts go on after a restart.
    pub restore: RestoreConfig,
    /// Alerts that make others superfluous.
    pub inhibitions: Vec<Inhibition>,
    /// Hours at which alerts are not told of.
    pub mute_windows: Vec<MuteWindow>,
}

/// A minute, 15 minutes, 1,000 alerts of a rule, 10,000 changes.
impl Default for AlertConfig {
    fn default() -> Self {
        AlertConfig {
            group: GroupConfig::default(),
            interval: Duration::from_secs(60),
            retention: Duration::from_secs(900),
            max_instances: 1000,
            max_history: 10_000,
            flap: FlapConfig::default(),
            restore: RestoreConfig::default(),
            inhibitions: Vec::new(),
            mute_windows: Vec::new(),
        }
    }
}

/// When an alert begins and ends so often that only that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlapConfig {
    /// Changes between firing and resolved, at least 2.
    pub changes: usize,
    /// Within this time. After as long without a change it is over.
    pub window: Duration,
}

/// Four in an hour.
impl Default for FlapConfig {
    fn default() -> Self {
        FlapConfig { changes: 4, window: Duration::from_secs(3600) }
    }
}

impl AlertConfig {
    pub(super) fn check(&self) -> Result<()> {
        if self.interval.is_zero() || self.max_instances == 0 || self.flap.changes < 2 {
            let reason = "needs an interval, room for an instance, and at least 2 changes to flap";
            return Err(Error::config("alert engine", reason));
        }
        self.mute_windows.iter().try_for_each(MuteWindow::check)
    }
}
