//! One run: a server, up to six programs, a bad network, and who tries to get more than there is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::bound::{Interval, Window};
use crate::lease::{Holding, LeaseTerms};
use crate::lua::{Reply, Server, Words};
use crate::random::Random;

/// How a program differs from the shipped one, to show that it would be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// A lot's life is counted from when the answer came.
    FromTheReply,
    /// A lot lives as long as the server says.
    NoMargin,
}

/// What a run is about, beside what is in all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct About {
    pub(crate) flaw: Flaw,
    pub(crate) restart: bool,
    pub(crate) change: bool,
    pub(crate) window: bool,
    pub(crate) buckets: u64,
    /// The server's clock steps back.
    pub(crate) steps_back: bool,
    /// Most messages are late.
    pub(crate) late: bool,
}

/// What a run found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) steps: u64,
    pub(crate) calls: u64,
    pub(crate) lots: u64,
    pub(crate) passed: u64,
    /// Passed of what had been lent.
    pub(crate) local: u64,
    pub(crate) stranded: u64,
    /// More passed than may.
    pub(crate) excess: bool,
    /// As much passed as may.
    pub(crate) reached: bool,
}

const START: u64 = 1_764_000_000_000_000;

/// A policy, as one program has it.
struct Policy {
    quotas: Vec<(&'static str, [u64; 3])>,
    words: Words,
    slot: u64,
    terms: LeaseTerms,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// As shipped.
    Usual,
    /// Asks for as much as there is, whenever it can.
    Greedy,
    /// The same, and keeps it to the last moment.
    Holds,
    /// The same, and spends all at the edges of slots and windows.
    Drains,
    /// Asks for all that is left, by one call, when a slot or a window has just begun.
    Raids,
}

struct Node {
    way: Way,
    holding: Holding,
    /// How fast its clock runs, in millionths more than the server's, and what it shows at the server's zero.
    rate: i64,
    zero: u64,
    /// Which call is under way.
    asks: Option<u64>,
    /// Under which policy it was lent what it holds.
    lent_by: usize,
    every: u64,
    timeout: u64,
}

impl Node {
    /// What its clock shows, in nanoseconds.
    fn clock(&self, at: u64) -> u64 {
        let nanos = u128::from(at - START) * 1000 * (1_000_000 + i128::from(self.rate)) as u128 / 1_000_000;
        self.zero + u64::try_from(nanos).expect("a short run")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Demand { node: usize },
    Ask { call: u64 },
    Answer { call: u64, answer: usize },
    GiveUp { call: u64 },
    Dump { node: usize },
    Crash { node: usize },
    Restart,
    Change,
    StepBack { by: u64 },
}

struct Call {
    node: usize,
    cost: u64,
    want: u64,
    /// By the program's clock.
    sent: u64,
    policy: usize,
}

pub(crate) struct World<'a> {
    server: &'a Server,
    random: Random,
    about: About,
    now: u64,
    behind: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    policies: Vec<Policy>,
    nodes: Vec<Node>,
    calls: Vec<Call>,
    answers: Vec<Reply>,
    bounds: Vec<Interval>,
    windows: Vec<(usize, Window)>,
    /// Which policy is.
    in_force: usize,
    /// While the first is in force, some calls go by the second.
    by_turns: bool,
    loss: u64,
    delay: (u64, u64),
    /// How many of a hundred messages are quick.
    quick: u64,
    found: Found,
}

impl<'a> World<'a> {
    pub(crate) fn new(server: &'a Server, seed: u64, about: About) -> Self {
        let mut random = Random(seed);
        server.restart(START - 3_600_000_000);
        let burst = random.log_range(20, 2000);
        let full = random.log_range(100_000, 20_000_000);
        let mut policies = vec![policy(server, &mut random, burst, full, about.buckets, about.window && !about.change)];
        if about.change {
            let (burst, full) = if random.in_100(50) {
                (burst, full)
            } else {
                (random.range(burst / 2 + 1, burst * 2), random.range(full / 2, full * 3))
            };
            let mut other = policy(server, &mut random, burst, full, about.buckets, about.window);
            if random.in_100(50) {
                // The same quotas stand in another order.
                let order: Vec<usize> = (0..other.quotas.len()).rev().collect();
                other.words = server.words_in(&other.quotas, &order);
            }
            policies.push(other);
        }
        let slot = policies[0].slot;
        let nodes = random.range(1, 7);
        // In hundredths of what passes; or so little that a bucket is full when it is raided.
        let raided = random.in_100(50);
        let load = if raided { random.log_range(2, 60) } else { random.log_range(40, 1000) };
        let each = (full * 100 * nodes / (burst * load)).max(1);
        let nodes: Vec<Node> = (0..nodes)
            .map(|_| {
                Node {
                    way: random.of(if raided {
                        &[Way::Usual, Way::Greedy, Way::Holds, Way::Holds, Way::Holds, Way::Raids, Way::Raids]
                    } else {
                        &[Way::Usual, Way::Usual, Way::Greedy, Way::Holds, Way::Drains]
                    }),
                    holding: Holding::default(),
                    // A fiftieth slower, nearly, or up to a twentieth faster.
                    rate: if random.in_100(50) { -19_900 } else { random.range(0, 69_000) as i64 - 19_900 },
                    zero: random.range(0, 1 << 50),
                    asks: None,
                    lent_by: 0,
                    every: random.log_range(each / 4 + 1, each * 4 + 2),
                    timeout: if about.late { slot * 3 } else { random.log_range(1000, slot * 3) },
                }
            })
            .collect();
        let buckets = |policy: &Policy, index: usize| Some(policy.quotas[index].1);
        let bounds = (0..about.buckets as usize)
            .map(|index| Interval::of(&policies.iter().filter_map(|one| buckets(one, index)).collect::<Vec<_>>()))
            .collect();
        // Of two policies only the second has windows.
        let last = &policies[policies.len() - 1];
        let windows = last.quotas.iter().enumerate().filter(|(_, (kind, _))| *kind != "b");
        let windows =
            windows.map(|(index, (kind, numbers))| (index, Window::of(kind, *numbers, about.change))).collect();
        let by_turns = random.in_100(50);
        let (loss, quick) = (random.of(&[0, 0, 5, 30]), if about.late { 10 } else { random.of(&[20, 80]) });
        let delay = (random.range(20, 500), random.log_range(501, 3 * slot + 1000));
        let mut world = Self {
            server,
            random,
            about,
            now: START,
            behind: 0,
            queue: BinaryHeap::new(),
            number: 0,
            policies,
            nodes,
            calls: Vec::new(),
            answers: Vec::new(),
            bounds,
            windows,
            in_force: 0,
            by_turns,
            loss,
            delay,
            quick,
            found: Found::default(),
        };
        for node in 0..world.nodes.len() {
            let at = world.random.range(0, 2 * world.nodes[node].every);
            world.plan(at, Event::Demand { node });
            if world.random.in_100(30) {
                let at = world.random.range(slot, slot * 60);
                world.plan(at, Event::Crash { node });
            }
        }
        if about.change {
            world.plan(slot * 5, Event::Change);
        }
        if about.restart {
            let at = world.random.range(slot * 3, slot * 40);
            world.plan(at, Event::Restart);
        }
        if about.steps_back {
            for _ in 0..3 {
                let (at, by) = (world.random.range(slot, slot * 60), world.random.log_range(10, slot * 3));
                world.plan(at, Event::StepBack { by });
            }
        }
        world
    }

