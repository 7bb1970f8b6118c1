//! The program `tollgate`. All that it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate_sidecar::cli::run(std::env::args_os())
}
