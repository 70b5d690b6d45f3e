//! Burn 0.21: [`BgzFusion`](crate::BgzFusion), a backend that rewrites under way what a model does.

pub mod backend;
mod host;
pub mod trace;
