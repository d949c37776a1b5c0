//! What travels with a request and comes back with its label.

use serde::{Deserialize, Serialize};

use super::allocation::MAX_ARMS;
use super::assignment::{Assignment, AssignmentReason};
use crate::error::{Error, Result};
use crate::ids::EntityKey;
use crate::time::Timestamp;

/// A request's part in an experiment, complete: which arm, what it said, with what chance its label becomes known. The host
/// keeps it with its own record of the request (as [bytes](Self::to_bytes) or by serde) and hands it back with the label,
/// weeks later and in any process; the recorder keeps nothing per request but the fact that it was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposureToken {
    pub(super) experiment: u64,
    pub(super) request: u64,
    pub(super) unit: EntityKey,
    pub(super) at: Timestamp,
    /// Minor units.
    pub(super) amount: i64,
    pub(super) latency_nanos: u32,
    /// What was known of the unit before the experiment.
    pub(super) covariate: i32,
    /// Chance that the label becomes known, in parts per million; 0 for a request whose label is no part of the sample.
    pub(super) label_ppm: u32,
    /// Scores in steps of 2⁻³².
    pub(super) scores: [u32; MAX_ARMS],
    /// One bit per arm.
    pub(super) scored: u8,
    pub(super) alerts: u8,
    pub(super) phase: u16,
    pub(super) arm: u8,
    pub(super) bucket: u8,
    pub(super) flags: u8,
}

const MOVED: u8 = 1;
const SHADOW: u8 = 2;

impl ExposureToken {
    /// Bytes of a token.
    pub const LEN: usize = 96;

    /// The token of a request, by the arm that answered it; `alert` is what that arm's model says, whether or not the
    /// request was let through. `None` for a request that is no part of an experiment.
    pub fn new(
        assignment: &Assignment,
        unit: EntityKey,
        request: u64,
        at: Timestamp,
        score: Option<f64>,
        alert: bool,
    ) -> Option<Self> {
        if assignment.reason != AssignmentReason::Assigned {
            return None;
        }
        let stopped = alert && assignment.let_through_ppm > 0;
        let label_ppm = match stopped {
            true if assignment.let_through => assignment.let_through_ppm,
            true => 0,
            false => 1_000_000,
        };
        let flags =
            if assignment.moved { MOVED } else { 0 } | if assignment.shadow { SHADOW } else { 0 };
        let token = ExposureToken {
            experiment: assignment.experiment,
            request,
            unit,
            at,
            amount: 0,
            latency_nanos: 0,
            covariate: 0,
            label_ppm,
            scores: [0; MAX_ARMS],
            scored: 0,
            alerts: 0,
            phase: assignment.phase,
            arm: assignment.arm,
            bucket: assignment.bucket,
            flags,
        };
        Some(token.with_score(assignment.arm, score, alert))
    }

    /// With the amount at stake, in minor units of money.
    #[must_use]
    pub fn with_amount(self, minor: i64) -> Self {
        ExposureToken { amount: minor, ..self }
    }

    /// With the time that the answer took.
    #[must_use]
    pub fn with_latency(self, nanos: u64) -> Self {
        ExposureToken { latency_nanos: u32::try_from(nanos).unwrap_or(u32::MAX), ..self }
    }

    /// With what was known of the unit before the experiment began and goes with what the plan measures, such as its
    /// requests or its losses of the month before, as a whole number of any scale: what
    /// [`AnalysisPlan::cuped`](super::AnalysisPlan::cuped) takes out of the differences. The same for all requests of a unit;
    /// 0 where nothing was known.
    #[must_use]
    pub fn with_covariate(self, covariate: i32) -> Self {
        ExposureToken { covariate, ..self }
    }

    /// With what another arm says of the same request, in shadow. A score outside `0.0..=1.0` or NaN is none; an arm that
    /// is not there is ignored.
    #[must_use]
    pub fn with_score(mut self, arm: u8, score: Option<f64>, alert: bool) -> Self {
        let Some(place) = self.scores.get_mut(usize::from(arm)) else {
            return self;
        };
        let score = score.filter(|score| (0.0..=1.0).contains(score));
        // The cast saturates: a score of 1 becomes the last step.
        *place = score.map_or(0, |score| (score * 4_294_967_296.0) as u32);
        let bit = 1 << arm;
        let set = |bits: u8, on: bool| if on { bits | bit } else { bits & !bit };
        self.scored = set(self.scored, score.is_some());
        self.alerts = set(self.alerts, alert);
        self
    }

    /// The experiment, by the hash of its salt.
    pub fn experiment(&self) -> u64 {
        self.experiment
    }

    /// Id of the request.
    pub fn request(&self) -> u64 {
        self.request
    }

    /// The unit that the request was routed by.
    pub fn unit(&self) -> EntityKey {
        self.unit
    }

    /// When the request was made.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The arm that answered.
    pub fn arm(&self) -> u8 {
        self.arm
    }

    /// What was known of the unit before the experiment.
    pub fn covariate(&self) -> i32 {
        self.covariate
    }

    /// The phase that it was routed in.
    pub fn phase(&self) -> u16 {
        self.phase
    }

