//! Stage 11, drift. Takes live rows and scores beside a [`ReferenceProfile`]; gives a [`DriftReport`] per stretch of
//! time. Takes streams of numbers one by one; gives a [`Signal`] at each.
//!
//! Two kinds of tools, for two questions:
//! - *Have the inputs changed?* A [`DriftWindow`] counts rows on the frozen bins of a [`ReferenceProfile`] and compares, an
//!   hour or a day at a time: every feature, the score, the bad rate, each segment. A difference is drift when it is large
//!   (an effect size) and not chance (a q-value) both. [`domain_drift`] and
//!   [`kernel_drift`] look at all features together, on demand.
//! - *Has this number changed, and since which row?* A [`DriftDetector`] watches one stream: errors, frauds, scores,
//!   residuals of a [`SeasonalBaseline`]. Start with the [`EDetector`]: its rate of false alarms is stated.
//!
//! # Example
//! ```
//! use riskcycle::drift::{Baseline, DriftDetector, EDetector, EDetectorConfig, Signal};
//!
//! // 60 frauds in 20,000 rows of the reference; at most one false alarm in 100,000 rows.
//! let baseline = Baseline::Rate { n: 20_000, positives: 60 };
//! let mut detector = EDetector::new(EDetectorConfig::new(baseline))?;
//! // One row in 50 is fraud now.
//! let alarm = (0..5000).position(|row| detector.update(f64::from(row % 50 == 0)) == Signal::Drift);
//! assert!(alarm.is_some_and(|row| row < 1000));
//! # Ok::<(), riskcycle::Error>(())
//! ```

mod bytes;
mod column;
mod config;
mod counter;
mod counts;
mod detector;
mod domain;
mod finder;
mod kernel;
mod profile;
mod report;
mod schema;
mod seasonal;
mod window;

pub use column::{BinDrift, ColumnDrift};
pub use config::{DriftConfig, Effect};
pub use counts::DriftCounts;
pub use detector::{
    AccuracyDrop, AccuracyDropConfig, Adwin, AdwinConfig, AfterDrift, AnyDetector, Baseline, Cusum,
    CusumConfig, Ddm, DdmConfig, Direction, DriftDetector, EDetector, EDetectorConfig, Eddm,
    EddmConfig, HddmA, HddmAConfig, HddmW, HddmWConfig, Inputs, Kswin, KswinConfig, PageHinkley,
    PageHinkleyConfig, Signal, Stepd, StepdConfig, ValueRange,
};
pub use domain::{DomainDrift, domain_drift};
pub use kernel::{KernelDrift, kernel_drift};
pub use profile::{ProfileConfig, ReferenceProfile};
pub use report::{Attribution, DriftReport, RateDrift, SegmentDrift};
pub use schema::{SchemaChange, schema_drift};
pub use seasonal::SeasonalBaseline;
pub use window::DriftWindow;
