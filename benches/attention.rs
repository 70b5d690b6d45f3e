//! Attention and its scores: the GEMM library beside our products in f32 and i8 and our tables, in one run.
//!
//! ```text
//! models/fetch.sh minilm vit_s_focus minilm_tokenizer && python3 models/calibration.py
//! cargo bench --bench attention                # one thread
//! RAYON_NUM_THREADS=2 cargo bench --bench attention -- attention decoding
//! BGZ_ISA=avx2 cargo bench --bench attention -- 'scores, d 64'
//! ```
//!
//! - `scores, ...`: scores alone, all queries by all keys; `keys, ...` and `queries, ...`: what is done once for each of
//!   them before, packing, coding, lookup rows. How long these take does not depend on the numbers.
//! - `attention, ...`: 1024 queries with all keys, everything included, on queries, keys and values of real models, windows
//!   of one head after the other up to the length: MiniLM for heads of 32, ViT-S for 64, two windows of ViT-S side by side
//!   for 128. `unfused` is the GEMM library, our softmax, the GEMM library. The error of each approximation to
//!   exact attention is printed before it is timed. Left out, with a line that says so, where the models are not there.
//! - `decoding, ...`: one query with as many keys, codes of which there are already.
//!
//! Ways take turns, and a filter is a part of a name (`interleaved/mod.rs`).

use bgz_fusion::kernels::attention::{Attention, Codebook, KeyCodes, Layout, Mask, Operands, Refine, Rest, Scoring};
use bgz_fusion::kernels::trial::{Kind, MULTIPLE, Trial};
use bgz_fusion::kernels::{ByteIsa, Isa, rows};
use bgz_fusion::table::calibrate;
use bgz_fusion::table::{AttentionTable, BuildOptions, Method, ProductOptions, Samples, Window};
use bgz_fusion::{Model, Tensor};
use interleaved::{Args, Section, Way};
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, GemmUninitOptions};
use rten_tensor::NdTensorView;
use std::cell::RefCell;
use std::fs::File;
use std::hint::black_box;
use std::io::BufReader;
use std::mem::MaybeUninit;
use std::path::Path;

mod interleaved;

const HEADS: [usize; 3] = [32, 64, 128];
const LENGTHS: [usize; 4] = [512, 2048, 4096, 16_384];
const QUERIES: usize = 4 * MULTIPLE;

fn made_up(n: usize, d: usize) -> Vec<f32> {
    (0..n * d).map(|i| (i * 7919 % 4001) as f32 / 1000.0 - 2.0).collect()
}

fn product(subspaces: usize, entries: usize, adds: usize) -> Kind {
    Kind::Product { subspaces, entries, adds }
}

/// Kinds of scores for heads of `d`; the tables at 4 dims a code of 16 entries, and at 8 dims a code of more.
fn kinds(d: usize) -> Vec<(&'static str, Kind)> {
    vec![
        ("f32", Kind::F32),
        ("int8", Kind::Int8),
        ("palette", Kind::Palette),
        ("product of 16", product(d / 4, 16, 1)),
        ("product of 16, 4 added", product(d / 4, 16, 4)),
        ("product of 128", product(d / 8, 128, 1)),
        ("product of 128, 2 added", product(d / 8, 128, 2)),
        ("product of 256", product(d / 8, 256, 1)),
    ]
}

fn trial(kind: Kind, d: usize, seq: usize) -> Trial {
    let level = ByteIsa::within(Isa::detect().expect("BGZ_ISA names what this host has"));
    let mut t = Trial::new(kind, level, d, &made_up(QUERIES, d), &made_up(seq, d)).expect("a shape that kernels have");
    t.keys();
    t.queries();
    t
}

