//! [`Table`]: the bounded concurrent map from a key's fingerprint to its state words. It knows no quota.
//!
//! # Layout
//!
//! A bucket is one cache line of eight fingerprints, followed by a line of eight words for each quota. A key may live in
//! either of two buckets, so a lookup reads at most two lines of fingerprints and the word lines of one bucket. The
//! whole table is one allocation of untouched zero pages: fingerprint 0 is an empty slot, word 0 a key never seen.
//!
//! # Who writes what
//!
//! - A *charge* is one compare-and-swap on a word, by any thread, without a lock.
//! - A *claim* makes a slot another key's. It is made under the lock of the newcomer's stripe, so no key is inserted
//!   twice; keys of other stripes may be claiming in the same bucket at the same time.
//!
//! A claim of slot `s`, held by `old` with first word `w`, for `new`:
//!
//! 1. `word[0]`: compare-and-swap `w` to [`CLAIMED`]. From here the slot is the claimer's alone: charges and other
//!    claims fail on `word[0]`, and whoever still finds `old` in the slot sees `CLAIMED` and takes it for gone.
//! 2. `fingerprint`: store `new`; then store the words from `word[1]` on.
//! 3. `word[0]`: store the newcomer's word, which publishes the slot.
//!
//! # Proof
//!
//! *No charge is lost to a claim.* A charge of `old` is decided on the first word it loaded, and the claim on `w`; both
//! then compare-and-swap that word. Whichever is second finds another value and fails: the claim looks for another
//! slot, the charge looks its key up again. `w` cannot come back: the word of an expired entry is below now, the newcomer's is above.
//! (With one exception, if `w` was *forgotten*, by a reset or with an expired entry carried over, and so lies before time. While one
//! charge stands still between two steps, another key would have to take the slot, be forgotten in turn, and its word become that
//! one of the numbers before time, of which a bucket has 2^16. Then the newcomer pays for that one charge.) With several words, every charge begins at `word[0]`, so that word decides for all.
//!
//! *No charge lands on a stranger.* [`Table::word`] loads the word and *then* checks the fingerprint. Suppose the word
//! loaded was the newcomer's: the load (Acquire) of `word[0]` pairs with the store (Release) of step 3, directly or
//! through a chain of read-modify-writes, so the store of `new` in step 2 happened before, the fingerprint is seen to be
//! `new`, and the word is refused. If it was the old key's word, the compare-and-swap fails as above. The one exception:
//! an *evicted* key's word that is, to the tick, the number the newcomer brings (same debt, same instant). Then
//! a charge in flight for the evicted key is paid by the newcomer, whose key had just been forgiven all it owed.
//!
//! *No key stands twice.* Only a thread that holds the stripe's lock publishes `new`, after scanning both buckets
//! under it; the lock orders it after every earlier insertion of that key. An old slot of the same key that is
//! being claimed by another has `CLAIMED` in `word[0]`, which never turns back into the old key's word.
//!
//! *A denial is not wrong because of a claim.* A lookup that finds `new` (Acquire, pairs with the Release store of step 2)
//! happens after step 1, so it sees `CLAIMED` or the newcomer's word, never the word of the key before.
//!
//! The model checker explores these interleavings: `RUSTFLAGS="--cfg tollgate_loom" cargo test --release --lib loom`.

use std::cmp::Reverse;

use crate::fingerprint::{Fingerprint, Owner, TagMask};
use sync::{AtomicU64, Mutex, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, zeroed};

/// Slots in a bucket: as many fingerprints as fit a cache line.
const WAYS: usize = if cfg!(tollgate_loom) { 1 } else { 8 };

/// Locks for insertion, and shared entries of a full table.
const STRIPES: usize = if cfg!(tollgate_loom) { 2 } else { 128 };

/// The most keys a table can be asked to hold: bucket numbers are 32 bits.
pub(crate) const CAPACITY_MAX: usize = 1 << 32;

/// A word that says: this slot is changing hands or tags. No algorithm makes it.
const CLAIMED: u64 = u64::MAX;

/// The most words a key can have.
pub(crate) const WORDS_MAX: usize = 8;

/// One key's words, as many as there are quotas; the rest is 0.
pub(crate) type Words = [u64; WORDS_MAX];

