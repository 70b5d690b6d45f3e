//! Burn code on `BgzFusion<B>` beside the same code on `B`.
//!
//! One binary: what Burn generates for a backend is most of what there is to compile.

mod approximate;
mod capture;
mod generated;
mod models;
mod programs;
mod support;
mod tensors;
mod threads;
mod training;
