use super::*;

/// Figures of scores made from the exact ones by `f(query, key, score)`.
fn of(s: &Samples, f: impl Fn(usize, usize, f32) -> f32 + Sync) -> Fidelity {
    let windows: Vec<&Window> = s.windows.iter().collect();
    let (f, d) = (&f, s.d_head);
    s.measure(&windows, |w| {
        Ok(Box::new(move |i, out: &mut [f32]| {
            let q = &w.q[i * d..][..d];
            for (j, (o, k)) in out.iter_mut().zip(w.k.chunks(d)).enumerate() {
                *o = f(i, j, q.iter().zip(k).map(|(a, b)| a * b).sum());
            }
        }))
    })
    .unwrap()
}

fn assert_perfect(f: &Fidelity) {
    for (x, y) in [(f.pearson, 1.0), (f.spearman, 1.0), (f.top1, 1.0), (f.output_error, 0.0), (f.kl, 0.0)] {
        assert!((x.mean - y).abs() < 1e-3 && (x.worst - y).abs() < 1e-3, "{f}");
    }
}

#[test]
fn exact_scores_and_those_shifted_by_row_are_perfect() {
    for causal in [false, true] {
        let s = Samples { causal, ..samples(8, 30) };
        assert_perfect(&of(&s, |_, _, x| x));
        assert_perfect(&of(&s, |i, _, x| x + i as f32));
    }
}

#[test]
fn negated_scores_are_the_opposite() {
    let f = of(&samples(8, 30), |_, _, x| -x);
    assert!(f.pearson.mean < -0.999 && f.spearman.mean < -0.999 && f.top1.mean == 0.0 && f.kl.mean > 1.0, "{f}");
}

#[test]
fn a_monotone_map_keeps_ranks_only() {
    let f = of(&samples(8, 30), |_, _, x| (x / 30.0).exp());
    assert!(f.spearman.mean > 0.999 && f.top1.mean == 1.0, "{f}");
    assert!(f.pearson.mean < 0.99 && f.output_error.mean > 0.05, "{f}");
}

#[test]
fn hidden_keys_do_not_count() {
    let s = Samples { causal: true, ..samples(8, 30) };
    assert_perfect(&of(&s, |i, j, x| if j > i { 1e9 } else { x }));
    assert!(of(&s, |i, j, x| if j == i { 1e9 } else { x }).top1.mean < 0.5);
}

/// Two keys, values 0 and 1: by hand.
#[test]
fn figures_by_hand() {
    let ln3 = 3.0_f32.ln();
    let w = Window { head: "h".into(), q: vec![1.0], k: vec![0.0, ln3], v: vec![0.0, 1.0] };
    let s = Samples { d_head: 1, d_v: 1, scale: 1.0, causal: false, windows: vec![w] };
    // Weights are 1/4 and 3/4; with equal scores 1/2 each.
    let f = of(&s, |_, _, _| 0.0);
    assert!((f.output_error.mean - 1.0 / 3.0).abs() < 1e-6, "{f}");
    let kl = 0.25 * 0.5_f64.ln() + 0.75 * 1.5_f64.ln();
    assert!((f.kl.mean - kl).abs() < 1e-6, "{f}");
    assert_eq!((f.pearson.mean, f.spearman.mean, f.top1.mean), (0.0, 0.0, 0.0));
}

#[test]
fn the_worst_head_is_named() {
    let s = samples(8, 30);
    let windows: Vec<&Window> = s.windows.iter().collect();
    let f = s.measure(&windows, |w| {
        Ok(Box::new(move |i, out: &mut [f32]| {
            for (o, k) in out.iter_mut().zip(w.k.chunks(8)) {
                let exact: f32 = w.q[i * 8..][..8].iter().zip(k).map(|(a, b)| a * b).sum();
                *o = if w.head == "layer1" { -exact } else { exact };
            }
        }))
    });
    let f = f.unwrap();
    assert_eq!(f.worst_head, "layer1");
    assert!(f.pearson.worst < -0.999 && f.pearson.mean.abs() < 1e-3 && f.output_error.worst > 0.5, "{f}");
}

#[test]
fn a_nan_score_passes_no_floor() {
    let f = of(&samples(8, 30), |i, j, x| if (i, j) == (3, 4) { f32::NAN } else { x });
    assert!(!f.is_finite());
    assert!(f.output_error.mean.is_nan() && f.output_error.worst.is_nan(), "{f}");
}

#[test]
fn text_round_trips() {
    let mut f = of(&samples(8, 30), |_, j, x| x + (j % 3) as f32);
    f.worst_head = "/layer 1, head=2".into();
    assert_eq!(f.to_string().parse(), Ok(f));
    for bad in ["", "pearson=1,1", "pearson=NaN,1 spearman=1,1 top1=1,1 output_error=0,0 kl=0,0 heads=1 worst_head="] {
        assert!(bad.parse::<Fidelity>().is_err(), "{bad}");
    }
}

#[test]
fn rank_correlations_by_hand() {
    let x = [1.0, 2.0, 3.0, 4.0];
    assert!((spearman(&x, &[10.0, 30.0, 20.0, 40.0]) - 0.8).abs() < 1e-12);
    assert!((spearman(&x, &[4.0, 3.0, 2.0, -1.0]) + 1.0).abs() < 1e-12);
    // Ranks 0.5, 0.5, 2, 3.
    assert!((spearman(&x, &[1.0, 1.0, 2.0, 3.0]) - 4.5 / (5.0_f64 * 4.5).sqrt()).abs() < 1e-12);
    assert_eq!(spearman(&x, &[7.0; 4]), 0.0);
    assert_eq!(spearman(&[7.0; 4], &x), 0.0);
    assert_eq!(spearman(&[], &[]), 0.0);
    assert!(spearman(&x, &[1.0, f64::NAN, 2.0, 3.0]).is_nan());
}
