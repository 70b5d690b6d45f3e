//! Burn code on `BgzFusion<B>` beside the same code on `B`.
//!
//! One binary: what Burn generates for a backend is most of what there is to compile.

mod approximate;
mod capture;
mod every_op;
mod generated;
mod models;
mod programs;
#[path = "../sources.rs"]
mod sources;
mod support;
mod tensors;
mod threads;
mod training;
