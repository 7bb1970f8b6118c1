//! What becomes of a key's words when it comes under other rules, and what they say that it owes.
//!
//! Under a plan's rules, the words of the plan's quotas come first, in the order of the policy; so a check needs to know nothing of
//! columns. The columns in which the plan has no quota follow. Their words are *parked*: the highest bits tell the plan under
//! which the debt was made, if there are several, and the rest is a word of the quota that this plan had there last. So it goes on to decay as it
//! would have, and whoever comes to a plan with a quota in that column still owes it.

use super::{COUNTER_CELLS, Prepared, Rules, sealed};
use crate::algorithm::{Cells, Counter, Parked};
use crate::fingerprint::Tag;
use crate::policy::QUOTAS_MAX;

/// A key's words.
type KeyWords = [u64; QUOTAS_MAX];

/// The columns of the words of a key, in order; of these, so many have quotas in force.
#[derive(Clone, Copy)]
struct Places {
    columns: [usize; QUOTAS_MAX],
    in_force: usize,
}

/// A word, and the numbers by which it is to be read. They are not looked at before it is known that they are whole.
#[derive(Clone, Copy, Default)]
struct ColumnWord {
    /// Without its source, if it is parked.
    word: u64,
    /// The plan under which the debt was made.
    source: usize,
    parked: bool,
    cells: Cells,
}

impl ColumnWord {
    /// The counter, and the word as it reads it.
    fn read(&self, parked_bits: u32) -> (Counter, u64) {
        if self.parked {
            Parked::from_cells(&self.cells, parked_bits).unpark(self.word)
        } else {
            (Counter::from_cells(&self.cells), self.word)
        }
    }
}

impl Rules {
    /// Words under a tag as they are to be read under another. `None` if one of the tags' rules are not known any more.
    pub(crate) fn carried(&self, from: Tag, to: Tag, words: &KeyWords, now: u64) -> Option<KeyWords> {
        let (to_plan, width) = (Self::plan(to), self.width);
        let (seal, each) = self.read_known(&[from, to], |[of_from, of_to]| {
            let old = self.held(of_from, Self::plan(from), words);
            let new = self.places(of_to, to_plan);
            let mut each = [(ColumnWord::default(), ColumnWord::default()); QUOTAS_MAX];
            for (position, each) in each[..width].iter_mut().enumerate() {
                let column = new.columns[position];
                let held = old[column];
                let parked = position >= new.in_force;
                let cells = if parked {
                    self.parked_cells(of_to, held.source, column)
                } else {
                    self.counter_cells(of_to, to_plan, position)
                };
                *each = (held, ColumnWord { word: 0, source: held.source, parked, cells });
            }
            (self.seal(of_to, to_plan), each)
        })?;
        let (mut after, parked_bits) = ([0; QUOTAS_MAX], self.parked_bits());
        for (after, (old, new)) in after[..width].iter_mut().zip(each) {
            let word = if !new.parked {
                let (counter, word) = old.read(parked_bits);
                Counter::from_cells(&new.cells).carry(&counter, word, now)
            } else {
                let (counter, word) = old.read(parked_bits);
                let parked = Parked::from_cells(&new.cells, parked_bits);
                self.with_source(new.source, parked.park(&counter, word, now))
            };
            *after = sealed(seal, word);
        }
        Some(after)
    }

    /// The most that words under a tag owe in any column; `None` if nothing, or if the tag's rules are not known any more.
    pub(crate) fn owed(&self, tag: Tag, words: &KeyWords, now: u64) -> Option<u64> {
        let each = self.read_known(&[tag], |[version]| self.held(version, Self::plan(tag), words))?;
        let owed = each[..self.width].iter().filter_map(|held| {
            let (counter, word) = held.read(self.parked_bits());
            (!counter.is_fresh(word, now)).then(|| counter.debt(word, now))
        });
        owed.max()
    }

