//! `bgz`: see what is recognised in a model, run it, check it, time it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
