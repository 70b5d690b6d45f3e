//! `bgz tables`: compiling attention tables for a model, and looking at them.

mod args;
mod build;
mod compare;
mod from_gguf;
mod known;
mod report;
mod show;

pub use args::{EXAMPLES, TablesCommand};
pub use known::load;

use super::failure::Failure;

/// Does what is asked for.
pub fn run(command: &TablesCommand) -> Result<(), Failure> {
    match command {
        TablesCommand::Build(args) => build::run(args),
        TablesCommand::Compare(args) => compare::run(args),
        TablesCommand::FromGguf(args) => from_gguf::run(args),
        TablesCommand::Show(args) => show::run(args),
        TablesCommand::Report(args) => report::run(args),
    }
}
