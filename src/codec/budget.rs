//! How much memory decoding may take.

use std::cell::Cell;
use std::fmt;

/// Memory that decoding may still take: four times the bytes and a mebibyte, to begin with. It is charged before memory is
/// taken, by the bytes that an allocation asks for, so hostile bytes cannot take more.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<usize>,
}

/// More memory was asked for than is left.
#[derive(Debug)]
pub(crate) struct OverBudget;

/// Left for what is not charged since it does not grow with the bytes: the lines of keys that trees score on, which are of
/// 256 KiB at most, tables of sections, messages of errors.
const NOT_CHARGED: usize = 320 << 10;

impl Budget {
    /// For decoding so many bytes.
    pub(crate) fn new(n_bytes: usize) -> Self {
        let left = n_bytes.saturating_mul(4).saturating_add((1 << 20) - NOT_CHARGED);
        Budget { left: Cell::new(left) }
    }

    /// Takes what is kept until all is decoded.
    pub(crate) fn charge(&self, bytes: usize) -> Result<(), OverBudget> {
        self.lend(bytes)?;
        self.left.set(self.left.get() - bytes);
        Ok(())
    }

    /// Takes the items of a list.
    pub(crate) fn charge_list<T>(&self, n: usize) -> Result<(), OverBudget> {
        self.charge(n.saturating_mul(size_of::<T>()))
    }

    /// Allows for what is given back before anything else is taken.
    pub(crate) fn lend(&self, bytes: usize) -> Result<(), OverBudget> {
        if bytes <= self.left.get() { Ok(()) } else { Err(OverBudget) }
    }
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("takes more memory than four times its bytes and a mebibyte")
    }
}
