//! The table's proofs, explored by the model checker. Each test names twins: ways to break the table that it was seen to catch.

use super::*;
use crate::fingerprint::Tag;
use loom::sync::Arc;
use loom::thread;

/// Keys of different stripes, and one more of the first's.
const ALICE: Owner = Owner::from_bits(0x1_0001_0002);
const BOB: Owner = Owner::from_bits(0x2_0002_0002);
const CAROL: Owner = Owner::from_bits(0x3_0003_0004);

/// Under the model a bucket is one slot, so a table of one key has one, and every key could stand there.
fn table(capacity: usize, width: usize, when_full: WhenFull) -> Table {
    let table = Table::new(capacity, width, when_full, TagMask::new(1));
    assert_eq!(table.slots(), capacity);
    table
}

/// Explores all interleavings with at most three preemptions, or as many as `LOOM_MAX_PREEMPTIONS` says.
fn check(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(run);
}

/// What a limiter does around the table, in small: a word is the time at which a key has paid all, and it may owe
/// at most `LIMIT`.
const LIMIT: u64 = 100;

fn charge(word: u64, now: u64, cost: u64) -> Option<u64> {
    let next = word.max(now) + cost;
    (next <= now + LIMIT).then_some(next)
}

/// The tag says which generation of rules the words are to be read by.
fn generation(owner: Owner) -> u64 {
    owner.tag(TagMask::new(1)).bits()
}

/// The same key, in the next generation.
fn renewed(owner: Owner) -> Owner {
    owner.key(TagMask::new(1)).under(Tag::new(1))
}

/// Words of generation 1 count in halves, so that one read by the wrong generation shows.
fn carried(from: Owner, to: Owner, word: u64) -> u64 {
    match (generation(from), generation(to)) {
        (0, 1) => word * 2,
        (1, 0) => word / 2,
        _ => word,
    }
}

fn carried_words(from: Owner, words: &Words, to: Owner) -> Words {
    words.map(|word| carried(from, to, word))
}

#[derive(Clone, Copy)]
struct TestJudge {
    owner: Owner,
    now: u64,
    cost: u64,
    /// Whether the rules that the asker goes by are still in force.
    current: bool,
}

impl Judge for TestJudge {
    type Refusal = ();

    fn is_current(&self) -> bool {
        self.current
    }

    fn debt(&self, _owner: Owner, words: &Words) -> Option<(u64, u64)> {
        words.iter().max().filter(|&&word| word > self.now).map(|word| (word - self.now, words[0]))
    }

    fn fresh(&self) -> Words {
        [0; WORDS_MAX]
    }

    fn decide(&self, words: &Words) -> Result<Words, ()> {
        let next = charge(words[0], self.now, self.cost).ok_or(())?;
        Ok([next, next, 0, 0, 0, 0, 0, 0])
    }

    fn carry(&self, owner: Owner, words: &Words) -> Words {
        carried_words(owner, words, self.owner)
    }
}

/// Charges a key `cost` in each of its words, as one with a single quota would.
fn ask(table: &Table, owner: Owner, now: u64, cost: u64) -> bool {
    let mut found = table.find(owner);
    loop {
        while let Some(slot) = found {
            let Some(word) = table.word(slot, owner, 0) else { break };
            match charge(word, now, cost) {
                Some(next) if table.replace(slot, 0, word, next) => return true,
                Some(_) => {}
                None => return false,
            }
        }
        found = match table.insert(owner, TestJudge { owner, now, cost, current: true }) {
            Ok(Insertion::Present(slot)) => Some(slot),
            Ok(Insertion::Done(_)) => return true,
            Ok(Insertion::Stale) => unreachable!("always current"),
            Err(()) => return false,
        };
    }
}

/// A key's first word, when nothing else is going on.
fn word_of(table: &Table, owner: Owner) -> Option<u64> {
    table.find(owner).map(|slot| table.word(slot, owner, 0).expect("no claim is going on"))
}

/// Both pass, and the slot's owner at the end owes what it was charged since it came, and nothing else.
///
/// Twins: a claim that stores its mark without comparing; [`Table::word`] looking at the owner before the word, or loading the word
/// relaxed.
#[test]
fn loom_charge_against_claim_of_an_expired_entry() {
    check(|| {
        let table = Arc::new(table(1, 1, WhenFull::EvictLeastIndebted));
        assert!(ask(&table, ALICE, 0, 5));
        let charger = {
            let table = table.clone();
            // At 10 the 5 are paid.
            thread::spawn(move || assert!(ask(&table, ALICE, 10, 1)))
        };
        assert!(ask(&table, BOB, 10, 20));
        charger.join().unwrap();
        match (word_of(&table, ALICE), word_of(&table, BOB)) {
            (Some(word), None) => assert_eq!(word, 11),
            (None, Some(word)) => assert_eq!(word, 30),
            owners => panic!("one slot, and these owners: {owners:?}"),
        }
    });
}

