//! The `relstab` command: parses, runs, and turns what went wrong into one line and an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    relstab::cli::main()
}
