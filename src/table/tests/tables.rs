use super::*;

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn learned(d: usize, how: &ProductOptions) -> (Samples, ProductTable) {
    let s = samples(d, 100);
    let join = |f: fn(&Window) -> &Vec<f32>| s.windows.iter().flat_map(|w| f(w).clone()).collect::<Vec<f32>>();
    let table = ProductTable::learn(&join(|w| &w.q), &join(|w| &w.k), d, how).unwrap();
    (s, table)
}

/// A score by lookups is the dot product with the decoded key, whatever the order of dims.
#[test]
fn product_scores_are_dot_products_with_decoded_keys() {
    let cases = [
        (Rotary::None, 128, 0.35),
        (Rotary::Interleaved, 128, 0.35),
        (Rotary::Halves, 128, 0.35),
        (Rotary::None, 16, 0.5),
    ];
    for (rotary, entries, most) in cases {
        let how = ProductOptions { subspaces: 4, entries, rotary, ..ProductOptions::default() };
        let (s, table) = learned(16, &how);
        let w = &s.windows[0];
        let mut codes = vec![0; 100 * 4];
        table.encode(&w.k, &mut codes).unwrap();
        let (mut row, mut out, mut keys) = (vec![0.0; 4 * entries], vec![0.0; 100], vec![0.0; 1600]);
        table.decode(&codes, &mut keys).unwrap();
        let q = &w.q[..16];
        table.lookup_row(q, &mut row).unwrap();
        table.scores(&row, &codes, &mut out).unwrap();
        for ((score, decoded), key) in out.iter().zip(keys.chunks(16)).zip(w.k.chunks(16)) {
            assert!((score - dot(q, decoded)).abs() < 1e-3, "{score} {}", dot(q, decoded));
            let error = dot(q, key) - table.offset(q).unwrap() - score;
            assert!(error.abs() < most * dot(q, q).sqrt() * dot(key, key).sqrt(), "{error}");
        }
    }
}

/// Encoding takes the entry of the least weighted error, by the definition.
#[test]
fn codes_are_the_nearest_entries_under_the_metric() {
    let (s, table) = learned(8, &ProductOptions { subspaces: 2, entries: 128, ..ProductOptions::default() });
    let p = table.parts();
    let mut codes = vec![0; 200];
    table.encode(&s.windows[1].k, &mut codes).unwrap();
    for (key, codes) in s.windows[1].k.chunks(8).zip(codes.chunks(2)) {
        for m in 0..2 {
            let error = |c: usize| {
                let entry = &p.codebook[(m * 128 + c) * 4..][..4];
                let x: Vec<f64> = (0..4).map(|j| f64::from(key[m * 4 + j] - p.mean[m * 4 + j] - entry[j])).collect();
                (0..16).map(|i| x[i / 4] * f64::from(p.metric[m * 16 + i]) * x[i % 4]).sum::<f64>()
            };
            let least = (0..128).map(error).fold(f64::INFINITY, f64::min);
            assert!(error(usize::from(codes[m])) <= least + 1e-3);
        }
    }
}

#[test]
fn codebooks_of_16_entries_take_half_a_byte_a_code() {
    let how = |subspaces, entries| BuildOptions {
        method: Method::Product(ProductOptions { subspaces, entries, ..Default::default() }),
        ..Default::default()
    };
    let table = AttentionTable::build(&samples(12, 100), &how(3, 16)).unwrap();
    assert_eq!((table.codes_per_key(), table.bytes_per_key(), table.lookup_len()), (3, 2, 48));
    let mut codes = vec![255; 15];
    table.encode(&[1.0; 60], &mut codes).unwrap();
    assert!(codes.iter().all(|&c| c < 16), "{codes:?}");
    let refused = AttentionTable::build(&samples(12, 100), &how(3, 64)).unwrap_err();
    assert_eq!(refused.to_string(), "a codebook has 16, 128 or 256 entries, not 64");
}

