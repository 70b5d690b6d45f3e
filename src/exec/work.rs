//! Lower bound on FLOPs and bytes of a node, which the time of a step is measured against.

use bgz_passes::ir::{Graph, Node, Type, ValueId};

/// Operations on floats, a multiply-add counting twice: those of products, convolutions and attention.
pub(super) fn flops(graph: &Graph, node: &Node) -> u64 {
    let types = |values: &[ValueId]| values.iter().map(|&v| graph.ty(v)).collect::<Vec<_>>();
    node.op.flops(&types(&node.inputs), &types(&node.outputs))
}

/// Bytes of the operands and results, each read or written once.
pub(super) fn bytes(graph: &Graph, node: &Node) -> u64 {
    let values = node.inputs.iter().chain(&node.outputs);
    values.map(|&v| elements(graph.ty(v)).saturating_mul(graph.ty(v).dtype.size() as u64)).fold(0, u64::saturating_add)
}

fn elements(ty: &Type) -> u64 {
    ty.known_shape().unwrap_or_default().iter().fold(1, |n, &d| n.saturating_mul(d as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgz_passes::ir::parse;

    /// Of the last node of a graph with these lines.
    fn of(lines: &str) -> (u64, u64) {
        let graph = parse(&format!("graph @case {{\n{lines}\n}}\n")).expect("graph text");
        let (_, node) = graph.nodes().last().expect("a node");
        (flops(&graph, node), bytes(&graph, node))
    }

    #[test]
    fn a_product_takes_two_for_each_element_and_inner_dim() {
        let got =
            of("  in  %a : f32[2, 3, 5]\n  in  %b : f32[2, 5, 7]\n  %c = matmul(%a, %b) : f32[2, 3, 7]\n  out %c");
        assert_eq!(got, (2 * 42 * 5, 4 * (30 + 70 + 42)));
    }

    #[test]
    fn attention_takes_two_products_for_each_query_head() {
        let inputs = "  in  %q : f32[2, 3, 8]\n  in  %k : f32[2, 5, 4]\n  in  %v : f32[2, 5, 6]\n";
        let op = "attention(%q, %k, %v) {d_head = 4, heads = 2, kv_heads = 1, scale = 0.5, scores = exact}";
        let (flops, _) = of(&format!("{inputs}  %a = {op} : f32[2, 3, 12]\n  out %a"));
        assert_eq!(flops, 2 * (2 * 2 * 3) * 5 * (4 + 6));
    }

    #[test]
    fn others_take_none() {
        assert_eq!(of("  in  %x : f16[2, 3]\n  %y = exp(%x) : f16[2, 3]\n  out %y"), (0, 24));
    }
}