fn scores(args: &Args) {
    let gemm = GemmExecutor::<f32>::new();
    let mut section = Section::new(args, ("ns a score", 1e-9), &["f32", "int8"]);
    for d in HEADS {
        for seq in LENGTHS {
            let name = format!("scores, d {d}, S {seq}");
            if !args.want(&name) {
                continue;
            }
            let (q, k) = (made_up(QUERIES, d), made_up(seq, d));
            let (q, k) = (NdTensorView::from_data([QUERIES, d], &*q), NdTensorView::from_data([seq, d], &*k));
            // Packed ahead, as our keys are.
            let keys = gemm.prepack_b(k.transposed());
            let mut out = vec![MaybeUninit::new(0.0f32); QUERIES * seq];
            let library = || {
                let (a, b) = (GemmInputA::Unpacked(black_box(q)), GemmInputB::Packed(&keys));
                let done = gemm.gemm_uninit(&mut out, a, b, GemmUninitOptions::default());
                black_box(done.expect("sizes that fit"));
            };
            let mut ways = vec![Way::new("rten-gemm", library)];
            for (name, kind) in kinds(d) {
                let mut t = trial(kind, d, seq);
                ways.push(Way::new(name, move || {
                    black_box(t.scores());
                }));
            }
            section.compare(name, QUERIES * seq, ways);
        }
    }
    section.print();
}

/// The time that it takes to pack or code a key, and to code a query or make its lookup row.
fn before(args: &Args) {
    const KEYS: usize = 2048;
    let mut keys = Section::new(args, ("ns a key", 1e-9), &[]);
    let mut queries = Section::new(args, ("ns a query", 1e-9), &[]);
    for d in HEADS {
        let name = format!("keys, d {d}");
        if args.want(&name) {
            let ways = kinds(d).into_iter().map(|(name, kind)| {
                let mut t = trial(kind, d, KEYS);
                Way::new(name, move || black_box(&mut t).keys())
            });
            keys.compare(name, KEYS, ways.collect());
        }
        let name = format!("queries, d {d}");
        if args.want(&name) {
            // Our f32 product takes queries as they are.
            let ways = kinds(d).into_iter().skip(1).map(|(name, kind)| {
                let mut t = trial(kind, d, KEYS);
                Way::new(name, move || black_box(&mut t).queries())
            });
            queries.compare(name, QUERIES, ways.collect());
        }
    }
    keys.print();
    queries.print();
}

/// Queries, keys and values of one head: rows of one model's attention, one window after the other.
struct Rows {
    d: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    table: AttentionTable,
}

/// The samples that the attention of a fetched model sees on its calibration inputs; `None`, with a line, if they are not there.
fn samples(model: &str, inputs: &[&str]) -> Option<Samples> {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/fetched");
    let (onnx, npz) = (fetched.join(format!("{model}.onnx")), fetched.join(format!("{model}.calibration.npz")));
    if !onnx.exists() || !npz.exists() {
        println!("LEFT OUT: {model} or its calibration inputs are not in models/fetched");
        return None;
    }
    let model = Model::load(&onnx).expect("it is read in every test run");
    let file = BufReader::new(File::open(&npz).expect("it is there"));
    let mut archive = zip::ZipArchive::new(file).expect("an npz file");
    let mut given = Vec::new();
    for name in inputs {
        let array = archive.by_name(&format!("{name}.npy")).expect("an input of the model");
        let array = npyz::NpyFile::new(array).expect("an array");
        let shape: Vec<usize> = array.shape().iter().map(|&n| n as usize).collect();
        let tensor = match array.dtype().descr().contains("f4") {
            true => Tensor::new(&shape, &array.into_vec::<f32>().expect("f32")),
            false => Tensor::new(&shape, &array.into_vec::<i64>().expect("i64")),
        };
        given.push((*name, tensor.expect("as many as the shape says")));
    }
    let ordered = model.order_inputs(&given).expect("the inputs of the model");
    let sites = calibrate::collect(model.graph(), &[ordered], |_| {}).expect("it has attention");
    calibrate::by_head_dimension(sites).expect("heads of one kind").pop()
}

impl Rows {
    /// Rows of `samples`, `side` windows next to each other; those that no table learned from first.
    fn new(samples: &Samples, side: usize, seq: usize) -> Self {
        let d = samples.d_head * side;
        let one = samples.d_head;
        let windows: Vec<Window> = samples
            .windows
            .chunks_exact(side)
            .map(|parts| {
                let join = |rows: fn(&Window) -> &Vec<f32>| {
                    let row = |i: usize| parts.iter().flat_map(move |w| rows(w)[i * one..][..one].iter().copied());
                    (0..rows(&parts[0]).len() / one).flat_map(row).collect()
                };
                Window { head: parts[0].head.clone(), q: join(|w| &w.q), k: join(|w| &w.k), v: join(|w| &w.v) }
            })
            .collect();
        let samples = Samples { d_head: d, d_v: d, windows, ..samples.clone() };
        let how = ProductOptions { subspaces: d / 2, entries: 16, ..ProductOptions::default() };
        let options = BuildOptions { method: Method::Product(how), max_rows: 8192, ..BuildOptions::default() };
        let table = AttentionTable::build(&samples, &options).expect("enough windows");
        let take = |rows: fn(&Window) -> &Vec<f32>| -> Vec<f32> {
            samples.windows.iter().rev().cycle().flat_map(|w| rows(w).iter().copied()).take(seq * d).collect()
        };
        Self { d, q: take(|w| &w.q), k: take(|w| &w.k), v: take(|w| &w.v), table }
    }