/// What a full table does with a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// A key can live in sixteen places. Take the place of the entry there that owes least, or of the youngest of those that owe
    /// the same. Count it in [`Stats::evicted`](crate::Stats::evicted).
    ///
    /// What the evicted key had spent is forgiven. A flood of keys that each come once evicts its own keys: not a client that
    /// has spent more, and not one that was there before, even at a limit of 1. To forgive a debt, an attacker
    /// must bring the fifteen other keys deeper into debt.
    ///
    /// A client that *comes* while the table is full of live keys, and has spent no more than they, cannot be told from
    /// the flood. It is the youngest, so it is forgotten when the next new key comes to its sixteen places, and can then spend
    /// its limit again. Each time costs the flood one request that passes. Where the limit is 2 or more, its second request puts
    /// it above the flood. If that is not enough, take [`Share`](Self::Share), or a capacity above the number of keys that a
    /// flood can bring within the period.
    ///
    /// Windows that begin together do not tell which key came first, so there the place decides: places are given out in
    /// order, and the last is lost first. A key that was among the first seven of its eight places stays.
    #[default]
    EvictLeastIndebted,
    /// Let new keys share one of 128 entries that are set aside. Count each such check in
    /// [`Stats::shared`](crate::Stats::shared).
    ///
    /// Nothing is ever forgiven: a key that gets a place later starts with what its shared entry owes. While the
    /// table is full of live keys, newcomers can deny each other, and each of their checks takes a lock, also if it is denied.
    Share,
}

/// A fixed-capacity, set-associative table of atomics.
pub(crate) struct Table {
    cells: Box<[AtomicU64]>,
    /// The first cell of the first bucket. It begins a pair of cache lines; by an offset, because what is aligned by its type
    /// the standard library clears by hand.
    first: usize,
    buckets: u32,
    /// Words per key.
    width: usize,
    tag_mask: TagMask,
    when_full: WhenFull,
    stripes: Box<[Stripe]>,
}

/// Where a key was found: the cell of its fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(usize);

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insertion {
    /// The key was there already, or is there now, brought from another tag.
    Present(Slot),
    /// It has been given a place, or a share of one, with these words.
    Done(Words),
    /// The asker is no longer current, and must begin again.
    Stale,
}

/// What [`Table::insert`] has to know of words. All of it is called under a lock, and must be the limiter's own.
pub(crate) trait Judge {
    /// Why a key does not get what it asked for.
    type Refusal;

    /// Whether the tag that the asker puts on its fingerprint is still the one to use.
    fn is_current(&self) -> bool;

    /// What an entry owes, and when it came: a number that of two entries under the same rules is higher for the younger.
    /// `None` if it is as good as never seen.
    fn debt(&self, owner: Owner, words: &Words) -> Option<(u64, u64)>;

    /// The words of a key never seen.
    fn fresh(&self) -> Words;

    /// What the key's words become, if they are these now.
    fn decide(&self, words: &Words) -> Result<Words, Self::Refusal>;

    /// Words of the same key under another tag, as they are to be read under the asker's.
    fn carry(&self, owner: Owner, words: &Words) -> Words;
}

/// Padded to a cache line, so that two stripes' locks do not slow each other down.
#[repr(align(64))]
struct Stripe(Mutex<StripeState>);

struct StripeState {
    /// The words that newcomers share when the table is full ([`WhenFull::Share`]), under the tag by which they are to be
    /// read. Their owner is no key.
    shared: (Owner, Words),
    counts: TableCounts,
}

/// Counts of a table's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableCounts {
    /// Slots that have ever been taken.
    pub(crate) occupied: u64,
    /// Live entries taken by others.
    pub(crate) evicted: u64,
    /// Checks answered from a shared entry.
    pub(crate) shared: u64,
}

/// The word of a key that has one.
#[derive(Clone, Copy)]
pub(crate) struct OnlyWord<'a> {
    owner: Owner,
    /// Fingerprints, and then words.
    bucket: &'a [AtomicU64; 2 * WAYS],
    way: usize,
}

