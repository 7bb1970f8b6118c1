//! [`Limit`]: how much, for which requests, and whom it counts.

use std::fmt;
use std::str::FromStr;

use http::{HeaderName, Method};
use tollgate::Policy;

use super::pattern::{Path, Pattern};

/// A limit: how much, for which requests, and whom it counts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Limit {
    /// The name by which the file, logs and metrics call it. What was spent belongs to the name.
    pub name: String,
    /// Where it stands in the file.
    pub line: Option<usize>,
    /// How much.
    pub policy: Policy,
    /// Counted by this.
    pub key: Key,
    /// What happens to a request that has no such key.
    pub missing: Missing,
    /// Which requests it looks at.
    pub scope: Scope,
    /// The limits that do not count a request that this one acts on.
    pub instead_of: Vec<String>,
    /// Other policies for some clients.
    pub plans: Option<Plans>,
    /// What a request costs.
    pub cost: Cost,
    /// What is charged before the cost is known, and the cost of a request whose header does not tell it.
    pub reserve: u64,
    /// Of the requests in its scope, it looks at this part.
    pub enabled: Percent,
    /// Of those, it acts on this part. On the others it counts and denies nothing: a rehearsal.
    pub enforced: Percent,
    /// How many keys are remembered, at most.
    pub capacity: usize,
}

/// Which requests something is about: all that match each of these. An empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Scope {
    /// Paths.
    pub paths: Vec<Pattern>,
    /// Methods. `GET` includes `HEAD`.
    pub methods: Vec<Method>,
    /// Hosts, in lower case, without a port.
    pub hosts: Vec<String>,
}

/// What a limit counts by: one to three parts, all of which make the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    parts: Vec<KeyPart>,
}

/// A part of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPart {
    /// The client's address.
    Address,
    /// One key for everybody.
    Global,
    /// The host, where hosts are listed.
    Host,
    /// The value of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
    /// The token of `Authorization: Bearer`.
    Bearer,
}

/// What happens to a request without a header, cookie or token that it is counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// It is answered 400.
    #[default]
    Refuse,
    /// The client's address stands in for what is missing.
    Address,
    /// The limit does not count it.
    Skip,
}

/// Other policies for the clients that a trusted proxy says are on a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plans {
    /// The header in which trusted proxies name the plan. From others it does not count.
    pub header: HeaderName,
    /// The policies by the plan's name. The limit's own is for every other name.
    pub policies: Vec<(String, Policy)>,
}

/// What a request costs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cost {
    /// Always this.
    Fixed(u64),
    /// What a trusted proxy says in this header of the request.
    RequestHeader(HeaderName),
    /// What the upstream says in this header of the response. What was reserved is settled then.
    ResponseHeader(HeaderName),
    /// The bytes of the response's body. What was reserved is settled when it has been sent.
    ResponseBytes,
}

/// A part of all requests, in percent.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Limit {
    /// How many keys are remembered, unless told otherwise: the library's own default.
    pub const CAPACITY: usize = 1 << 20;

    /// A limit for each client address, on every request.
    pub fn new(name: impl Into<String>, policy: Policy) -> Self {
        Self {
            name: name.into(),
            line: None,
            policy,
            key: Key::address(),
            missing: Missing::Refuse,
            scope: Scope::default(),
            instead_of: Vec::new(),
            plans: None,
            cost: Cost::Fixed(1),
            reserve: 1,
            enabled: Percent::ALL,
            enforced: Percent::ALL,
            capacity: Self::CAPACITY,
        }
    }

    /// How many quotas the policy or plan with the most has.
    pub fn quotas(&self) -> usize {
        let plans = self.plans.iter().flat_map(|plans| &plans.policies).map(|(_, policy)| policy);
        plans.chain([&self.policy]).map(|policy| policy.quotas().len()).max().unwrap_or_default()
    }

    /// For how many quotas each key's account has room: for one more than there are, so that a reload can add it and what
    /// was spent stays. The library has at most 8. It costs 9 bytes a key.
    pub fn room(&self) -> usize {
        (self.quotas() + 1).min(8)
    }

    /// Whether it denies nothing: a rehearsal.
    pub fn is_shadow(&self) -> bool {
        self.enforced == Percent::NONE
    }

    /// Whether it looks at every request in its scope, and acts on each.
    pub fn is_always(&self) -> bool {
        self.enabled == Percent::ALL && self.enforced == Percent::ALL
    }
}

impl Scope {
    /// Whether it is every request.
    pub fn is_everything(&self) -> bool {
        self.paths.is_empty() && self.methods.is_empty() && self.hosts.is_empty()
    }

    /// Whether this path is in it, however it is spelled.
    pub fn has_path(&self, path: &Path<'_>) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(path))
    }

