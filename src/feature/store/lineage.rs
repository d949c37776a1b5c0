//! What a feature rests on, what rests on it, and who uses it.

use std::collections::BTreeSet;

use crate::audit::Signature;
use crate::error::{Error, Result};
use crate::feature::store::commit::Step;
use crate::feature::store::{
    FeatureOperation, FeatureQuery, FeatureRef, FeatureStatus, FeatureStore, FeatureUser, guard,
};

/// All that a change of a feature reaches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureDependants {
    /// Features computed from it, directly or by way of others, archived ones included.
    pub features: BTreeSet<FeatureRef>,
    /// Feature sets and model versions that use it or any of those.
    pub users: BTreeSet<FeatureUser>,
}

impl FeatureStore {
    /// Records that features are used by a feature set or a model version, so that they stay while it does. All of them
    /// or none; one that is recorded already stays as it is.
    ///
    /// # Errors
    /// As for every change, without a revision; `Refused` for a feature that is neither approved nor deprecated: until
    /// then its semantics can change.
    pub fn pin(
        &self,
        user: &FeatureUser,
        features: &[FeatureRef],
        signature: Signature<'_>,
    ) -> Result<()> {
        use FeatureStatus::{Approved, Deprecated};
        let action = format!("pin features for {user}");
        signature.check(&action)?;
        let features: BTreeSet<&FeatureRef> = features.iter().collect();
        self.commit(signature, || {
            let mut steps = Vec::new();
            for feature in &features {
                let mut record = self.storage.get(feature)?;
                guard::check_status(&action, &record, &[Approved, Deprecated])?;
                if record.used_by.insert(user.clone()) {
                    let operation = FeatureOperation::Pinned { user: user.clone() };
                    steps.push(Step { from: Some(record.status), record, operation });
                }
            }
            Ok(steps)
        })
        .map(drop)
    }

    /// Records that a feature set or a model version is gone: it uses no feature any more.
    ///
    /// # Errors
    /// As for every change, without a revision; `NotFound` if it uses none.
    pub fn unpin(&self, user: &FeatureUser, signature: Signature<'_>) -> Result<()> {
        signature.check(&format!("unpin the features of {user}"))?;
        self.commit(signature, || {
            let mut steps = Vec::new();
            let query = FeatureQuery { used_by: Some(user.clone()), ..FeatureQuery::default() };
            self.read_all(query, |mut record| {
                record.used_by.remove(user);
                let operation = FeatureOperation::Unpinned { user: user.clone() };
                steps.push(Step { from: Some(record.status), record, operation });
            })?;
            if steps.is_empty() {
                return Err(Error::NotFound { kind: "feature user", id: user.to_string() });
            }
            Ok(steps)
        })
        .map(drop)
    }

    /// All features that this one is computed from, directly or by way of others. One call to the storage for each.
    ///
    /// # Errors
    /// `NotFound` for an unknown feature.
    pub fn dependencies(&self, feature: &FeatureRef) -> Result<BTreeSet<FeatureRef>> {
        self.closure(&self.storage.get(feature)?.semantics.dependencies)
    }

    /// All that depends on a feature. At least one call to the storage for each feature found.
    ///
    /// # Errors
    /// `NotFound` for an unknown feature.
    pub fn dependants(&self, feature: &FeatureRef) -> Result<FeatureDependants> {
        let users = self.storage.get(feature)?.used_by;
        let mut found = FeatureDependants { features: BTreeSet::new(), users };
        let mut open = vec![feature.clone()];
        while let Some(next) = open.pop() {
            let query = FeatureQuery { depends_on: Some(next), ..FeatureQuery::default() };
            self.read_all(query, |record| {
                if found.features.insert(record.feature.clone()) {
                    found.users.extend(record.used_by);
                    open.push(record.feature);
                }
            })?;
        }
        Ok(found)
    }

    /// These features and all that they are computed from.
    pub(super) fn closure(&self, start: &BTreeSet<FeatureRef>) -> Result<BTreeSet<FeatureRef>> {
        let mut found = start.clone();
        let mut open: Vec<FeatureRef> = start.iter().cloned().collect();
        while let Some(next) = open.pop() {
            for dependency in self.storage.get(&next)?.semantics.dependencies {
                if found.insert(dependency.clone()) {
                    open.push(dependency);
                }
            }
        }
        Ok(found)
    }
}
