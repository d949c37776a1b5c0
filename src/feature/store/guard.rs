//! What has to hold before a feature goes on.

use crate::audit::{self, Signature, or};
use crate::error::{Error, Result};
use crate::feature::store::{
    FeatureMetadata, FeatureQuery, FeatureRef, FeatureSemantics, FeatureStatus, FeatureStore,
};

pub(super) fn refused<T>(action: &str, reason: impl Into<String>) -> Result<T> {
    Err(Error::refused(action, reason))
}

pub(super) fn check_status(
    action: &str,
    record: &FeatureMetadata,
    allowed: &[FeatureStatus],
) -> Result<()> {
    audit::check_stands(action, &record.feature, &record.status, allowed)
}

/// No field that a reviewer needs is blank.
pub(super) fn check_complete(action: &str, record: &FeatureMetadata) -> Result<()> {
    let mut missing = record.documentation.missing();
    missing.extend(record.semantics.missing());
    if missing.is_empty() {
        return Ok(());
    }
    refused(action, format!("fill in {}", missing.join(", ")))
}

pub(super) fn check_lint(action: &str, record: &FeatureMetadata) -> Result<()> {
    record.semantics.lint().or_else(|error| refused(action, error.to_string()))
}

impl FeatureStore {
    /// Every dependency is there, has one of the statuses where any are given, and none leads back to the feature.
    pub(super) fn check_dependencies(
        &self,
        action: &str,
        feature: &FeatureRef,
        semantics: &FeatureSemantics,
        allowed: Option<&[FeatureStatus]>,
    ) -> Result<()> {
        for dependency in &semantics.dependencies {
            if dependency == feature {
                return refused(action, format!("{feature} depends on itself"));
            }
            let Some(record) = self.find(dependency)? else {
                return refused(
                    action,
                    format!("it depends on {dependency}, which is not registered; do that first"),
                );
            };
            if let Some(allowed) = allowed.filter(|allowed| !allowed.contains(&record.status)) {
                let status = record.status;
                let reason = format!(
                    "it depends on {dependency}, which is {status} and has to be {}",
                    or(allowed)
                );
                return refused(action, reason);
            }
            if self.closure(&record.semantics.dependencies)?.contains(feature) {
                return refused(
                    action,
                    format!("it depends on {dependency}, which depends on {feature} in turn"),
                );
            }
        }
        Ok(())
    }

    /// What an approval rests on, status apart.
    pub(super) fn check_approval(
        &self,
        action: &str,
        record: &FeatureMetadata,
        signature: Signature<'_>,
    ) -> Result<()> {
        check_complete(action, record)?;
        check_lint(action, record)?;
        let allowed = Some(&[FeatureStatus::Approved][..]);
        self.check_dependencies(action, &record.feature, &record.semantics, allowed)?;
        if record.profile.is_none() {
            return refused(action, "it has no profile; attach one");
        }
        if self.asks_for_parity && record.parity.is_none() {
            let reason = "nothing shows that batch and online agree on it; attach parity";
            return refused(action, reason);
        }
        if record.authors.contains(signature.actor) {
            let actor = signature.actor;
            return refused(action, format!("{actor} wrote it; somebody else has to approve it"));
        }
        Ok(())
    }

    pub(super) fn check_no_dependants(&self, action: &str, record: &FeatureMetadata) -> Result<()> {
        if let Some(user) = record.used_by.first() {
            let n = record.used_by.len();
            return refused(action, format!("{n} still use it, {user} first; unpin them"));
        }
        let query =
            FeatureQuery { depends_on: Some(record.feature.clone()), ..FeatureQuery::default() };
        let mut live = Vec::new();
        self.read_all(query, |other| {
            if other.status != FeatureStatus::Archived {
                live.push(other.feature.to_string());
            }
        })?;
        if live.is_empty() {
            return Ok(());
        }
        refused(action, format!("archive first what depends on it: {}", live.join(", ")))
    }
}