    fn attention(&self, seq_q: usize, seq_k: usize) -> Attention {
        let d = self.d;
        let (q, k) = (Layout::heads_first(1, seq_q, d), Layout::heads_first(1, seq_k, d));
        Attention {
            batch: 1,
            heads: 1,
            kv_heads: 1,
            seq_q,
            seq_k,
            d,
            d_v: d,
            scale: 1.0 / (d as f32).sqrt(),
            causal: false,
            zero_hidden: false,
            mask: Mask::None,
            q,
            k,
            v: k,
            out: q,
        }
    }

    fn run(&self, a: &Attention, scoring: Scoring<'_>, out: &mut [f32]) {
        assert!(a.check().is_ok() && out.len() == a.seq_q * a.d_v && self.k.len() >= a.seq_k * a.d);
        let (q, k, v) = (self.q.as_ptr(), self.k.as_ptr(), self.v.as_ptr());
        // SAFETY: the layouts are of contiguous rows, of which there are enough; there is no mask.
        let done = unsafe { a.run(scoring, Operands { q, k, v, mask: std::ptr::null(), out: out.as_mut_ptr() }) };
        done.expect("memory");
    }

    /// Attention by products of whole matrices.
    fn unfused(&self, gemm: &GemmExecutor<f32>, a: &Attention, scores: &mut [f32], out: &mut [f32]) {
        let (q, k, v) = (&self.q[..a.seq_q * self.d], &self.k[..a.seq_k * self.d], &self.v[..a.seq_k * self.d]);
        let (q, k) = (NdTensorView::from_data([a.seq_q, self.d], q), NdTensorView::from_data([a.seq_k, self.d], k));
        let v = NdTensorView::from_data([a.seq_k, self.d], v);
        let (left, right) = (GemmInputA::Unpacked(q), GemmInputB::Unpacked(k.transposed()));
        gemm.gemm(scores, left, right, GemmOptions { alpha: a.scale, ..Default::default() }).expect("sizes that fit");
        rows::softmax_in_place(scores, a.seq_k, 1.0).expect("whole rows");
        let scores = NdTensorView::from_data([a.seq_q, a.seq_k], &*scores);
        let (left, right) = (GemmInputA::Unpacked(scores), GemmInputB::Unpacked(v));
        gemm.gemm(out, left, right, GemmOptions::default()).expect("sizes that fit");
    }
}

/// Queries of a whole attention.
const WHOLE_QUERIES: usize = 1024;

/// The L2 norm of the difference over that of the second.
fn error(got: &[f32], want: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let difference: f64 = got.iter().zip(want).map(|(g, w)| square(g - w)).sum();
    (difference / want.iter().map(|&w| square(w)).sum::<f64>()).sqrt()
}

/// The name of a comparison with keys of this head dimension.
fn name(what: &str, d: usize, seq: usize) -> String {
    format!("{what}, d {d}, S {seq}")
}