#[test]
fn whole_rotary_pairs_share_a_code() {
    let (_, table) =
        learned(16, &ProductOptions { subspaces: 8, entries: 128, rotary: Rotary::Halves, ..Default::default() });
    let mut key = vec![0.0; 16];
    let mut base = vec![0; 8];
    table.encode(&key, &mut base).unwrap();
    (key[3], key[11]) = (50.0, -50.0);
    let mut codes = vec![0; 8];
    table.encode(&key, &mut codes).unwrap();
    let changed: Vec<usize> = (0..8).filter(|&m| base[m] != codes[m]).collect();
    assert_eq!(changed, [3]);
}

#[test]
fn codes_do_not_depend_on_the_number_of_keys() {
    let (s, table) = learned(8, &ProductOptions { subspaces: 4, entries: 128, ..Default::default() });
    let mut all = vec![0; 400];
    table.encode(&s.windows[0].k, &mut all).unwrap();
    for (key, codes) in s.windows[0].k.chunks(8).zip(all.chunks(4)) {
        let mut one = vec![0; 4];
        table.encode(key, &mut one).unwrap();
        assert_eq!(one, codes);
    }
    table.encode(&[], &mut []).unwrap();
}

#[test]
fn keys_that_are_not_finite_and_wild_codes_are_survived() {
    let (_, table) = learned(8, &ProductOptions { subspaces: 4, entries: 128, ..Default::default() });
    let mut codes = [9; 4];
    table.encode(&[f32::NAN; 8], &mut codes).unwrap();
    assert_eq!(codes, [0; 4]);
    table.encode(&[f32::INFINITY; 8], &mut codes).unwrap();
    let row: Vec<f32> = (0..512).map(|i| i as f32).collect();
    let (mut wild, mut tame) = ([0.0], [0.0]);
    table.scores(&row, &[128, 255, 129, 200], &mut wild).unwrap();
    table.scores(&row, &[0, 127, 1, 72], &mut tame).unwrap();
    assert_eq!(wild, tame);
}

#[test]
fn operands_of_wrong_size_are_errors() {
    let t = marked(8, None, 0);
    assert!(t.encode(&[0.0; 9], &mut [0; 2]).is_err());
    assert!(t.encode(&[0.0; 8], &mut [0; 3]).is_err());
    assert!(t.lookup_row(&[0.0; 7], &mut [0.0; 256]).is_err());
    assert!(t.lookup_row(&[0.0; 8], &mut [0.0; 255]).is_err());
    assert!(t.scores(&[0.0; 256], &[0; 3], &mut [0.0; 2]).is_err());
}

#[test]
fn the_compiled_table_holds_dot_products() {
    let s = samples(8, 200);
    let t = PaletteTable::learn(
        &s.windows.iter().flat_map(|w| w.q.clone()).collect::<Vec<_>>(),
        &s.windows[0].k.repeat(2),
        8,
        1,
    );
    let t = t.unwrap();
    let p = t.parts();
    for q in [0u8, 7, 255] {
        for k in [0u8, 100, 255] {
            let exact = dot(&p.queries[usize::from(q) * 8..][..8], &p.keys[usize::from(k) * 8..][..8]);
            assert!((t.score(q, k) - exact).abs() <= p.scale, "{} {exact}", t.score(q, k));
        }
    }
    // The whole range is used.
    assert!(p.table.contains(&0) && p.table.contains(&u16::MAX));
    let (mut qc, mut kc, mut row) = ([0], [0], vec![0.0; 256]);
    t.encode_queries(&s.windows[0].q[..8], &mut qc).unwrap();
    t.encode(&s.windows[0].k[..8], &mut kc).unwrap();
    t.lookup_row(&s.windows[0].q[..8], &mut row).unwrap();
    assert_eq!(row[usize::from(kc[0])], t.score(qc[0], kc[0]));
}