impl OnlyWord<'_> {
    /// The word; `None` if the slot is no longer the key's own. As [`Table::word`].
    #[inline]
    pub(crate) fn load(&self) -> Option<u64> {
        let word = self.bucket[WAYS + self.way].load(Acquire);
        let mine = self.bucket[self.way].load(Relaxed) == self.owner.bits();
        (mine && word != CLAIMED).then_some(word)
    }

    /// Charges: replaces a word that has not moved. As [`Table::replace`].
    #[inline]
    pub(crate) fn replace(&self, old: u64, new: u64) -> bool {
        self.bucket[WAYS + self.way].compare_exchange(old, new, Relaxed, Relaxed).is_ok()
    }
}

impl Table {
    /// A table for `capacity` keys of `width` words. An eighth more slots are made than asked for, because keys do not
    /// spread evenly over buckets.
    pub(crate) fn new(capacity: usize, width: usize, when_full: WhenFull, tag_mask: TagMask) -> Self {
        assert!(
            (1..=CAPACITY_MAX).contains(&capacity),
            "a table's capacity is between 1 and 2^32 keys, not {capacity}"
        );
        assert!((1..=WORDS_MAX).contains(&width), "a policy has between 1 and {WORDS_MAX} quotas");
        let buckets = (capacity + capacity / 8).div_ceil(WAYS).max(if cfg!(tollgate_loom) { 1 } else { 2 });
        let cells = zeroed((buckets * (1 + width) + 2) * WAYS);
        // Two lines: processors fetch the neighbour along, which of a bucket of one quota is its words.
        let first = cells.as_ptr().align_offset(128).min(2 * WAYS);
        let stripe = || StripeState { shared: (Owner::NOBODY, [0; WORDS_MAX]), counts: TableCounts::default() };
        let stripes = (0..STRIPES).map(|_| Stripe(Mutex::new(stripe()))).collect();
        let buckets = u32::try_from(buckets).expect("at most 9/64 of the greatest capacity");
        Self { cells, first, buckets, width, tag_mask, when_full, stripes }
    }

    /// How many keys fit, at most.
    pub(crate) fn slots(&self) -> usize {
        self.buckets as usize * WAYS
    }

    pub(crate) fn counts(&self) -> TableCounts {
        self.stripes.iter().fold(TableCounts::default(), |sum, stripe| {
            let counts = stripe.0.lock().counts;
            TableCounts {
                occupied: sum.occupied + counts.occupied,
                evicted: sum.evicted + counts.evicted,
                shared: sum.shared + counts.shared,
            }
        })
    }

    /// The first cells of the two buckets where a key may live. Both come from the fingerprint, each from a half of it, by
    /// multiplication instead of division (Lemire 2016, "fast range").
    #[inline]
    fn homes(&self, key: Fingerprint) -> [usize; 2] {
        let [one, two] = self.places(key);
        [one, self.other_place(one, two)].map(|bucket| self.first + bucket * (1 + self.width) * WAYS)
    }

    /// The two buckets, which may be one.
    #[inline(always)]
    fn places(&self, key: Fingerprint) -> [usize; 2] {
        let place = |half: u64| ((half * u64::from(self.buckets)) >> 32) as usize;
        [place(key.bits() >> 32), place(key.bits() & 0xffff_ffff)]
    }

    /// The second bucket: the next one, if both are one.
    #[inline(always)]
    fn other_place(&self, one: usize, two: usize) -> usize {
        match two == one {
            true if one + 1 == self.buckets as usize => 0,
            true => one + 1,
            false => two,
        }
    }

    /// Where a key stands under its tag, at a glance: a slot that is being claimed may be named, and `word` then says so.
    #[inline(always)]
    pub(crate) fn find(&self, owner: Owner) -> Option<Slot> {
        self.homes(owner.key(self.tag_mask)).into_iter().find_map(|home| {
            let line = &self.cells[home..home + WAYS];
            // Acquire: pairs with the fingerprint's store in `claim`; see "A denial is not wrong".
            let way = line.iter().position(|cell| cell.load(Acquire) == owner.bits())?;
            Some(Slot(home + way))
        })
    }

