//! The `trainspotter` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainspotter::cli::main(std::env::args_os())
}