    /// What an arm scored, to 2⁻³²; `None` if it did not.
    pub fn score(&self, arm: u8) -> Option<f64> {
        self.score_steps(arm).map(|steps| f64::from(steps) / 4_294_967_296.0)
    }

    /// The same in steps of 2⁻³².
    pub(super) fn score_steps(&self, arm: u8) -> Option<u32> {
        let scored = usize::from(arm) < MAX_ARMS && self.scored & (1 << arm) != 0;
        scored.then(|| self.scores[usize::from(arm)])
    }

    /// Whether an arm asked for a review.
    pub fn alert(&self, arm: u8) -> bool {
        usize::from(arm) < MAX_ARMS && self.alerts & (1 << arm) != 0
    }

    pub(super) fn moved(&self) -> bool {
        self.flags & MOVED != 0
    }

    pub(super) fn shadow(&self) -> bool {
        self.flags & SHADOW != 0
    }

    /// The token as [`LEN`](Self::LEN) bytes: its fields in little-endian order behind a version, and a CRC-32.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&[VERSION, self.scored, self.alerts, self.arm, self.bucket, self.flags]);
        put(&self.phase.to_le_bytes());
        put(&self.experiment.to_le_bytes());
        put(&self.request.to_le_bytes());
        put(&self.unit.0.to_le_bytes());
        put(&self.at.micros().to_le_bytes());
        put(&self.amount.to_le_bytes());
        put(&self.latency_nanos.to_le_bytes());
        put(&self.label_ppm.to_le_bytes());
        put(&self.covariate.to_le_bytes());
        self.scores.iter().for_each(|score| put(&score.to_le_bytes()));
        let checksum = crc32fast::hash(&bytes[..BODY]);
        bytes[BODY..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// A token from its bytes.
    ///
    /// # Errors
    /// `Corrupt` for another length, version or checksum, or fields that no token has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::corrupt("exposure token", reason));
        let Ok(bytes) = <&[u8; Self::LEN]>::try_from(bytes) else {
            return refuse("has another length");
        };
        if bytes[BODY..] != crc32fast::hash(&bytes[..BODY]).to_le_bytes() {
            return refuse("its checksum does not fit");
        }
        if bytes[0] != VERSION {
            return refuse("was written by another version");
        }
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let token = ExposureToken {
            scored: bytes[1],
            alerts: bytes[2],
            arm: bytes[3],
            bucket: bytes[4],
            flags: bytes[5],
            phase: u16::from_le_bytes([bytes[6], bytes[7]]),
            experiment: u64_at(8),
            request: u64_at(16),
            unit: EntityKey(u64_at(24)),
            at: Timestamp::from_micros(u64_at(32) as i64),
            amount: u64_at(40) as i64,
            latency_nanos: u32_at(48),
            label_ppm: u32_at(52),
            covariate: u32_at(56) as i32,
            scores: std::array::from_fn(|arm| u32_at(60 + 4 * arm)),
        };
        if usize::from(token.arm) >= MAX_ARMS || token.label_ppm > 1_000_000 {
            return refuse("names an arm or a chance that cannot be");
        }
        Ok(token)
    }
}

const VERSION: u8 = 2;
const BODY: usize = ExposureToken::LEN - 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(let_through_ppm: u32, let_through: bool) -> Assignment {
        let reason = AssignmentReason::Assigned;
        Assignment { reason, let_through, let_through_ppm, arm: 2, ..Assignment::champion() }
    }

    fn token(assignment: &Assignment, score: f64, alert: bool) -> ExposureToken {
        let at = Timestamp::from_seconds(5);
        ExposureToken::new(assignment, EntityKey(7), 9, at, Some(score), alert).unwrap()
    }

    #[test]
    fn bytes_round_trip_and_any_flipped_bit_is_noticed() {
        let token = token(&assigned(0, false), 0.25, true).with_amount(-5).with_latency(1 << 40);
        let token = token.with_covariate(-70_000);
        let token = token.with_score(0, Some(f64::NAN), true).with_score(200, Some(0.1), true);
        let bytes = token.to_bytes();
        assert_eq!(ExposureToken::from_bytes(&bytes).unwrap(), token);
        assert_eq!((token.score(2), token.score(0), token.score(9)), (Some(0.25), None, None));
        for bit in 0..8 * bytes.len() {
            let mut broken = bytes;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(ExposureToken::from_bytes(&broken).is_err());
        }
        assert!(ExposureToken::from_bytes(&bytes[1..]).is_err());
    }

    #[test]
    fn only_assigned_requests_have_a_token_and_stopped_ones_know_their_chance() {
        let none = Assignment::champion();
        assert!(
            ExposureToken::new(&none, EntityKey(1), 1, Timestamp::default(), None, false).is_none()
        );
        assert_eq!(token(&assigned(0, false), 0.9, true).label_ppm, 1_000_000);
        assert_eq!(token(&assigned(50_000, true), 0.9, true).label_ppm, 50_000);
        assert_eq!(token(&assigned(50_000, false), 0.9, true).label_ppm, 0);
        assert_eq!(token(&assigned(50_000, false), 0.1, false).label_ppm, 1_000_000);
    }
}