    pub(crate) fn run(mut self, steps: u64) -> Found {
        while self.found.steps < steps {
            let Reverse((at, _, event)) = self.queue.pop().expect("there is always demand");
            self.now = at;
            self.found.steps += 1;
            match event {
                Event::Demand { node } => self.demand(node),
                Event::Ask { call } => self.ask(call),
                Event::Answer { call, answer } => self.answer(call, answer),
                Event::GiveUp { call } => self.give_up(call),
                Event::Dump { node } => self.dump(node),
                Event::Crash { node } => {
                    self.nodes[node].holding = Holding::default();
                    self.nodes[node].asks = None;
                }
                Event::Restart => {
                    self.server.restart(self.now - self.behind);
                    self.bounds.iter_mut().for_each(Interval::forget);
                    let over = self.now + 2 * self.policies[0].slot;
                    self.windows.iter_mut().for_each(|(_, window)| window.forget(self.now, over));
                }
                Event::Change => self.change(),
                Event::StepBack { by } => self.behind += by,
            }
        }
        for node in &mut self.nodes {
            self.found.stranded += node.holding.take_stranded();
        }
        let worst = self.bounds.iter().map(|bound| bound.worst);
        let worst = worst.chain(self.windows.iter().map(|(_, window)| window.worst)).max().expect("a bucket");
        self.found.excess = worst > 0;
        self.found.reached = worst == 0;
        self.found
    }