/// A key whose clock reading is old still counts as live to itself, and is claimed all the same.
///
/// Twins: a claim that stores its last word relaxed; [`Table::candidate`] judging by the owner that it saw before the words.
#[test]
fn loom_late_charge_against_claim_of_an_expired_entry() {
    check(|| {
        let table = Arc::new(table(1, 1, WhenFull::Share));
        assert!(ask(&table, ALICE, 0, LIMIT));
        let charger = {
            let table = table.clone();
            thread::spawn(move || ask(&table, ALICE, 1, 2))
        };
        assert!(ask(&table, BOB, LIMIT, 20));
        // Denied where it stood, or, where Bob was first, charged to the entry that newcomers share.
        let admitted = charger.join().unwrap();
        assert_eq!(word_of(&table, BOB), Some(LIMIT + 20));
        assert_eq!(table.counts().shared, u64::from(admitted));
    });
}

/// Two newcomers want one slot: one gets it, and the other evicts it or shares.
///
/// Twins: a claim that stores its mark without comparing; a claimer that does not look again after it lost one.
#[test]
fn loom_two_claimers_of_one_slot() {
    for when_full in [WhenFull::EvictLeastIndebted, WhenFull::Share] {
        check(move || {
            let table = Arc::new(table(1, 2, when_full));
            let other = {
                let table = table.clone();
                thread::spawn(move || assert!(ask(&table, ALICE, 0, 7)))
            };
            assert!(ask(&table, BOB, 0, 20));
            other.join().unwrap();
            match (word_of(&table, ALICE), word_of(&table, BOB)) {
                (Some(word), None) => assert_eq!(word, 7),
                (None, Some(word)) => assert_eq!(word, 20),
                owners => panic!("one slot, and these owners: {owners:?}"),
            }
            let TableCounts { occupied, evicted, shared } = table.counts();
            assert_eq!((occupied, evicted + shared), (1, 1));
            assert_eq!(shared == 1, when_full == WhenFull::Share);
        });
    }
}

/// Two threads bring one key, and a third takes places meanwhile. The key gets one place and its limit once.
///
/// Twins: an insertion that takes another key's lock; one that does not look for its key again after it lost a claim.
#[test]
fn loom_two_insertions_of_one_key() {
    check(|| {
        let table = Arc::new(table(2, 1, WhenFull::Share));
        // Expired at 10.
        assert!(ask(&table, CAROL, 0, 5));
        let spawn = |owner, cost| {
            let table = table.clone();
            thread::spawn(move || ask(&table, owner, 10, cost))
        };
        let (one, other) = (spawn(ALICE, 60), spawn(BOB, 1));
        let two = ask(&table, ALICE, 10, 60);
        let one = one.join().unwrap();
        assert!(other.join().unwrap());
        assert!(one ^ two, "120 of 100 passed, or nothing");
        let places = (0..table.cells.len()).filter(|&cell| table.cells[cell].load(Relaxed) == ALICE.bits()).count();
        assert_eq!((places, word_of(&table, ALICE)), (1, Some(70)));
    });
}

/// Who looks while a slot changes hands sees the old key's words under the old key, the new key's under the new
/// one, or that the slot is changing hands.
///
/// Twins: a claim that stores the owner relaxed, or after the words, or the words relaxed; [`Table::find`] loading owners relaxed;
/// [`Table::word`] not minding the mark.
#[test]
fn loom_lookup_during_a_claim() {
    for (reader, expected) in [(ALICE, 5), (BOB, 30)] {
        check(move || {
            let table = Arc::new(table(1, 2, WhenFull::EvictLeastIndebted));
            assert!(ask(&table, ALICE, 0, 5));
            // It is the one to be spawned: of the accesses to a cell the model checker remembers the last, and where the
            // claimer looks before it writes, it would forget that a reader had been there.
            let lookup = {
                let table = table.clone();
                thread::spawn(move || {
                    let Some(slot) = table.find(reader) else { return };
                    let first = table.word(slot, reader, 0);
                    assert!(first.is_none_or(|word| word == expected), "{first:?} under {reader:?}");
                    // As a limiter reads them: the second only if the first was there.
                    if first.is_some() {
                        let second = table.word(slot, reader, 1);
                        assert!(second.is_none_or(|word| word == expected), "{second:?} under {reader:?}");
                    }
                })
            };
            assert!(ask(&table, BOB, 10, 20));
            lookup.join().unwrap();
        });
    }
}