    /// A key's word in a table of one word per key, where it stands at a glance: what [`find`](Self::find),
    /// [`word`](Self::word) and [`replace`](Self::replace) would find and do, without looking up the place each time. The key
    /// is the owner's.
    #[inline(always)]
    pub(crate) fn only_word(&self, owner: Owner, key: Fingerprint) -> Option<OnlyWord<'_>> {
        debug_assert_eq!(self.width, 1);
        let [one, two] = self.places(key);
        match self.only_word_at(owner, one) {
            Some(found) => Some(found),
            None => self.only_word_at(owner, self.other_place(one, two)),
        }
    }

    #[inline(always)]
    fn only_word_at(&self, owner: Owner, place: usize) -> Option<OnlyWord<'_>> {
        let bucket = self.cells.get(self.first + place * 2 * WAYS..)?.first_chunk()?;
        // Acquire: as in `find`.
        let way = bucket[..WAYS].iter().position(|cell| cell.load(Acquire) == owner.bits())?;
        Some(OnlyWord { owner, bucket, way })
    }

    #[inline]
    fn cell(&self, slot: Slot, quota: usize) -> &AtomicU64 {
        &self.cells[slot.0 + (1 + quota) * WAYS]
    }

    /// A key's word; `None` if the slot is no longer its own.
    #[inline]
    pub(crate) fn word(&self, slot: Slot, owner: Owner, quota: usize) -> Option<u64> {
        // Acquire: pairs with the last store in `claim`; see "No charge lands on a stranger".
        let word = self.cell(slot, quota).load(Acquire);
        let mine = self.cells[slot.0].load(Relaxed) == owner.bits();
        (mine && (word != CLAIMED || quota != 0)).then_some(word)
    }

    /// Who stands in a slot.
    #[inline]
    pub(crate) fn owner(&self, slot: Slot) -> Owner {
        Owner::from_bits(self.cells[slot.0].load(Acquire))
    }

    /// Charges: replaces a word that has not moved.
    #[inline]
    pub(crate) fn replace(&self, slot: Slot, quota: usize, old: u64, new: u64) -> bool {
        // Relaxed: a charge publishes nothing but the word, and as a read-modify-write it carries on the release
        // sequence of the claim before it.
        self.cell(slot, quota).compare_exchange(old, new, Relaxed, Relaxed).is_ok()
    }

    fn stripe(&self, key: Fingerprint) -> &Mutex<StripeState> {
        &self.stripes[(key.bits() >> 16) as usize % STRIPES].0
    }

    /// Holds up whoever takes a lock.
    #[cfg(all(test, not(tollgate_loom)))]
    pub(crate) fn lock_all(&self) -> Vec<impl Drop + '_> {
        self.stripes.iter().map(|stripe| stripe.0.lock()).collect()
    }

    /// All that a check could have written.
    #[cfg(all(test, not(tollgate_loom)))]
    pub(crate) fn all_cells(&self) -> Vec<u64> {
        self.cells.iter().map(|cell| cell.load(Relaxed)).collect()
    }

    /// Finds a key, or a place for it, under its stripe's lock. The place begins with words of 0, or, where newcomers
    /// share, with the stripe's shared words.
    #[cold]
    pub(crate) fn insert<T: Judge>(&self, newcomer: Owner, judge: T) -> Result<Insertion, T::Refusal> {
        let mut stripe = self.stripe(newcomer.key(self.tag_mask)).lock();
        if !judge.is_current() {
            return Ok(Insertion::Stale);
        }
        let mut candidate = match self.candidate(newcomer, &judge) {
            Err(slot) => return Ok(Insertion::Present(slot)),
            Ok(candidate) => candidate,
        };
        let before = match self.when_full {
            WhenFull::EvictLeastIndebted => judge.fresh(),
            WhenFull::Share => {
                // A change of rules may not have come here yet, and the asker be of the new ones.
                let (owner, words) = stripe.shared;
                let carried = owner.tag(self.tag_mask) == newcomer.tag(self.tag_mask);
                if carried { words } else { judge.carry(owner, &words) }
            }
        };
        let words = judge.decide(&before)?;
        let mut waits = 0;
        loop {
            match candidate {
                Some(Candidate { live: true, .. }) | None if self.when_full == WhenFull::Share => {
                    stripe.shared = (Owner::nobody(newcomer.tag(self.tag_mask)), words);
                    stripe.counts.shared += 1;
                    return Ok(Insertion::Done(words));
                }
                Some(candidate) => {
                    if let Some(empty) = self.claim(candidate.slot, candidate.word, newcomer, &words) {
                        stripe.counts.occupied += u64::from(empty);
                        stripe.counts.evicted += u64::from(candidate.live);
                        return Ok(Insertion::Done(words));
                    }
                }
                // Every slot is changing hands at this moment, so each has a claimer about to finish.
                None => sync::wait(&mut waits),
            }
            candidate = match self.candidate(newcomer, &judge) {
                Err(slot) => return Ok(Insertion::Present(slot)),
                Ok(candidate) => candidate,
            };
        }
    }

    /// Brings a key that stands under another tag under this one, if it does.
    pub(crate) fn bring<T: Judge>(&self, owner: Owner, judge: T) -> Option<Slot> {
        let key = owner.key(self.tag_mask);
        let slots = || self.homes(key).into_iter().flat_map(|home| (home..home + WAYS).map(Slot));
        let stands = |slot: &Slot| self.owner(*slot).key(self.tag_mask) == key;
        slots().find(stands)?;
        let _stripe = self.stripe(key).lock();
        if !judge.is_current() {
            return None;
        }
        let slot = slots().find(|slot| stands(slot) && self.cell(*slot, 0).load(Acquire) != CLAIMED)?;
        self.retag(slot, owner, |owner, words| judge.carry(owner, words)).then_some(slot)
    }

    /// Brings every key under the tag that `current` gives it, and the words that newcomers share along with them.
    /// Afterwards no other tag is left, and none comes back, if insertions have been told before by
    /// [`Judge::is_current`].
    pub(crate) fn carry_over(&self, current: impl Fn(Owner) -> Owner, carry: impl Fn(Owner, &Words) -> Words) {
        self.carry_over_shared(&current, &carry);
        self.carry_over_keys(current, carry);
    }

    /// The first part of it, after which nobody is inserting under an old tag.
    pub(crate) fn carry_over_shared(&self, current: impl Fn(Owner) -> Owner, carry: impl Fn(Owner, &Words) -> Words) {
        for stripe in &self.stripes {
            // Also waits for whoever was inserting under an old tag.
            let mut stripe = stripe.0.lock();
            let (owner, words) = stripe.shared;
            // Elsewhere nobody reads them.
            if self.when_full == WhenFull::Share && owner != current(owner) {
                stripe.shared = (current(owner), carry(owner, &words));
            }
        }
    }

    /// The second part of it: the walk over all keys.
    pub(crate) fn carry_over_keys(&self, current: impl Fn(Owner) -> Owner, carry: impl Fn(Owner, &Words) -> Words) {
        for bucket in 0..self.buckets as usize {
            let home = self.first + bucket * (1 + self.width) * WAYS;
            for slot in (home..home + WAYS).map(Slot) {
                let mut waits = 0;
                loop {
                    let owner = self.owner(slot);
                    if owner == Owner::NOBODY {
                        break;
                    }
                    if owner == current(owner) {
                        // Whoever brings a key under a tag writes the tag first and then carries its words, by rules that have
                        // to last until then. Acquire, in `owner`: who sees the tag sees the slot claimed, or the words carried.
                        if self.cell(slot, 0).load(Acquire) != CLAIMED {
                            break;
                        }
                        sync::wait(&mut waits);
                        continue;
                    }
                    let stripe = self.stripe(owner.key(self.tag_mask)).lock();
                    // Under its lock a key stays where it is, unless another takes its place.
                    if self.owner(slot) == owner && self.retag(slot, current(owner), &carry) {
                        break;
                    }
                    drop(stripe);
                    // Another key is taking the slot, and its claimer is about to finish.
                    sync::wait(&mut waits);
                }
            }
        }
    }

    /// Puts another tag on a key in its slot, and reads its words anew. `false` if another key is taking the slot. The
    /// caller holds the lock of the key's stripe.
    ///
    /// A charge under the old tag fails on the first word, or is made before and is carried over; one of several words
    /// that had begun before finds the old fingerprint gone, or lands on its word before that is taken to be carried over. A word
    /// may go to another place, so all are taken before any is written.
    fn retag(&self, slot: Slot, under: Owner, carry: impl Fn(Owner, &Words) -> Words) -> bool {
        let owner_cell = &self.cells[slot.0];
        let owner = self.owner(slot);
        if owner.key(self.tag_mask) != under.key(self.tag_mask) {
            return false; // another key has taken the slot
        }
        if owner == under {
            return true;
        }
        let first = self.cell(slot, 0);
        let mut words = [0; WORDS_MAX];
        words[0] = loop {
            // As in `word`: the word, and then whose it is.
            let word = first.load(Acquire);
            if word == CLAIMED || owner_cell.load(Relaxed) != owner.bits() {
                return false;
            }
            // Acquire: as in `claim`.
            if first.compare_exchange(word, CLAIMED, Acquire, Relaxed).is_ok() {
                break word;
            }
        };
        // Release: as in `claim`.
        owner_cell.store(under.bits(), Release);
        for (index, word) in words[..self.width].iter_mut().enumerate().skip(1) {
            // A charge under way finds another number than it decided on. Release: who sees it sees the other tag.
            *word = self.cell(slot, index).swap(CLAIMED, Release);
        }
        let words = carry(owner, &words);
        for (index, word) in words[..self.width].iter().enumerate().skip(1) {
            // Release: as in `claim`.
            self.cell(slot, index).store(*word, Release);
        }
        first.store(words[0], Release);
        true
    }

    /// The best slot to claim, or, as the error, the slot where the key already stands.
    /// A key that stands under another tag is brought under this one.
    fn candidate<T: Judge>(&self, newcomer: Owner, judge: &T) -> Result<Option<Candidate>, Slot> {
        let key = newcomer.key(self.tag_mask);
        // A free slot beats any live one, and the emptier bucket the other: two choices keep buckets even
        // (Azar, Broder, Karlin and Upfal 1994).
        let mut free: Option<(usize, Candidate)> = None;
        // Of live keys the one that owes least; of equals one under the newcomer's own rules, since ages under others cannot
        // be compared; of those the youngest; and of those of one age (windows that begin together) the last,
        // as places are given out in order. So a flood of new keys takes its own places again, and not those of older keys.
        let mut live: Option<(Loss, Candidate)> = None;
        for home in self.homes(key) {
            let mut first_free = None;
            let mut crowd = 0;
            for slot in (home..home + WAYS).map(Slot) {
                // The first word before the others: a charge in flight begins there, and so fails the claim. And the owner
                // both before and after the words: an owner seen before could be one whose place was just taken, and one
                // seen after could have been given another tag, and its words back to what they were, meanwhile.
                let before = self.owner(slot);
                let mut words = [0; WORDS_MAX];
                for (quota, word) in words[..self.width].iter_mut().enumerate() {
                    *word = self.cell(slot, quota).load(Acquire);
                }
                let owner = self.owner(slot);
                let candidate = Candidate { slot, word: words[0], live: false };
                if words[0] == CLAIMED || owner != before {
                    crowd += 1;
                } else if owner.key(self.tag_mask) == key {
                    if self.retag(slot, newcomer, |owner, words| judge.carry(owner, words)) {
                        return Err(slot);
                    }
                    crowd += 1;
                } else if let Some((owed, came)) = (owner != Owner::NOBODY).then(|| judge.debt(owner, &words)).flatten()
                {
                    crowd += 1;
                    let foreign = owner.tag(self.tag_mask) != newcomer.tag(self.tag_mask);
                    let loss = (owed, foreign, Reverse(came));
                    if live.is_none_or(|(least, _)| loss <= least) {
                        live = Some((loss, Candidate { live: true, ..candidate }));
                    }
                } else {
                    first_free = first_free.or(Some(candidate));
                }
            }
            if let Some(candidate) = first_free.filter(|_| free.is_none_or(|(fewest, _)| crowd < fewest)) {
                free = Some((crowd, candidate));
            }
        }
        Ok(free.map(|(_, free)| free).or(live.map(|(_, live)| live)))
    }

    /// Makes a slot another key's; `None` if its first word has moved. Says whether the slot had been empty.
    fn claim(&self, slot: Slot, word: u64, newcomer: Owner, words: &Words) -> Option<bool> {
        let first = self.cell(slot, 0);
        // Acquire: the stores below must not be seen before it. Nothing is published yet.
        first.compare_exchange(word, CLAIMED, Acquire, Relaxed).ok()?;
        let owner = &self.cells[slot.0];
        let empty = owner.load(Relaxed) == 0;
        // Release: pairs with the loads of fingerprints in `find` and `candidate`: who sees the newcomer sees `CLAIMED`.
        owner.store(newcomer.bits(), Release);
        for (quota, word) in words.iter().enumerate().take(self.width).skip(1) {
            // Release: pairs with the load in `word`: who sees this word sees the fingerprint, and so refuses it.
            self.cell(slot, quota).store(*word, Release);
        }
        // Release: pairs with the load in `word`: who sees this word sees the fingerprint and the other words.
        first.store(words[0], Release);
        Some(empty)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("slots", &self.slots()).field("width", &self.width).finish_non_exhaustive()
    }
}

