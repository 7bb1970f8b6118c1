//! Broken twins of what is shipped. The simulation must find each, or it would find nothing.

use crate::lua::SCRIPT;
use crate::world::{About, Flaw};

pub(crate) struct Twin {
    pub(crate) name: &'static str,
    pub(crate) script: String,
    pub(crate) about: About,
}

const PLAIN: About = About {
    flaw: Flaw::None,
    restart: false,
    change: false,
    window: false,
    buckets: 1,
    steps_back: false,
    late: false,
};

/// The script with this changed, each of which stands in it once.
fn without(changes: &[(&str, &str)]) -> String {
    let mut script = SCRIPT.to_owned();
    for (shipped, broken) in changes {
        assert_eq!(script.matches(shipped).count(), 1, "the script has changed: {shipped}");
        script = script.replace(shipped, broken);
    }
    script
}

const WHAT_IS_LENT: &str = "return min((lent + before) * units, LARGEST)";
const HELD: &str = "min(held[j] * units, LARGEST)";
const THEN: &str = "if passed == 1 then lent, before = 0, lent elseif";
const HELD_BY_SLOT: &str = "{ lent + before, lent, 0 }";

pub(crate) fn twins() -> Vec<Twin> {
    let twin = |name, changes: &[(&str, &str)], about| Twin { name, script: without(changes), about };
    vec![
        twin("a bucket refills what is lent", &[(WHAT_IS_LENT, "return 0"), (HELD, "0")], PLAIN),
        twin("a lot lives from the answer on", &[], About { flaw: Flaw::FromTheReply, late: true, ..PLAIN }),
        twin("a lot has no margin", &[], About { flaw: Flaw::NoMargin, ..PLAIN }),
        twin(
            "what was lent is credited when it is over",
            &[(
                "    from = ends[j]\n",
                "    from = ends[j]\n    debt = max(0, debt - (held[j] - (held[j + 1] or 0)) * units)\n",
            )],
            PLAIN,
        ),
        twin("a slot is over before its refill", &[(HELD_BY_SLOT, "{ lent, 0, 0 }")], PLAIN),
        twin(
            "a slot is over one early",
            &[(HELD_BY_SLOT, "{ lent + before, 0, 0 }"), (THEN, "if passed == 1 then lent, before = 0, 0 elseif")],
            PLAIN,
        ),
        twin(
            "a lot outlives its window",
            &[("life = min(life, first[i] - now)", ""), ("life = min(life, (first[i] + 1) * p - now)", "")],
            About { window: true, ..PLAIN },
        ),
        twin(
            "what is lent is not charged to windows",
            &[
                ("second[i] = second[i] + cost + more", "second[i] = second[i] + cost"),
                ("third[i] = third[i] + cost + more", "third[i] = third[i] + cost"),
                ("counts[1] = (counts[1] or 0) + cost + more", "counts[1] = (counts[1] or 0) + cost"),
            ],
            About { window: true, ..PLAIN },
        ),
        twin(
            "only the first bucket owes what is lent",
            &[
                (WHAT_IS_LENT, "return units == ps[1] and min((lent + before) * units, LARGEST) or 0"),
                (HELD, "min(units == ps[1] and held[j] * units or 0, LARGEST)"),
            ],
            About { buckets: 3, ..PLAIN },
        ),
        twin(
            "a slot's width moves while something is lent",
            &[
                (
                    "if slot and width and slot ~= width then moved = true end",
                    "if slot and width then slot = width end",
                ),
                ("if slot and not same then moved = true end", ""),
            ],
            About { change: true, ..PLAIN },
        ),
        twin(
            "windows do not count what was lent under another policy",
            &[
                ("elseif moved and (kind == 'f' or kind == 'a') then", "elseif true then"),
                ("second[i] = max(second[i], total)", ""),
            ],
            About { change: true, window: true, ..PLAIN },
        ),
        twin(
            "something is lent while something is that was lent under another policy",
            &[("if width and passes and not moved then", "if width and passes then")],
            About { change: true, window: true, ..PLAIN },
        ),
        twin(
            "a quota goes on with the record in its place",
            &[("of, rest = matched(called, records)", "")],
            About { change: true, buckets: 3, ..PLAIN },
        ),
        twin(
            "a record that waits does not owe what is lent",
            &[("return ends and refilled(this.c, this.a, this.b) or max", "return max")],
            About { change: true, buckets: 3, ..PLAIN },
        ),
        twin(
            "a server that comes up empty lends at once",
            &[("if (uptime - 1) * 1000000 < 2 * width then", "if false then")],
            About { restart: true, ..PLAIN },
        ),
    ]
}