fn attention(section: &mut Section, args: &Args, rows: &Rows) {
    let gemm = GemmExecutor::<f32>::new();
    let book = Codebook::new(&rows.table.codebook()).expect("few subspaces");
    let refined = rows.table.record().refined.as_ref();
    // A table that nothing refines to within the bound is run as it is by default all the same, for its time.
    let refine = refined.map_or(Refine::default(), |r| r.refine);
    for seq in LENGTHS.into_iter().filter(|&seq| args.want(&name("attention", rows.d, seq))) {
        let a = rows.attention(WHOLE_QUERIES.min(seq), seq);
        let scored = Refine { rest: Rest::Scored, ..refine };
        let scorings = [
            ("exact", Scoring::Exact),
            ("int8", Scoring::Int8),
            ("table", Scoring::Table(&book)),
            ("table, refined", Scoring::Refined(&book, refine)),
            ("table, refined, rest scored", Scoring::Refined(&book, scored)),
        ];
        let mut scores = vec![0.0f32; a.seq_q * seq];
        let out = RefCell::new(vec![0.0f32; a.seq_q * a.d_v]);
        let mut exact = out.borrow().clone();
        rows.run(&a, Scoring::Exact, &mut exact);
        for (name, scoring) in &scorings[1..] {
            rows.run(&a, *scoring, &mut out.borrow_mut());
            println!("d {}, S {seq}, {name}: output error {:.4}", rows.d, error(&out.borrow(), &exact));
        }
        let unfused = || rows.unfused(&gemm, &a, &mut scores, black_box(&mut out.borrow_mut()));
        let fused = scorings.map(|(name, scoring)| {
            let (a, out) = (&a, &out);
            Way::new(name, move || rows.run(a, scoring, black_box(&mut out.borrow_mut())))
        });
        let ways = [Way::new("unfused", unfused)].into_iter().chain(fused).collect();
        section.compare(name("attention", rows.d, seq), 1, ways);
    }
}

const CACHED: [usize; 3] = [4096, 16_384, 65_536];

/// One query: exact attention reads all keys and values, a table its codes and those of the keys that it chooses.
fn decoding(section: &mut Section, args: &Args, rows: &Rows) {
    let book = Codebook::new(&rows.table.codebook()).expect("few subspaces");
    let refine = rows.table.record().refined.as_ref().map_or(Refine::default(), |r| r.refine);
    let level = ByteIsa::within(Isa::detect().expect("BGZ_ISA names what this host has"));
    for seq in CACHED.into_iter().filter(|&seq| args.want(&name("decoding", rows.d, seq))) {
        let a = rows.attention(1, seq);
        let mut codes = KeyCodes::new(1);
        assert!(codes.update(&book, level, &[&rows.k[..seq * rows.d]]), "keys of one head");
        println!("d {}, {seq} keys: {} bytes of codes, {} of keys and values", rows.d, codes.bytes(), 8 * seq * rows.d);
        let out = RefCell::new(vec![0.0f32; a.d_v]);
        let ways = [("exact", Scoring::Exact), ("table, refined", Scoring::Cached(&book, refine, &codes))];
        let ways = ways.map(|(name, scoring)| {
            let (a, out) = (&a, &out);
            Way::new(name, move || rows.run(a, scoring, black_box(&mut out.borrow_mut())))
        });
        section.compare(name("decoding", rows.d, seq), 1, ways.into());
    }
}

fn real_rows(args: &Args) {
    const MINILM: (&str, &[&str]) = ("minilm", &["input_ids", "attention_mask"]);
    const VIT: (&str, &[&str]) = ("vit_s_focus", &["input_image"]);
    let mut whole = Section::new(args, ("ms", 1e-3), &["unfused", "exact"]);
    let mut cached = Section::new(args, ("ms", 1e-3), &["exact"]);
    for (d, side, (model, inputs)) in [(32, 1, MINILM), (64, 1, VIT), (128, 2, VIT)] {
        let wanted = LENGTHS.iter().any(|&seq| args.want(&name("attention", d, seq)));
        let decoded = d == 64 && CACHED.iter().any(|&seq| args.want(&name("decoding", d, seq)));
        // Learning, before, is not measured: all CPUs may do it.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(0).build().expect("threads");
        let rows = (wanted || decoded)
            .then(|| pool.install(|| samples(model, inputs).map(|s| Rows::new(&s, side, CACHED[2]))))
            .flatten();
        let Some(rows) = rows else { continue };
        attention(&mut whole, args, &rows);
        if d == 64 {
            decoding(&mut cached, args, &rows);
        }
    }
    whole.print();
    cached.print();
}

fn main() {
    let args = Args::read();
    let threads = interleaved::threads();
    let level = ByteIsa::within(Isa::detect().expect("BGZ_ISA names what this host has"));
    println!("{level}, {threads} threads");
    scores(&args);
    before(&args);
    real_rows(&args);
}