/// The order that real attention showed: more subspaces are better, exact queries are better than coded ones, dot
/// products are better than distances, and int8 is better than all of them.
#[test]
fn methods_rank_as_on_real_attention() {
    // As soft as attention mostly is: the largest weight of a row far from 1.
    let s = Samples { scale: 0.03, ..samples(16, 200) };
    let all = compare(&s, &product(8, Rotary::None, Weighting::Full)).unwrap();
    let of = |name: &str| &all.iter().find(|c| c.method.starts_with(name)).unwrap().fidelity;
    let ranked = [
        of("int8"),
        of("product table, exact"),
        of("product table, both"),
        of("key palette"),
        of("palette of dot"),
        of("Base17"),
    ];
    let errors = ranked.map(|f| f.output_error.mean);
    assert!(errors.windows(2).all(|w| 1.05 * w[0] < w[1]), "{errors:?}");
    let ranks = ranked.map(|f| f.spearman.mean);
    assert!(ranks.windows(2).all(|w| w[0] > w[1]), "{ranks:?}");
    assert!(errors[0] < 0.02 && ranks[1] > 0.95, "{errors:?} {ranks:?}");
    assert_eq!(all.iter().map(|c| c.bytes_per_key).collect::<Vec<_>>(), [1, 1, 1, 8, 8, 8, 20]);
}

/// Softmax cannot see a constant in a row, so a shift of all keys must not change what the table is worth.
#[test]
fn a_shift_of_all_keys_costs_nothing() {
    let mut s = samples(8, 100);
    let before = AttentionTable::build(&s, &product(4, Rotary::None, Weighting::Full)).unwrap();
    s.windows.iter_mut().for_each(|w| w.k.iter_mut().for_each(|k| *k += 64.0));
    let after = AttentionTable::build(&s, &product(4, Rotary::None, Weighting::Full)).unwrap();
    let (a, b) = (before.fidelity().output_error.mean, after.fidelity().output_error.mean);
    assert!((a - b).abs() < 0.02, "{a} {b}");
}

/// With queries in half the dims only, the weighted codebook spends its entries there.
#[test]
fn weighting_by_queries_lowers_the_error() {
    let mut s = samples(8, 200);
    for w in &mut s.windows {
        w.q.chunks_mut(2).for_each(|pair| pair[1] *= 0.02);
    }
    let error = |w| AttentionTable::build(&s, &product(2, Rotary::None, w)).unwrap().fidelity().output_error.mean;
    let (plain, diagonal, full) = (error(Weighting::Plain), error(Weighting::Diagonal), error(Weighting::Full));
    assert!(diagonal < 0.8 * plain && full < 0.8 * plain, "{plain} {diagonal} {full}");
}

#[test]
fn building_is_deterministic_and_keeps_held_out_windows_out() {
    let s = samples(8, 100);
    let options = product(4, Rotary::Halves, Weighting::Full);
    let table = AttentionTable::build(&s, &options).unwrap();
    assert_eq!(table, AttentionTable::build(&s, &options).unwrap());
    assert_eq!((table.d_head(), table.bytes_per_key(), table.site()), (8, 4, None));
    let split = s.split(0.25).unwrap();
    assert_eq!((split.train.len(), split.held_out.len()), (8, 4));
    // Samples that are held out change the record, not the table.
    let mut other = s.clone();
    let last = other.windows.last_mut().unwrap();
    last.k.iter_mut().for_each(|x| *x *= -1.5);
    let built = AttentionTable::build(&other, &options).unwrap();
    let parts = |t: &AttentionTable| match t {
        AttentionTable::Product(t, _) => t.parts().clone(),
        AttentionTable::Palette(..) => unreachable!("a product table was asked for"),
    };
    assert_eq!(parts(&table), parts(&built));
    assert_ne!(table.record(), built.record());
}

#[test]
fn samples_that_cannot_be_used_are_errors() {
    let good = samples(8, 100);
    let build = |s: &Samples| AttentionTable::build(s, &product(4, Rotary::None, Weighting::Full));
    let broken = |f: &dyn Fn(&mut Samples)| {
        let mut s = good.clone();
        f(&mut s);
        build(&s).unwrap_err().to_string()
    };
    assert!(broken(&|s| s.windows[3].q[5] = f32::NAN).contains("layer1"));
    assert!(broken(&|s| s.windows[3].k.truncate(9)).contains("rows of 8 keys"));
    assert!(broken(&|s| s.windows[3].v.truncate(8)).contains("differ in number"));
    assert!(broken(&|s| s.windows.truncate(3)).contains("at least two"));
    assert!(broken(&|s| s.windows.clear()).contains("there are none"));
    assert!(broken(&|s| s.d_head = 0).contains("widths"));
    let few = samples(8, 10);
    assert_eq!(build(&few), Err(TableError::TooFewRows { given: 80, needed: 128 }));
    let cut = AttentionTable::build(&good, &product(3, Rotary::None, Weighting::Full));
    assert_eq!(cut, Err(TableError::Subspaces { d_head: 8, subspaces: 3, pairs: false }));
}

