//! [`Arguments`]: the flags and commands, and their help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use http::{HeaderName, HeaderValue};
use tollgate::Policy;

use crate::check::Asked;
use crate::config::{Admin, Config, Exemption, KeyPart, LogFormat, Ranges, Upstream, limit_error, words};

/// Rate limits in front of any HTTP server.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 could not, 2 a bad flag or file.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) action: Action,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Forward requests to an upstream, as far as the limits let them pass
    Serve(Box<ServeArgs>),
    /// Say what a configuration will do to which request, or what is wrong with it
    Check(CheckArgs),
    /// Print the configuration that does what an Envoy configuration does, and name what it cannot do
    FromEnvoy {
        /// Envoy's YAML or JSON, bare or inside a Kubernetes ConfigMap; - for standard input
        file: PathBuf,
    },
    /// Print the JSON Schema of the configuration, by which editors check and complete it
    Schema,
    /// Start an upstream, a proxy in front of it, and say what to try
    Demo(DemoArgs),
    /// Print a script that completes commands and flags in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// A flag beats the variable of the environment, which beats the file.
#[derive(Args, Debug)]
#[command(after_help = SIGNALS)]
pub(super) struct ServeArgs {
    /// The configuration, a TOML file [env: TOLLGATE_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Where clients connect to: 0.0.0.0:5002, or https://0.0.0.0:8443 [env: TOLLGATE_LISTEN]
    #[arg(short, long, value_name = "ADDR", value_parser = words::listen)]
    pub(super) listen: Option<(SocketAddr, bool)>,

    /// Where requests go: http://localhost:5000, or h2c://localhost:50051 [env: TOLLGATE_UPSTREAM]
    #[arg(short, long, value_name = "URL", value_parser = words::upstream)]
    pub(super) upstream: Option<Upstream>,

    /// The limit, where there is no file: "28/second", "5/minute; 100/day"
    #[arg(long, value_name = "LIMIT", value_parser = limit)]
    pub(super) limit: Option<Policy>,

    /// What it counts by: address (the default), global, header:NAME, cookie:NAME, bearer; several with commas
    #[arg(long, value_name = "KEY", value_parser = words::key_part, value_delimiter = ',', requires = "limit")]
    pub(super) key: Vec<KeyPart>,

    /// A header that each denial carries: "x-local-rate-limit: true". Can be given several times
    #[arg(long, value_name = "HEADER", value_parser = header)]
    pub(super) denial_header: Vec<(HeaderName, HeaderValue)>,

    /// A proxy that is believed about who the client is: 10.0.0.0/8. Can be given several times
    #[arg(long, value_name = "RANGE", value_parser = range)]
    pub(super) trusted_proxy: Vec<String>,

    /// Requests that no limit counts: "/healthz", "/healthz from 10.0.0.0/8". Can be given several times
    #[arg(long, value_name = "PATH", value_parser = words::exemption)]
    pub(super) exempt: Vec<Exemption>,

    /// Where the operator's page is: 127.0.0.1:5003 (the default), unix:PATH, or off [env: TOLLGATE_ADMIN]
    #[arg(long, value_name = "ADDR", value_parser = admin)]
    pub(super) admin: Option<MaybeAdmin>,

    /// How many of the keys that are denied most the page shows for each limit; none unless given
    #[arg(long, value_name = "N", value_parser = offenders)]
    pub(super) offenders: Option<usize>,

    /// Where /metrics, /healthz and /readyz are: 0.0.0.0:5004 [env: TOLLGATE_METRICS]
    #[arg(long, value_name = "ADDR", value_parser = words::address)]
    pub(super) metrics: Option<SocketAddr>,

    /// Where the Redis is that proxies count in together: redis://redis:6379 [env: TOLLGATE_REDIS]
    #[arg(long, value_name = "URL", value_parser = words::redis)]
    pub(super) redis: Option<String>,

    /// How log lines are written: text (the default) or json
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(["text", "json"]).try_map(|text| words::log(&text)))]
    pub(super) log: Option<LogFormat>,

    /// Write a line for each request to stdout, without its query
    #[arg(long)]
    pub(super) access_log: bool,

    /// How long a drain may take: 10s (the default)
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    pub(super) drain: Option<Duration>,

    /// Print the configuration that would be in force, as TOML, and start nothing
    #[arg(long)]
    pub(super) print_config: bool,
}

const SIGNALS: &str = "\
Signals:
  TERM, INT  stop listening, finish what is under way within --drain; a second one ends at once
  HUP        take up the file again, as happens by itself within 2 s of a change; a bad one is refused";

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The configuration, a TOML file
    pub(super) file: PathBuf,

    /// What happens to this request: "GET /login from 192.0.2.7"
    #[arg(long, value_name = "REQUEST")]
    pub(super) request: Option<Asked>,

    /// A header of the request: "x-username: alice". Can be given several times
    #[arg(long, value_name = "HEADER", requires = "request")]
    pub(super) header: Vec<String>,

    /// What changes if this file is in force now
    #[arg(long, value_name = "OLD")]
    pub(super) against: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Where the proxy listens
    #[arg(short, long, value_name = "ADDR", value_parser = words::address, default_value = "127.0.0.1:5002")]
    pub(super) listen: SocketAddr,

    /// Where the operator's page is: 127.0.0.1:5003, unix:PATH, or off
    #[arg(long, value_name = "ADDR", value_parser = admin, default_value = "127.0.0.1:5003")]
    pub(super) admin: MaybeAdmin,

    /// The limit of each client address
    #[arg(long, value_name = "LIMIT", value_parser = limit, default_value = "5/10 seconds")]
    pub(super) limit: Policy,
}

/// An admin listener, or none. (clap takes an `Option` for the absence of the flag.)
#[derive(Clone, Debug)]
pub(super) struct MaybeAdmin(pub(super) Option<Admin>);

fn admin(text: &str) -> Result<MaybeAdmin, String> {
    words::admin(text).map(MaybeAdmin)
}

fn offenders(text: &str) -> Result<usize, String> {
    let most = Config::OFFENDERS_MAX;
    let number = text.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| format!("{text:?} is not a whole number from 0 to {most}"))
}

fn limit(text: &str) -> Result<Policy, String> {
    text.parse().map_err(|error| limit_error(text, &error))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is a name and a value, as in \"x-denied: true\"")?;
    words::denial_header(name, value.trim())
}

fn range(text: &str) -> Result<String, String> {
    Ranges::new([text]).map_err(|error| error.to_string()).map(|_| text.to_owned())
}
