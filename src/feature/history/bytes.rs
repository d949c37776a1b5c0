//! A history in a snapshot.

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::history::events::KeptEvents;
use crate::feature::history::fold::Fold;
use crate::feature::history::{KeyHistory, WindowState};
use crate::feature::plan::StreamPlan;

impl KeyHistory {
    pub(in crate::feature) fn write(&self, bytes: &mut Vec<u8>) {
        self.events.write(bytes);
        for value in [self.gone, self.last_read.0, self.last_read.1] {
            bytes.extend(value.to_le_bytes());
        }
        for state in &self.windows {
            bytes.extend(state.low.to_le_bytes());
            bytes.extend(state.high.to_le_bytes());
        }
        self.sums.iter().for_each(|sum| bytes.extend(sum.to_le_bytes()));
        self.accumulators.iter().for_each(|accumulator| accumulator.write(bytes));
        self.folds.iter().for_each(|fold| fold.write(bytes));
    }

    pub(in crate::feature) fn read_bytes(
        stream: &StreamPlan,
        reader: &mut Reader<'_>,
    ) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt("feature snapshot", reason);
        let mut history = KeyHistory::new(stream);
        history.events = KeptEvents::read(stream.entry_len(), reader)?;
        history.gone = reader.i64()?;
        history.last_read = (reader.i64()?, reader.i64()?);
        let kept = history.events.first()..=history.events.end();
        for (w, window) in stream.windows.iter().enumerate() {
            let (low, high) = (reader.u64()?, reader.u64()?);
            let sound = kept.contains(&high) && (window.folds() || kept.contains(&low));
            if !sound || low > high {
                return Err(corrupt("holds a window that lies outside its events"));
            }
            history.windows[w] = WindowState { low, high, ..history.windows[w] };
            history.look(stream, w);
        }
        for sum in &mut history.sums {
            *sum = reader.i128()?;
        }
        for accumulator in &mut history.accumulators {
            accumulator.read(reader, stream.entry_len())?;
        }
        for (w, window) in stream.windows.iter().enumerate() {
            match window.fold {
                Some(f) => {
                    let high = history.windows[w].high;
                    let fold = Fold::read(stream, w, high, reader)?;
                    if !kept.contains(&fold.folded) || fold.folded > high {
                        return Err(corrupt("has folded events that it does not know"));
                    }
                    history.folds[f] = fold;
                }
                None => history.rebuild(stream, w),
            }
        }
        Ok(history)
    }
}
