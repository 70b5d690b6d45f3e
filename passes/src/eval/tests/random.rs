//! Random graphs of every op: never a panic, and always what inference says.

use crate::eval::testing::{Check, Rng};
use crate::eval::{Tensor, bindings, compare, run};
use crate::ir::{Graph, random_graph};
use proptest::prelude::*;

/// With every value as an output.
fn all_out(seed: u64) -> Graph {
    let mut g = random_graph(&mut Rng::new(seed), 2);
    let values: Vec<_> = g.nodes().flat_map(|(_, n)| n.outputs.clone()).collect();
    for v in values {
        let name = format!("value {}", g.name(v));
        let _ = g.add_output(&name, v);
    }
    g
}

fn inputs(g: &Graph, seed: u64) -> Option<Vec<Tensor>> {
    let check = ["batch size", "", "inf", "true", "2x", "a'b", "x*y"].iter().fold(Check::new(), |c, d| c.bind(d, 2));
    check.ints(-2..=3).inputs(g, seed).ok()
}

proptest! {
    #[test]
    fn evaluation_agrees_with_inference(seed: u64) {
        let g = all_out(seed);
        let Some(inputs) = inputs(&g, seed) else { return Ok(()) };
        match run(&g, &inputs) {
            Err(e) => prop_assert!(!e.to_string().contains("inferred as"), "{e}\n{g}"),
            Ok(results) => {
                let bound = bindings(&g, &inputs).expect("it ran");
                for (o, t) in g.outputs().iter().zip(&results) {
                    let Some(claimed) = &g.value(o.value).ints else { continue };
                    let claimed: Vec<_> = claimed.iter().map(|d| d.bind(&bound).as_int()).collect();
                    let ints = t.ints().expect("integers");
                    prop_assert_eq!(claimed.len(), ints.len(), "{} in\n{}", &o.name, g);
                    let fits = claimed.iter().zip(ints).all(|(c, &i)| c.is_none_or(|c| c == i));
                    prop_assert!(fits, "{} is {:?}, inferred as {:?} in\n{}", &o.name, ints, claimed, g);
                }
                // A count that depends on data leaves a dim that binding cannot know.
                if let Ok(plan) = g.bind(&bound) {
                    let again = run(&plan, &inputs).map_err(|e| TestCaseError::fail(format!("{e}\n{g}\n{plan}")))?;
                    let d = compare(&results, &again);
                    prop_assert!(d.first_place.is_none() && d.mismatch.is_none(), "{d}\n{g}\n{plan}");
                }
            }
        }
    }
}

/// Most graphs must evaluate for the property to say anything.
#[test]
fn enough_of_them_evaluate() {
    let ran = (0..500)
        .filter(|&seed| {
            let g = all_out(seed);
            inputs(&g, seed).is_some_and(|i| run(&g, &i).is_ok())
        })
        .count();
    assert!(ran >= 100, "{ran} of 500");
}