/// The rules change while a key is charged and another comes: the key's words are carried over once, with every charge
/// that was made under the old rules, and none is made under them after.
///
/// Twins: [`Table::retag`] reading the first word and storing what it becomes, without a claim; [`Table::word`] looking at the owner
/// before the word.
#[test]
fn loom_carrying_over_against_a_charge() {
    check(|| {
        let table = Arc::new(table(2, 2, WhenFull::Share));
        let (old, new) = (ALICE, renewed(ALICE));
        assert!(ask(&table, old, 0, 5));
        let charger = {
            let table = table.clone();
            // Under the old rules, to which it was told to keep: found in place, or not found and then stale.
            thread::spawn(move || {
                let slot = table.find(old)?;
                let word = table.word(slot, old, 0)?;
                table.replace(slot, 0, word, word + 3).then_some(())
            })
        };
        table.carry_over(renewed, |owner, words| carried_words(owner, words, renewed(owner)));
        let charged = charger.join().unwrap().is_some();
        assert_eq!(table.find(old), None);
        assert_eq!(word_of(&table, new), Some(if charged { 16 } else { 10 }));
    });
}

/// Someone brings a key under the new rules while the table is walked, and both find the same words.
///
/// Twins: [`Table::carry_over`] without the key's lock; [`Table::retag`] without a claim.
#[test]
fn loom_carrying_over_against_a_check() {
    check(|| {
        let table = Arc::new(table(2, 1, WhenFull::Share));
        let (old, new) = (ALICE, renewed(ALICE));
        assert!(ask(&table, old, 0, 5));
        let checker = {
            let table = table.clone();
            thread::spawn(move || assert!(ask(&table, new, 0, 1)))
        };
        table.carry_over(renewed, |owner, words| carried_words(owner, words, renewed(owner)));
        checker.join().unwrap();
        assert_eq!(table.find(old), None);
        assert_eq!(word_of(&table, new), Some(11));
    });
}

/// A charge of two words has charged the first when the rules change. The second is charged before it is carried over, or not
/// at all.
///
/// Twin: [`Table::retag`] reading the second word and storing what it becomes.
#[test]
fn loom_carrying_over_against_a_charge_half_way() {
    check(|| {
        let table = Arc::new(table(2, 2, WhenFull::Share));
        let (old, new) = (ALICE, renewed(ALICE));
        assert!(ask(&table, old, 0, 5));
        let charger = {
            let table = table.clone();
            thread::spawn(move || {
                let slot = table.find(old)?;
                let (first, second) = (table.word(slot, old, 0)?, table.word(slot, old, 1)?);
                table.replace(slot, 0, first, first + 3).then(|| table.replace(slot, 1, second, second + 3))
            })
        };
        table.carry_over(renewed, |owner, words| carried_words(owner, words, renewed(owner)));
        let charged = charger.join().unwrap();
        let slot = table.find(new).expect("it was carried over");
        let of = |charged: bool| Some(if charged { 16 } else { 10 });
        assert_eq!(table.word(slot, new, 0), of(charged.is_some()));
        assert_eq!(table.word(slot, new, 1), of(charged == Some(true)));
    });
}

/// Someone looks for a key under the new rules without charging it, while the table is walked and the key is charged: its words
/// are carried over once.
///
/// Twin: [`Table::bring`] without the key's lock.
#[test]
fn loom_bringing_against_carrying_over() {
    check(|| {
        let table = Arc::new(table(2, 1, WhenFull::Share));
        let (old, new) = (ALICE, renewed(ALICE));
        assert!(ask(&table, old, 0, 5));
        let looker = {
            let table = table.clone();
            thread::spawn(move || {
                let asker = TestJudge { owner: new, now: 0, cost: 0, current: true };
                let slot =
                    table.find(new).or_else(|| table.bring(new, asker)).expect("it stands under one tag or the other");
                // Found at a glance, it may be changing tags.
                let word = table.word(slot, new, 0);
                assert!(word.is_none_or(|word| word == 10), "{word:?}");
            })
        };
        table.carry_over(renewed, |owner, words| carried_words(owner, words, renewed(owner)));
        looker.join().unwrap();
        assert_eq!((table.find(old), word_of(&table, new)), (None, Some(10)));
    });
}
