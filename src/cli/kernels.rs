//! `bgz kernels`: what runs on this host.

use super::failure::Failure;
use super::print;
use super::table::Table;
use bgz_fusion::kernels::{self, Isa};

/// Lists instruction sets and kernels.
pub fn run() -> Result<(), Failure> {
    let words = |isas: &[Isa]| isas.iter().map(|i| i.name()).collect::<Vec<_>>().join(" ");
    let mut table = Table::new(3, ["kernel", "variants", "accuracy"]);
    for k in kernels::list() {
        table.row([k.name.to_string(), words(k.variants), k.accuracy.to_string()]);
    }
    let available = words(Isa::available());
    print(&format!("This host has {available}; {} is in use\n\n{}", Isa::detect()?, table.plain("")))
}
