//! [`Cells`]: a prepared counter as plain numbers, for rules that are read while they are replaced.

/// A counter as plain numbers. The first holds the algorithm in its low byte, then the small numbers, a byte each.
pub(crate) type Cells = [u64; 5];

/// The first of a counter's cells.
pub(super) fn first_cell(algorithm: u64, bytes: [u32; 3]) -> u64 {
    bytes.iter().rev().fold(0, |cell, byte| (cell | u64::from(*byte)) << 8) | algorithm
}

/// A small number from the first of a counter's cells.
#[inline]
pub(super) fn byte(cells: &Cells, index: u32) -> u32 {
    (cells[0] >> (8 * (index + 1))) as u32 & 0xff
}