    /// Whether this method is in it. Methods are told apart by case (RFC 9110, 9.1), but there are programs that do not.
    pub fn has_method(&self, method: &Method) -> bool {
        let is = |listed: &Method| listed.as_str().eq_ignore_ascii_case(method.as_str());
        let is_head = method.as_str().eq_ignore_ascii_case("HEAD");
        self.methods.is_empty() || self.methods.iter().any(|listed| is(listed) || is_head && *listed == Method::GET)
    }

    /// Whether path and method are in it as everybody spells them, so that no program takes the request for another.
    pub fn has_plainly(&self, path: &Path<'_>, method: &Method) -> bool {
        let is_plain = self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches_plainly(path));
        let is_capital = !method.as_str().bytes().any(|byte| byte.is_ascii_lowercase());
        is_plain && (self.methods.is_empty() || is_capital)
    }

    /// Whether this host is in it, in lower case and without a port.
    pub fn has_host(&self, host: Option<&str>) -> bool {
        self.hosts.is_empty() || host.is_some_and(|host| self.hosts.iter().any(|listed| listed == host))
    }
}

impl Key {
    /// The most parts of a key.
    pub const PARTS_MAX: usize = 3;

    /// These parts together: one to three. None if there are more, or none.
    pub fn new(parts: Vec<KeyPart>) -> Option<Self> {
        (1..=Self::PARTS_MAX).contains(&parts.len()).then_some(Self { parts })
    }

    /// Each client address by itself.
    pub fn address() -> Self {
        Self { parts: vec![KeyPart::Address] }
    }

    /// Everybody together.
    pub fn global() -> Self {
        Self { parts: vec![KeyPart::Global] }
    }

    /// The parts.
    pub fn parts(&self) -> &[KeyPart] {
        &self.parts
    }
}

impl KeyPart {
    /// Whether a client can write into a request whatever it likes here.
    pub fn is_chosen_by_clients(&self) -> bool {
        matches!(self, Self::Header(_) | Self::Cookie(_) | Self::Bearer)
    }
}

impl Percent {
    /// 0 %.
    pub const NONE: Self = Self(0.0);
    /// 100 %.
    pub const ALL: Self = Self(100.0);

    /// A whole number of percent.
    pub(crate) const fn of(percent: u8) -> Self {
        Self(percent as f64)
    }

    /// The number: 0 to 100.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// `"10%"`, `"12.5%"`: from 0 to 100.
impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "is not a percentage: write it as in \"10%\", from \"0%\" to \"100%\"";
        let number = text.trim().strip_suffix('%').ok_or(EXPECTED)?.trim_end();
        if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return Err(EXPECTED);
        }
        let percent: f64 = number.parse().map_err(|_| EXPECTED)?;
        if (0.0..=100.0).contains(&percent) { Ok(Self(percent)) } else { Err(EXPECTED) }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl fmt::Debug for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As the file writes it: `address`, `header:x-api-key`.
impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("address"),
            Self::Global => f.write_str("global"),
            Self::Host => f.write_str("host"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Bearer => f.write_str("bearer"),
        }
    }
}

/// As a person says it: `each client address and x-username`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parts == [KeyPart::Global] {
            return f.write_str("everybody together");
        }
        for (index, part) in self.parts.iter().filter(|part| **part != KeyPart::Global).enumerate() {
            f.write_str(if index == 0 { "each " } else { " and " })?;
            match part {
                KeyPart::Address => f.write_str("client address")?,
                KeyPart::Global => {}
                KeyPart::Host => f.write_str("host")?,
                KeyPart::Header(name) => name.as_str().fmt(f)?,
                KeyPart::Cookie(name) => write!(f, "cookie {name}")?,
                KeyPart::Bearer => f.write_str("bearer token")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(cost) => cost.fmt(f),
            Self::RequestHeader(name) => write!(f, "header:{name}"),
            Self::ResponseHeader(name) => write!(f, "response-header:{name}"),
            Self::ResponseBytes => f.write_str("response-bytes"),
        }
    }
}

/// As a person says it: `POST /login at api.example`; `every request` for everything.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("every request");
        }
        let mut words = Vec::new();
        if !self.methods.is_empty() {
            words.push(listed(&self.methods));
        }
        if !self.paths.is_empty() {
            words.push(listed(&self.paths));
        }
        if !self.hosts.is_empty() {
            words.push(format!("at {}", self.hosts.join(" or ")));
        }
        f.write_str(&words.join(" "))
    }
}

fn listed(words: &[impl fmt::Display]) -> String {
    words.iter().map(|word| word.to_string()).collect::<Vec<_>>().join(" or ")
}
