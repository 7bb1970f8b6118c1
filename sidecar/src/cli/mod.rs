//! The command line: what is asked for, and the exit code. 0 is done, 1 could not, 2 is a bad flag or file.

mod args;
mod demo;
mod files;
mod log;
mod run;

use std::ffi::OsString;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use self::args::{Action, Arguments, CheckArgs, ServeArgs};
use crate::check;
use crate::config::{
    Changes, Config, Key, Limit, Origin, OriginError, Overrides, Ranges, SCHEMA, Watch, unreadable, words,
};
use crate::from_envoy;

const DONE: ExitCode = ExitCode::SUCCESS;

/// Does what the words say, and returns the exit code of the program: 0 done, 1 could not, 2 a bad flag or file.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_in(words, |name| std::env::var_os(name))
}

/// As [`run`], in this environment.
fn run_in(words: impl IntoIterator<Item = OsString>, env: impl Fn(&str) -> Option<OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout, an error to stderr. Nothing helps where that is closed.
            let _ = error.print();
            return if error.use_stderr() { bad() } else { DONE };
        }
    };
    match arguments.action {
        Action::Serve(args) => serve(*args, env),
        Action::Check(args) => check(args),
        Action::FromEnvoy { file } => from_envoy(&file),
        Action::Schema => print(SCHEMA),
        Action::Demo(args) => match demo::set_up(&args) {
            Ok((config, text)) => start(config, None, || {
                let _ = print(&text);
            }),
            Err(error) => fail(&format!("cannot start an upstream: {error}")),
        },
        Action::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "tollgate", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

fn serve(args: ServeArgs, env: impl Fn(&str) -> Option<OsString>) -> ExitCode {
    let print_config = args.print_config;
    let origin = match origin(args, env) {
        Ok(origin) => origin,
        Err(problems) => return refuse(&problems.join("\n")),
    };
    let (watch, config) = match Watch::new(origin) {
        Ok(begun) => begun,
        Err(error) => return refuse(&told(&error, "Nothing was started.")),
    };
    if print_config {
        return print(&config.to_full_toml());
    }
    start(config, Some(watch), || {})
}

fn check(args: CheckArgs) -> ExitCode {
    let load = |file: &Path| Origin::new(Some(file.to_owned()), Overrides::default()).load();
    let config = match load(&args.file) {
        Ok(config) => config,
        Err(error) => return refuse(&told(&error, "Nothing was started.")),
    };
    let mut text = check::valid(&args.file.to_string_lossy(), &config);
    if let Some(old) = &args.against {
        let old_config = match load(old) {
            Ok(config) => config,
            Err(error) => return refuse(&told(&error, "Nothing was compared.")),
        };
        let changes = Changes::between(&old_config, &config);
        text += &match changes.is_empty() {
            true => format!("\nNothing changes from {}.\n", old.display()),
            false => format!("\nChanges from {}:\n{changes}So {}.\n", old.display(), changes.summary(&config)),
        };
    }
    let about = match args.request {
        None if args.against.is_some() => Ok(String::new()),
        None => Ok(check::overview(&config)),
        Some(asked) => {
            let asked = args.header.iter().try_fold(asked, |asked, header| asked.with_header(header));
            asked.and_then(|asked| check::request(&config, &asked))
        }
    };
    match about {
        Ok(about) if about.is_empty() => {}
        Ok(about) => text += &format!("\n{about}"),
        Err(error) => return refuse(&format!("--request: {error}")),
    }
    for note in check::notes(&config) {
        text += &format!("\n{note}\n");
    }
    print(&text)
}

fn from_envoy(file: &Path) -> ExitCode {
    let contents = if file == Path::new("-") {
        let mut contents = Vec::new();
        std::io::stdin().read_to_end(&mut contents).map(|_| contents)
    } else {
        std::fs::read(file)
    };
    let translated = match contents {
        Err(error) => return refuse(&unreadable(file, &error)),
        Ok(contents) => from_envoy::translate(&contents),
    };
    match translated {
        Err(error) => refuse(&format!("{} {error}", file.display())),
        Ok(translated) => {
            let printed = print(&translated.config.to_toml());
            if translated.unhonoured.is_empty() {
                return printed;
            }
            for field in &translated.unhonoured {
                let _ = writeln!(std::io::stderr(), "{}:{field}", file.display());
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs a proxy until a signal ends it. `greet` says what there is when it listens.
fn start(config: Config, watch: Option<Watch>, greet: impl FnOnce()) -> ExitCode {
    let log = log::start(config.log);
    let result = run::run(config, watch, greet);
    log.flush(log::FLUSH);
    match result {
        Ok(()) => DONE,
        Err(error) => fail(&error.to_string()),
    }
}

/// Where the configuration comes from: a flag, or the environment, or the file.
fn origin(args: ServeArgs, env: impl Fn(&str) -> Option<OsString>) -> Result<Origin, Vec<String>> {
    let mut problems = Vec::new();
    // An empty variable is none: that is how a template leaves one out.
    let env = &|name: &str| env(name).filter(|value| !value.is_empty());
    let mut overrides = Overrides {
        listen: args.listen.or_else(|| read(env, "TOLLGATE_LISTEN", words::listen, &mut problems)),
        upstream: args.upstream.or_else(|| read(env, "TOLLGATE_UPSTREAM", words::upstream, &mut problems)),
        limit: None,
        denial_headers: args.denial_header,
        trusted_proxies: None,
        exempt: args.exempt,
        admin: (args.admin.map(|admin| admin.0)).or_else(|| read(env, "TOLLGATE_ADMIN", words::admin, &mut problems)),
        offenders: args.offenders,
        metrics: args.metrics.or_else(|| read(env, "TOLLGATE_METRICS", words::address, &mut problems)),
        redis: args.redis.or_else(|| read(env, "TOLLGATE_REDIS", words::redis, &mut problems)),
        log: args.log,
        access_log: args.access_log,
        drain: args.drain,
    };
    let file = args.config.or_else(|| env("TOLLGATE_CONFIG").map(PathBuf::from));
    match (args.limit, &file) {
        (Some(_), Some(_)) => {
            problems
                .push("--limit is for a proxy without a file: leave out --limit, or --config (TOLLGATE_CONFIG)".into());
        }
        (None, None) => {
            problems.push("nothing says what to limit: give --limit \"28/second\", or a file with --config".into());
        }
        (Some(policy), None) => {
            let mut limit = Limit::new("all", policy);
            if let Some(key) = (!args.key.is_empty()).then(|| Key::new(args.key.clone())) {
                match key {
                    Some(key) => limit.key = key,
                    None => problems.push(format!("--key: a key has at most {} parts", Key::PARTS_MAX)),
                }
            }
            overrides.limit = Some(limit);
        }
        (None, Some(_)) => {}
    }
    if !args.trusted_proxy.is_empty() {
        overrides.trusted_proxies = Some(Ranges::new(&args.trusted_proxy).expect("each was read"));
    }
    if problems.is_empty() { Ok(Origin::new(file, overrides)) } else { Err(problems) }
}

/// Reads a variable of the environment.
fn read<T>(
    env: impl Fn(&str) -> Option<OsString>,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
    problems: &mut Vec<String>,
) -> Option<T> {
    let value = env(name)?;
    match parse(&value.to_string_lossy()) {
        Ok(value) => Some(value),
        Err(problem) => {
            problems.push(format!("{name}: {problem}"));
            None
        }
    }
}

/// All that is wrong, and what became of it.
fn told(error: &OriginError, end: &str) -> String {
    match error {
        OriginError::Bad(_) => format!("{error} {end}"),
        OriginError::Unreadable(..) | OriginError::Flags(_) => error.to_string(),
    }
}

/// Prints to stdout. Who closes it early, as `head` does, has seen enough. But what is written to a full disk is not there.
fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&format!("cannot write to stdout: {error}")),
        _ => DONE,
    }
}

/// Prints what is wrong with a flag or a file.
fn refuse(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{text}");
    bad()
}

/// Prints why it could not be done.
fn fail(text: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "tollgate: {text}");
    ExitCode::FAILURE
}

fn bad() -> ExitCode {
    ExitCode::from(2)
}