    fn plan(&mut self, after: u64, event: Event) {
        self.number += 1;
        self.queue.push(Reverse((self.now + after, self.number, event)));
    }

    /// The policy of one more call.
    fn policy(&mut self) -> usize {
        let other = self.about.change && self.by_turns && self.random.in_100(10);
        self.in_force.max(usize::from(other))
    }

    /// The other policy is in force, in all programs. What they hold they keep.
    fn change(&mut self) {
        self.in_force = 1 - self.in_force;
        if self.in_force == 1 {
            self.windows.iter_mut().for_each(|(_, window)| window.begin(self.now));
        }
        let slot = self.policies.iter().map(|policy| policy.slot).max().expect("there is one");
        let after = self.random.range(slot, slot * 8);
        self.plan(after, Event::Change);
    }

    /// Whether a policy is the one whose windows are looked at.
    fn is_last(&self, policy: usize) -> bool {
        policy + 1 == self.policies.len()
    }

    /// Something passed. All windows see it, but those of a policy that is not in force everywhere yet.
    fn pass(&mut self, count: u64, own: bool) {
        if count == 0 {
            return;
        }
        self.found.passed += count;
        self.bounds.iter_mut().for_each(|bound| bound.pass(count, self.now));
        if self.in_force + 1 == self.policies.len() {
            self.windows.iter_mut().for_each(|(_, window)| window.pass(count, own, self.now));
        }
    }

    fn demand(&mut self, index: usize) {
        let every = self.nodes[index].every;
        // In bursts, now and then.
        let mut wait = if self.random.in_100(10) { every * 8 } else { self.random.range(0, every + every / 2 + 1) };
        let policy = self.policy();
        let terms = self.policies[policy].terms;
        let mut cost = if self.random.in_100(90) { 1 } else { self.random.range(1, 8) };
        if self.nodes[index].way == Way::Raids {
            wait = self.next_edge(1, 12) + self.random.log_range(1, 1000);
            let words = &self.policies[policy].words;
            let left = self.server.call(self.now - self.behind, words, "peek", 1, None).judged;
            cost = u64::try_from(left.iter().map(|judged| judged[0]).min().expect("a quota")).expect("not negative");
        }
        self.plan(wait, Event::Demand { node: index });
        if cost == 0 {
            return;
        }
        let node = &mut self.nodes[index];
        let now = node.clock(self.now);
        if matches!(node.way, Way::Usual | Way::Greedy)
            && let Some(lot) = node.holding.spend(cost, &terms, now)
        {
            if self.random.in_100(2) {
                // It was not used after all. So it did not pass.
                self.nodes[index].holding.give_back(cost, Some(lot), now);
                return;
            }
            self.found.local += cost;
            let own = self.is_last(self.nodes[index].lent_by);
            return self.pass(cost, own);
        }
        if node.asks.is_some() {
            return;
        }
        let want = match node.way {
            Way::Usual => node.holding.want(&terms, now),
            Way::Raids => 0,
            _ => terms.most,
        };
        let call = self.calls.len() as u64;
        node.asks = Some(call);
        let timeout = node.timeout;
        self.calls.push(Call { node: index, cost, want, sent: now, policy });
        self.send(Event::Ask { call });
        self.plan(timeout, Event::GiveUp { call });
    }

    /// Over the network: late, twice, or not at all.
    fn send(&mut self, event: Event) {
        let copies = if self.random.in_100(self.loss) { self.random.of(&[0, 2]) } else { 1 };
        for _ in 0..copies {
            let (least, most) = self.delay;
            let after = if self.random.in_100(self.quick) {
                self.random.range(least, 501)
            } else {
                self.random.range(least, most)
            };
            self.plan(after, event);
        }
    }

    fn ask(&mut self, number: u64) {
        let call = &self.calls[number as usize];
        let policy = &self.policies[call.policy];
        let terms = Some([policy.slot, policy.terms.most, call.want]);
        let reply = self.server.call(self.now - self.behind, &policy.words, "lease", call.cost, terms);
        self.found.calls += 1;
        self.found.lots += u64::from(reply.lent > 0);
        let cost = call.cost;
        if self.windows.iter().any(|(_, window)| window.kind == "f") {
            let value = self.server.look();
            for (index, window) in &mut self.windows {
                let called = format!("q{index}/day:");
                value.split(' ').filter_map(|word| word.strip_prefix(&called)).for_each(|record| window.opened(record));
            }
        }
        // What another policy lets pass is unknown to the windows of this one.
        let own = self.is_last(self.calls[number as usize].policy);
        if reply.passed && (own || self.in_force == 0) {
            self.pass(cost, own);
        } else if reply.passed {
            self.bounds.iter_mut().for_each(|bound| bound.pass(cost, self.now));
        }
        self.answers.push(reply);
        let answer = self.answers.len() - 1;
        self.send(Event::Answer { call: number, answer });
    }

