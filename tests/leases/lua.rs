//! [`Server`]: the script as it is shipped, in the Lua that Redis has, over a store with a time of its own.

use mlua::{Function, Lua, Table, Variadic};

/// The script that the feature `redis` sends.
pub(crate) const SCRIPT: &str = include_str!("../../src/redis/script.lua");

/// As much of a server as the script asks for: one key, whose value is over when its expiry says so, and the time.
const STORE: &str = r#"
local script = ...
local value, expires, micros, started
local redis = {}

function redis.call(command, _, ...)
  if value and micros >= expires then value = nil end
  if command == 'TIME' then
    return { tostring(math.floor(micros / 1000000)), tostring(micros % 1000000) }
  elseif command == 'GET' then
    return value or false
  elseif command == 'SET' then
    local new, px, milliseconds = ...
    assert(px == 'PX' and tonumber(milliseconds) > 0)
    value, expires = new, micros + tonumber(milliseconds) * 1000
  elseif command == 'DEL' then
    value = nil
  elseif command == 'PTTL' then
    return math.ceil((expires - micros) / 1000)
  elseif command == 'INFO' then
    return 'redis_version:7\r\nuptime_in_seconds:' .. math.floor(micros / 1000000) - math.floor(started / 1000000) .. '\r\n'
  else
    error('the script called ' .. command)
  end
end

function redis.error_reply(text) error(text) end

local keys = { 'key' }

local function call(at, words, op, cost, width, most, want)
  micros = at
  local argv = { op, string.format('%.0f', cost), string.format('%.0f', #words / 5) }
  for i = 1, #words do argv[3 + i] = words[i] end
  if width then
    local n = #argv
    argv[n + 1], argv[n + 2] = string.format('%.0f', width), string.format('%.0f', most)
    argv[n + 3] = string.format('%.0f', want)
  end
  return unpack(script(keys, argv, redis))
end

local function restart(at) value, started = nil, at end

local function look() return value or '' end

return call, restart, look
"#;

/// A server with one key.
pub(crate) struct Server {
    _lua: Lua,
    call: Function,
    restart: Function,
    look: Function,
}

/// A policy as the script is told of it.
pub(crate) struct Words(Table);

/// What the script answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) passed: bool,
    /// What is left, when all is back, and when the cost passes, of each quota.
    pub(crate) judged: Vec<[i64; 3]>,
    pub(crate) lent: u64,
    pub(crate) life: u64,
}

impl Server {
    /// One that runs this script, and has been up for long.
    pub(crate) fn new(script: &str) -> Self {
        let lua = Lua::new();
        let script = lua.load(format!("local KEYS, ARGV, redis = ...\n{script}")).set_name("=script");
        let script = script.into_function().expect("the script compiles");
        let (call, restart, look) = lua.load(STORE).set_name("=store").call(script).expect("the store compiles");
        let server = Self { _lua: lua, call, restart, look };
        server.restart(0);
        server
    }

    /// Loses all that it has.
    pub(crate) fn restart(&self, at: u64) {
        self.restart.call::<()>(at).expect("it restarts");
    }

    /// What stands under the key.
    pub(crate) fn look(&self) -> String {
        self.look.call(()).expect("it can be looked at")
    }

    /// Quotas by their kinds and numbers, which are called by their places.
    pub(crate) fn words(&self, quotas: &[(&str, [u64; 3])]) -> Words {
        let places: Vec<usize> = (0..quotas.len()).collect();
        self.words_in(quotas, &places)
    }

    /// The same quotas in another order.
    pub(crate) fn words_in(&self, quotas: &[(&str, [u64; 3])], order: &[usize]) -> Words {
        let words = order.iter().flat_map(|&place| {
            let (kind, numbers) = &quotas[place];
            let called = [format!("q{place}/day"), (*kind).to_owned()];
            called.into_iter().chain(numbers.iter().map(|number| number.to_string()))
        });
        Words(self._lua.create_sequence_from(words).expect("a table"))
    }

    /// Calls the script, with the terms of a lease (slot, most, want) if it is to be told of one.
    pub(crate) fn call(&self, at: u64, words: &Words, op: &str, cost: u64, terms: Option<[u64; 3]>) -> Reply {
        let terms = terms.map(|terms| terms.map(|number| number as f64));
        let [width, most, want] = terms.map_or([None; 3], |terms| terms.map(Some));
        let call = (at as f64, &words.0, op, cost as f64, width, most, want);
        let numbers: Variadic<f64> = self.call.call(call).unwrap_or_else(|error| panic!("{error}"));
        let quotas = words.0.raw_len() / 5;
        let whole = |number: f64| {
            assert!(number.fract() == 0.0, "{numbers:?}");
            number as i64
        };
        let numbers: Vec<i64> = numbers.iter().map(|number| whole(*number)).collect();
        let judged = numbers[2..2 + 3 * quotas].chunks(3).map(|three| [three[0], three[1], three[2]]).collect();
        let lease = if op == "lease" { &numbers[numbers.len() - 2..] } else { &[0, 0] };
        let [lent, life] = [0, 1].map(|n| u64::try_from(lease[n]).expect("not negative"));
        Reply { passed: numbers[0] == 1, judged, lent, life }
    }
}