    /// A word under a tag, at a place after those of quotas in force, after `cost` is given back in its column. `None` if the tag's
    /// rules are not known any more.
    pub(crate) fn refund_parked(&self, tag: Tag, place: usize, word: u64, now: u64, cost: u64) -> Option<u64> {
        let plan = Self::plan(tag);
        let (seal, held) = self.read_known(&[tag], |[version]| {
            let mut words = [0; QUOTAS_MAX];
            words[place] = word;
            let column = self.places(version, plan).columns[place];
            (self.seal(version, plan), self.held(version, plan, &words)[column])
        })?;
        let after = Parked::from_cells(&held.cells, self.parked_bits()).refund(held.word, now, cost);
        Some(sealed(seal, self.with_source(held.source, after)))
    }

    /// The column of a place under a tag.
    pub(crate) fn column(&self, tag: Tag, place: usize) -> Option<usize> {
        self.read_known(&[tag], |[version]| self.places(version, Self::plan(tag)).columns[place])
    }

    /// Copies, until the copy is whole, what belongs to the versions of tags. `None` if one of them is neither the
    /// current one nor the one before, or if the next change has begun, so that nothing of the one before is left.
    fn read_known<const N: usize, T>(&self, tags: &[Tag; N], copy: impl Fn([u64; N]) -> T) -> Option<T> {
        let (version, found) = self.read(|version| {
            let of = tags.map(|tag| Self::version_of(version, tag));
            let known = of.iter().zip(tags).all(|(of, tag)| of.is_some() && Self::plan(*tag) < self.plans);
            known.then(|| of.map(|of| of.unwrap_or(version))).map(|of| (of, copy(of)))
        });
        let (of, copied) = found?;
        // After the fence in `read`; see the proof.
        let overwritten = of.iter().any(|&of| of != version) && !self.is_written(version);
        (!overwritten).then_some(copied)
    }

    /// Words by column, with what they are read by.
    fn held(&self, version: u64, plan: usize, words: &KeyWords) -> [ColumnWord; QUOTAS_MAX] {
        let (places, seal) = (self.places(version, plan), self.seal(version, plan));
        let mut held = [ColumnWord::default(); QUOTAS_MAX];
        for (position, (&column, word)) in places.columns[..self.width].iter().zip(words).enumerate() {
            let word = word ^ seal;
            held[column] = if position < places.in_force {
                ColumnWord { word, source: plan, parked: false, cells: self.counter_cells(version, plan, position) }
            } else {
                let (source, word) = self.without_source(word);
                ColumnWord { word, source, parked: true, cells: self.parked_cells(version, source, column) }
            };
        }
        held
    }

    /// A parked word, with the plan under which the debt was made.
    fn with_source(&self, plan: usize, word: u64) -> u64 {
        (plan as u64).checked_shl(self.parked_bits()).unwrap_or_default() | word
    }

    fn without_source(&self, word: u64) -> (usize, u64) {
        let bits = self.parked_bits();
        let plan = word.checked_shr(bits).unwrap_or_default() as usize;
        (plan.min(self.plans - 1), word & (u64::MAX >> (u64::BITS - bits)))
    }

    fn places(&self, version: u64, plan: usize) -> Places {
        let mut columns = [0; QUOTAS_MAX];
        let in_force = self.in_force(version, plan);
        let mut rest = (1_u32 << self.width) - 1;
        for (position, column) in columns[..in_force].iter_mut().enumerate() {
            *column = Prepared::column_of(&self.counter_cells(version, plan, position)).min(self.width - 1);
            rest &= !(1 << *column);
        }
        for column in columns[in_force..self.width].iter_mut() {
            // While the numbers are being written, a column may seem to be there twice. No copy of that is used.
            *column = (rest.trailing_zeros() as usize).min(self.width - 1);
            rest &= rest.wrapping_sub(1);
        }
        Places { columns, in_force }
    }

    fn counter_cells(&self, version: u64, plan: usize, position: usize) -> Cells {
        self.copied(&self.quota(version, plan, position)[..COUNTER_CELLS])
    }

    fn parked_cells(&self, version: u64, plan: usize, column: usize) -> Cells {
        self.copied(self.parked(version, plan, column))
    }
}