    fn answer(&mut self, number: u64, answer: usize) {
        let Call { node: index, sent, policy, .. } = self.calls[number as usize];
        let node = &mut self.nodes[index];
        if node.asks != Some(number) {
            return; // It was given up.
        }
        node.asks = None;
        let now = node.clock(self.now);
        let Reply { lent, life, .. } = self.answers[answer];
        let (sent, life) = match self.about.flaw {
            Flaw::None => (sent, life),
            Flaw::FromTheReply => (now, life),
            // What the margin takes is added beforehand.
            Flaw::NoMargin => (sent, (life + 1001) * 50 / 49 + 1),
        };
        node.holding.receive(lent, life, sent, now);
        if lent == 0 {
            return;
        }
        node.lent_by = policy;
        match node.way {
            Way::Usual | Way::Greedy | Way::Raids => {}
            Way::Holds => {
                // The last microsecond in which there is something.
                let (mut some, mut none) = (self.now, self.now + life * 2 + 10_000);
                while none - some > 1 {
                    let middle = some.midpoint(none);
                    if node.holding.clone().left(node.clock(middle)) > 0 {
                        some = middle;
                    } else {
                        none = middle;
                    }
                }
                let after = some - self.now;
                self.plan(after, Event::Dump { node: index });
            }
            Way::Drains => {
                let after = (self.next_edge(1, 3) + self.random.range(0, 3)).saturating_sub(1);
                self.plan(after, Event::Dump { node: index });
            }
        }
    }

    /// How long it is until a slot or a window ends, one of the next few.
    fn next_edge(&mut self, from: u64, to: u64) -> u64 {
        let mut edges: Vec<u64> = self.policies.iter().map(|policy| policy.slot).collect();
        edges.extend(self.windows.iter().map(|(_, window)| window.numbers[0]));
        let (edge, now) = (self.random.of(&edges), self.now - self.behind);
        (now / edge + self.random.range(from, to)) * edge - now
    }

    fn give_up(&mut self, number: u64) {
        let node = self.calls[number as usize].node;
        if self.nodes[node].asks == Some(number) {
            self.nodes[node].asks = None;
        }
    }

    fn dump(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let now = node.clock(self.now);
        let left = node.holding.left(now);
        if left > 0 {
            node.holding.take(left, now).expect("there is so much");
            self.found.local += left;
            let own = self.is_last(self.nodes[index].lent_by);
            self.pass(left, own);
        }
    }
}

/// One or several buckets, the first of this burst, full again in so long, and maybe a window.
fn policy(server: &Server, random: &mut Random, burst: u64, full: u64, buckets: u64, window: bool) -> Policy {
    let mut quotas = Vec::new();
    let (mut most, mut slot) = (u64::MAX, u64::MAX);
    let part = random.log_range(3, 40);
    for index in 0..buckets {
        let (burst, full) = if index == 0 {
            (burst, full)
        } else {
            (random.log_range(burst / 2 + 1, burst * 3 + 2), random.log_range(full / 2 + 1, full * 4))
        };
        let gain = random.range(1, 8);
        let unit = (full * gain / burst).max(1);
        quotas.push(("b", [unit, gain, unit * burst]));
        most = most.min(if random.in_100(80) { burst / 2 } else { burst });
        slot = slot.min(unit * burst / gain * part / 100);
    }
    let slot = slot.max(3000);
    if window {
        let length = if random.in_100(50) { random.range(slot / 4, slot * 2) } else { random.range(slot, slot * 20) };
        let passes = burst * length / full + burst;
        let amount = random.log_range(passes / 8 + 10, passes * 2 + 20);
        let kind = random.of(&["f", "a", "s", "w"]);
        quotas.push((
            kind,
            match kind {
                "s" => [length, amount, 1],
                "w" => [length, amount, random.range(1, 6)],
                _ => [length, amount, 0],
            },
        ));
    }
    let pass = (burst * slot / full).max(4);
    let terms = LeaseTerms { slot_nanos: slot * 1000, most, pass };
    Policy { words: server.words(&quotas), quotas, slot, terms }
}
