#![doc = include_str!("../README.md")]
#![allow(non_snake_case, reason = "functions have the names that the API gives them")]

mod arguments;
mod binding;
mod header;
mod identity;
mod memory;
mod options;
mod refuse;
mod session;
mod status;
mod table;
mod types;
mod value;

pub use table::api;
