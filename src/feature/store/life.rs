//! The steps of a version's life; the table in [the module's docs](crate::feature::store) has their rules.

use crate::audit::Signature;
use crate::error::Result;
use crate::feature::store::guard::{self, refused};
use crate::feature::store::{
    FeatureMetadata, FeatureOperation, FeatureRef, FeatureStatus, FeatureStore,
};

impl FeatureStore {
    /// Draft → review.
    ///
    /// # Errors
    /// As for every change.
    pub fn submit(
        &self,
        feature: &FeatureRef,
        revision: u64,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        use FeatureStatus::{Approved, Draft, Review};
        self.change("submit", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[Draft])?;
            guard::check_complete(action, record)?;
            guard::check_lint(action, record)?;
            let dependencies = Some(&[Review, Approved][..]);
            self.check_dependencies(action, feature, &record.semantics, dependencies)?;
            record.status = Review;
            Ok(FeatureOperation::Submitted)
        })
    }

    /// Review → draft.
    ///
    /// # Errors
    /// As for every change.
    pub fn request_changes(
        &self,
        feature: &FeatureRef,
        revision: u64,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        self.change("ask for changes of", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[FeatureStatus::Review])?;
            record.status = FeatureStatus::Draft;
            Ok(FeatureOperation::ChangesRequested)
        })
    }

    /// Review → approved.
    ///
    /// # Errors
    /// As for every change.
    pub fn approve(
        &self,
        feature: &FeatureRef,
        revision: u64,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        self.change("approve", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[FeatureStatus::Review])?;
            self.check_approval(action, record, signature)?;
            record.status = FeatureStatus::Approved;
            Ok(FeatureOperation::Approved)
        })
    }

    /// Approved → deprecated, with what to use instead, if there is anything. Whoever uses it may go on;
    /// [`dependants`](Self::dependants) says who that is.
    ///
    /// # Errors
    /// As for every change.
    pub fn deprecate(
        &self,
        feature: &FeatureRef,
        revision: u64,
        replacement: Option<&FeatureRef>,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        use FeatureStatus::{Approved, Deprecated};
        self.change("deprecate", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[Approved])?;
            if let Some(replacement) = replacement {
                let found = self.find(replacement)?.map(|other| other.status);
                if replacement == feature || found != Some(Approved) {
                    let reason = format!(
                        "the replacement, {replacement}, has to be another approved version"
                    );
                    return refused(action, reason);
                }
            }
            record.status = Deprecated;
            record.replacement = replacement.cloned();
            Ok(FeatureOperation::Deprecated { replacement: replacement.cloned() })
        })
    }

    /// Deprecated → approved, by the rules of an approval.
    ///
    /// # Errors
    /// As for every change.
    pub fn reinstate(
        &self,
        feature: &FeatureRef,
        revision: u64,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        self.change("reinstate", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[FeatureStatus::Deprecated])?;
            self.check_approval(action, record, signature)?;
            record.status = FeatureStatus::Approved;
            record.replacement = None;
            Ok(FeatureOperation::Reinstated)
        })
    }

    /// Draft or review → archived: given up before it was approved.
    ///
    /// # Errors
    /// As for every change.
    pub fn withdraw(
        &self,
        feature: &FeatureRef,
        revision: u64,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        use FeatureStatus::{Archived, Draft, Review};
        self.change("withdraw", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[Draft, Review])?;
            self.check_no_dependants(action, record)?;
            record.status = Archived;
            Ok(FeatureOperation::Withdrawn)
        })
    }

    /// Deprecated → archived, for good.
    ///
    /// # Errors
    /// As for every change.
    pub fn archive(
        &self,
        feature: &FeatureRef,
        revision: u64,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        self.change("archive", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[FeatureStatus::Deprecated])?;
            self.check_no_dependants(action, record)?;
            record.status = FeatureStatus::Archived;
            Ok(FeatureOperation::Archived)
        })
    }
}
