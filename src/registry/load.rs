//! What a host demands of an artifact before it takes it.

use crate::model::ModelCodecs;
#[cfg(feature = "signing")]
use crate::registry::PublicKey;

/// How large what an artifact holds may be. Within these limits, too, loading takes at most four times the artifact's bytes
/// and a mebibyte of memory besides them; what would take more is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadLimits {
    /// Bytes of the whole artifact.
    pub bytes: usize,
    /// Features.
    pub features: usize,
    /// Golden rows: each is scored at every load.
    pub golden_rows: usize,
    /// Golden rows times bytes of the model: scoring them takes at most a tenth of a nanosecond or so for each.
    pub golden_work: u64,
}

impl Default for LoadLimits {
    /// 256 MiB, 4,096 features, 1,024 golden rows, of which a model of 256 MiB may have 128.
    fn default() -> Self {
        LoadLimits {
            bytes: 256 << 20,
            features: 4096,
            golden_rows: 1024,
            golden_work: (256 << 20) * 128,
        }
    }
}

/// How artifacts are loaded: by which decoders, within which limits, signed by whom. By default ours, the default ones,
/// anybody or nobody.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    pub(super) codecs: ModelCodecs,
    pub(super) limits: LoadLimits,
    #[cfg(feature = "signing")]
    pub(super) trusted: Option<Vec<PublicKey>>,
}

impl LoadOptions {
    /// Other decoders, so that the host's own kinds of models can be loaded.
    #[must_use]
    pub fn with_codecs(mut self, codecs: ModelCodecs) -> Self {
        self.codecs = codecs;
        self
    }

    /// Other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: LoadLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Only artifacts that bear the signature of one of these keys; without a key, none.
    #[cfg(feature = "signing")]
    #[must_use]
    pub fn signed_by(mut self, keys: impl IntoIterator<Item = PublicKey>) -> Self {
        self.trusted = Some(keys.into_iter().collect());
        self
    }
}