/// What speaks against taking a live key's place, in this order: its debt, that its rules are not the newcomer's, its age.
type Loss = (u64, bool, Reverse<u64>);

/// A slot that could be claimed.
#[derive(Clone, Copy)]
struct Candidate {
    slot: Slot,
    /// Its first word, as judged.
    word: u64,
    /// Whether a live key stands there, whose debt would be forgiven.
    live: bool,
}

#[cfg(not(tollgate_loom))]
mod sync {
    pub(super) use parking_lot::Mutex;
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};

    /// Waits for another thread to finish a few stores: briefly at first, and then, as it has been put aside, out of its way.
    pub(super) fn wait(waits: &mut u32) {
        if *waits < 32 {
            *waits += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }

    /// Zeroed cells that the system has not had to touch, whatever the process has freed before.
    ///
    /// From 128 KiB on glibc maps an allocation for itself, in fresh pages, but only until the first such is freed: from then on
    /// what is as large comes from its heap, and is cleared by hand. Above 32 MiB it always maps, and shrinks a mapping in place.
    /// So a table between the two is asked for at that size, and the rest given back at once: a few microseconds, and no
    /// memory, not even reserved. Smaller ones are cleared in less. Other allocators are left alone: musl and jemalloc
    /// take fresh pages each time, and mimalloc would clear the whole by hand.
    pub(super) fn zeroed(cells: usize) -> Box<[AtomicU64]> {
        const MAPPED_FOR_CERTAIN: usize = (33 << 20) / size_of::<AtomicU64>();
        const MAPPED_AT_FIRST: usize = (128 << 10) / size_of::<AtomicU64>();
        if (MAPPED_AT_FIRST..MAPPED_FOR_CERTAIN).contains(&cells) && is_mapped_by_glibc(MAPPED_FOR_CERTAIN) {
            if let Ok(mut mapped) = bytemuck::allocation::try_zeroed_vec(MAPPED_FOR_CERTAIN) {
                mapped.truncate(cells);
                return mapped.into_boxed_slice();
            }
        }
        bytemuck::zeroed_slice_box(cells)
    }

    /// Whether so many cells would come from glibc, and in pages of their own: then they begin 16 bytes into the first.
    /// Nothing is touched to find out. jemalloc's offsets are multiples of 64, those of mimalloc and tcmalloc 0.
    fn is_mapped_by_glibc(cells: usize) -> bool {
        let mut probe = Vec::<AtomicU64>::new();
        // Seen by a black box, lest the compiler leave out an allocation that nobody uses.
        probe.try_reserve_exact(cells).is_ok() && std::hint::black_box(&probe).as_ptr().addr() % 4096 == 16
    }
}

/// The same, seen through the model checker.
#[cfg(tollgate_loom)]
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};

    pub(super) fn wait(_waits: &mut u32) {
        loom::thread::yield_now();
    }

    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no test panics under a lock")
        }
    }

    pub(super) fn zeroed(cells: usize) -> Box<[AtomicU64]> {
        (0..cells).map(|_| AtomicU64::new(0)).collect()
    }
}

#[cfg(all(test, tollgate_loom))]
mod loom_tests;