#[test]
fn a_split_leaves_windows_on_both_sides() {
    let s = samples(8, 4);
    for (share, held_out) in [(0.0, 2), (0.5, 6), (1.0, 10), (f64::NAN, 2), (-1.0, 2), (9.0, 10)] {
        let split = s.split(share).unwrap();
        assert_eq!((split.train.len(), split.held_out.len()), (12 - held_out, held_out), "{share}");
    }
}

/// Directions spread over a circle: near ones have the larger dot product, so the fit must turn distances around.
#[test]
fn distances_are_fitted_to_dot_products() {
    let rows: Vec<f32> = (0..512).flat_map(|i| [(i as f32 / 81.5).cos(), (i as f32 / 81.5).sin()]).collect();
    let table = DistancePalette::learn(&rows, &rows, 2, 1).unwrap();
    let score =
        |i: usize, j: usize| table.score(table.encode_row(&rows[2 * i..][..2]), table.encode_row(&rows[2 * j..][..2]));
    assert!(score(0, 1) > 0.5 && score(0, 256) < -0.2, "{} {}", score(0, 1), score(0, 256));
    assert!(DistancePalette::learn(&rows[..9], &rows, 2, 1).is_err());
    assert!(DistancePalette::learn(&[], &[], 0, 1).is_err());
}

/// On soft attention a table alone is wrong by more than keys that it chooses and others score.
#[test]
fn refinement_keeps_the_error_within_the_bound() {
    let s = Samples { scale: 0.1, ..samples(16, 200) };
    let build = |search: Option<RefineSearch>| {
        let options = BuildOptions { refine: search, ..product(4, Rotary::None, Weighting::Full) };
        AttentionTable::build(&s, &options).unwrap()
    };
    let plain = build(None);
    assert_eq!(plain.record().refined, None);
    assert_eq!(plain.worst_error(), plain.fidelity().output_error.worst);
    let search = RefineSearch { max_error: 0.03, min_top1: 0.9, ..RefineSearch::default() };
    let table = build(Some(search));
    let refined = table.record().refined.clone().expect("a refinement is found");
    assert!(plain.worst_error() > 0.03 && table.worst_error() <= 0.03, "{} {refined:?}", plain.worst_error());
    assert!(refined.fidelity.top1.worst >= 0.9 && refined.chosen.mean < 1.0, "{refined:?}");
    assert_eq!((refined.refine.first, refined.refine.last), (4, 128));
    // A wider bound leaves out as much or more.
    let wider = build(Some(RefineSearch { max_error: 0.1, ..search })).record().refined.clone().expect("another");
    assert!(wider.refine.dropped_mass > refined.refine.dropped_mass, "{wider:?} {refined:?}");
    assert!(wider.chosen.mean < refined.chosen.mean, "{wider:?} {refined:?}");
    // An error that nothing can keep is not recorded.
    let none = build(Some(RefineSearch { max_error: 1e-9, ..search }));
    assert_eq!(none.record().refined, None);
}

#[test]
fn the_record_has_int8_and_every_head() {
    let s = Samples { scale: 0.03, ..samples(16, 100) };
    let table = AttentionTable::build(&s, &product(4, Rotary::None, Weighting::Full)).unwrap();
    let record = table.record();
    let names: Vec<_> = record.heads.iter().map(|h| h.head.as_str()).collect();
    assert_eq!(names, ["layer0", "layer1"]);
    let worst = |f: &dyn Fn(&HeadErrors) -> f64| record.heads.iter().map(f).fold(0.0, f64::max);
    assert_eq!(worst(&|h| h.table), record.fidelity.output_error.worst);
    assert_eq!(worst(&|h| h.int8), record.int8.output_error.worst);
    assert!(
        record.int8.output_error.worst < 0.02 && record.int8.output_error.worst < record.fidelity.output_error.worst
    );
}
