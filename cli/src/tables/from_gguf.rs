//! `bgz tables from-gguf`: tables made of a model's weights, and how they serve what its attention sees.

use super::args::FromGgufArgs;
use crate::failure::{Failure, because};
use crate::npz::Archive;
use crate::progress::Progress;
use crate::table::Table;
use crate::{format, gguf, print, shape};
use bgz_fusion::Tensor;
use bgz_fusion::table::weights::{self, LayerHeads, Projections, WeightFigures};
use bgz_fusion::table::{AttentionTable, BuildOptions, Collected, DistancePalette, Fidelity, Method, ProductOptions};
use serde_json::{Value, json};

/// Figures of one head.
struct Head {
    layer: usize,
    head: usize,
    kv_head: usize,
    weights: WeightFigures,
    served: Option<Served>,
}

/// The attention of one head with some scores, on windows that were held out.
struct Served {
    /// From the table of weights, with the best affine function.
    weights: Fidelity,
    /// From 256 x 256 dot products, learned from the head's own queries and keys.
    palette: Fidelity,
    /// From a product table of those.
    product: Fidelity,
    /// From 8-bit rows.
    int8: Fidelity,
}

/// The samples that were collected of a model, by layer.
struct SampleFile<'a> {
    archive: Archive,
    args: &'a FromGgufArgs,
}

/// Makes the tables, measures them and prints figures.
pub fn run(args: &FromGgufArgs) -> Result<(), Failure> {
    let file = gguf::open(&args.file)?;
    let failed = |e: Failure| because(args.file.display().to_string(), e);
    let projections = Projections::new(&file).map_err(|e| failed(e.into()))?;
    let layers: Vec<usize> = match args.layers.is_empty() {
        true => (0..projections.layers()).collect(),
        false => args.layers.clone(),
    };
    if layers.is_empty() {
        return Err(failed("the model has no layers".into()));
    }
    // Before anything is computed.
    for &layer in &layers {
        projections.heads(layer).map_err(|e| failed(e.into()))?;
    }
    let mut samples = match &args.samples {
        Some(path) => {
            let archive = Archive::open(path).map_err(|e| because(format!("cannot read {}", path.display()), e))?;
            Some(SampleFile { archive, args })
        }
        None => None,
    };
    let progress = Progress::new("reading weights");
    let mut heads = Vec::new();
    for (i, &layer) in layers.iter().enumerate() {
        let what = projections.heads(layer).map_err(|e| failed(e.into()))?;
        let collected = samples.as_mut().map(|s| s.layer(layer, &what)).transpose()?;
        let mut keys: Option<(usize, Vec<f32>)> = None;
        for head in 0..what.heads {
            progress.say(format!("layer {} of {}, head {head} of {}", i + 1, layers.len(), what.heads));
            let kv_head = what.kv_head(head);
            let queries = projections.queries(layer, head).map_err(|e| failed(e.into()))?;
            let keys = match &mut keys {
                Some((of, rows)) if *of == kv_head => &*rows,
                other => {
                    let rows = projections.keys(layer, kv_head).map_err(|e| failed(e.into()))?;
                    &other.insert((kv_head, rows)).1
                }
            };
            let named = |e| failed(because(format!("layer {layer}, head {head}"), e));
            let table = DistancePalette::of_rows(&queries, keys, what.width, args.seed).map_err(named)?;
            let weights = WeightFigures::measure(&table, &queries, keys, what.width).map_err(named)?;
            let served = collected.as_ref().map(|c| served(args, c, table, layer, head)).transpose()?;
            heads.push(Head { layer, head, kv_head, weights, served });
        }
    }
    drop(progress);
    let what = projections.heads(layers[0]).map_err(|e| failed(e.into()))?;
    print(&match args.json {
        true => as_json(&projections, &heads),
        false => as_text(args, &projections, &what, &heads),
    })
}

/// Queries, keys and values of a layer, with what they are.
struct Layer {
    tensors: [Tensor; 3],
    heads: usize,
    kv_heads: usize,
    d_head: usize,
    d_v: usize,
}

impl SampleFile<'_> {
    /// The samples of a layer, which has these heads.
    fn layer(&mut self, layer: usize, what: &LayerHeads) -> Result<Layer, Failure> {
        let path = self.args.samples.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
        let failed = |e: Failure| because(format!("samples in {path}"), e);
        let mut read = |kind: &str| -> Result<(Tensor, [usize; 3]), Failure> {
            let name = format!("layer{layer}.{kind}");
            let tensor = self.archive.read(&name)?;
            let (Ok(_), &[a, b, c]) = (tensor.as_slice::<f32>(), tensor.shape()) else {
                let ty = format!("{}[{}]", tensor.dtype(), shape::sizes(tensor.shape()));
                return Err(format!("array {name:?} is {ty}; f32 of tokens x heads x dims is needed").into());
            };
            Ok((tensor, [a, b, c]))
        };
        let (q, [_, heads, d_head]) = read("q").map_err(failed)?;
        let (k, [_, kv_heads, d_k]) = read("k").map_err(failed)?;
        let (v, [_, v_heads, d_v]) = read("v").map_err(failed)?;
        if (heads, kv_heads, d_head) != (what.heads, what.kv_heads, what.d_head) || (kv_heads, d_head) != (v_heads, d_k)
        {
            let shapes = [&q, &k, &v].map(|t| shape::sizes(t.shape())).join(", ");
            let LayerHeads { heads, kv_heads, d_head, .. } = what;
            let wanted = format!("{heads} heads of queries and {kv_heads} of keys, of {d_head}");
            return Err(failed(format!("layer{layer}: q, k, v are {shapes}; the model has {wanted}").into()));
        }
        Ok(Layer { tensors: [q, k, v], heads, kv_heads, d_head, d_v })
    }
}

/// The attention of a head with each table.
fn served(
    args: &FromGgufArgs,
    layer: &Layer,
    table: DistancePalette,
    number: usize,
    head: usize,
) -> Result<Served, Failure> {
    let [q, k, v] = layer.tensors.each_ref().map(|t| t.as_slice::<f32>().unwrap_or_default());
    let Layer { heads, kv_heads, d_head, d_v, .. } = *layer;
    let scale = args.scale.unwrap_or(1.0 / (d_head as f32).sqrt());
    let collected = Collected { q, k, v, heads, kv_heads, d_head, d_v, scale };
    let name = format!("layer {number}, head {head}");
    let failed = |e| because(format!("no table of samples for {name}"), e);
    let samples = collected.head(head, &name, args.window).map_err(failed)?;
    let options = |method| BuildOptions { method, held_out: args.held_out, refine: None, ..BuildOptions::default() };
    // As `bgz tables build` makes them.
    let product =
        ProductOptions { subspaces: (d_head / 2).max(1), entries: 16, seed: args.seed, ..ProductOptions::default() };
    let palette = options(Method::Palette { seed: args.seed });
    let weights = weights::serve(table, &samples, &palette).map_err(failed)?;
    let palette = AttentionTable::build(&samples, &palette).map_err(failed)?;
    let product = AttentionTable::build(&samples, &options(Method::Product(product))).map_err(failed)?;
    Ok(Served {
        weights,
        palette: palette.fidelity().clone(),
        product: product.fidelity().clone(),
        int8: product.record().int8.clone(),
    })
}

fn of_weights(f: &WeightFigures) -> [f64; 4] {
    [f.codes_to_distances, f.table_to_distances, f.table_to_products, f.distances_to_products]
}

/// rho and error of each way of scoring.
fn of_served(s: &Served) -> [f64; 8] {
    let each = [&s.weights, &s.palette, &s.product, &s.int8];
    let mut out = [0.0; 8];
    for (pair, f) in out.chunks_exact_mut(2).zip(each) {
        pair.copy_from_slice(&[f.spearman.mean, f.output_error.mean]);
    }
    out
}

fn as_text(args: &FromGgufArgs, projections: &Projections<'_>, what: &LayerHeads, heads: &[Head]) -> String {
    let LayerHeads { heads: queries, kv_heads, d_head, width } = what;
    let mut out = format!(
        "{}: {}, {}, {queries} heads of queries and {kv_heads} of keys, {d_head} rows of {width} each\n\n\
         Tables of weights: Spearman's rho over all pairs of a row of W_q and a row of W_k\n",
        args.file.display(),
        projections.architecture(),
        format::count(projections.layers(), "layer"),
    );
    let columns = ["codes ~ L2", "table ~ L2", "table ~ q.k", "exact L2 ~ q.k"];
    let rows: Vec<_> = heads.iter().map(|h| (h, of_weights(&h.weights).to_vec())).collect();
    out.push_str(&figures(&columns, &rows, &[false; 4]));
    let served: Vec<_> = heads.iter().filter_map(|h| Some((h, of_served(h.served.as_ref()?).to_vec()))).collect();
    if let (Some(path), false) = (&args.samples, served.is_empty()) {
        out.push_str(&format!(
            "\nReal queries and keys, {}: windows of {} tokens, the last {} of them held out.\n\
             rho of scores in a row with exact ones; relative L2 error of attention outputs in percent.\n",
            path.display(),
            args.window,
            args.held_out,
        ));
        let columns = ["weights rho", "error", "palette rho", "error", "product rho", "error", "int8 rho", "error"];
        let percent: Vec<bool> = (0..8).map(|i| i % 2 == 1).collect();
        out.push_str(&figures(&columns, &served, &percent));
        out.push_str(
            "\nweights: the table of weights, given the affine function of its distances that is nearest to q.k on the\n\
             windows that are not held out. palette: 256 x 256 dot products, a byte a key like it; product: codes of 16\n\
             entries; both learned from the same windows. int8: 8-bit dot products, which need no table.\n",
        );
    }
    out
}

/// A row a head, and mean and worst of them; columns of errors are in percent, and worst where they are largest.
fn figures(columns: &[&str], rows: &[(&Head, Vec<f64>)], errors: &[bool]) -> String {
    let mut table = Table::new(3, ["layer", "head", "keys"].into_iter().chain(columns.iter().copied()));
    let cell = |(v, &error): (f64, &bool)| if error { format!("{:.2}", v * 100.0) } else { format!("{v:.4}") };
    let cells = |values: Vec<f64>| values.into_iter().zip(errors).map(cell).collect::<Vec<String>>();
    for (h, values) in rows {
        let about = [h.layer, h.head, h.kv_head].map(|n| n.to_string());
        table.row(about.into_iter().chain(cells(values.clone())));
    }
    let column = |i: usize| rows.iter().map(move |r| r.1[i]);
    let mean = |i: usize| column(i).sum::<f64>() / rows.len() as f64;
    let worst = |i: usize| column(i).reduce(if errors[i] { f64::max } else { f64::min }).unwrap_or(f64::NAN);
    for (name, of) in [("mean", &mean as &dyn Fn(usize) -> f64), ("worst", &worst)] {
        let about = [name, "", ""].map(String::from);
        table.row(about.into_iter().chain(cells((0..columns.len()).map(of).collect())));
    }
    table.plain("  ")
}

fn as_json(projections: &Projections<'_>, heads: &[Head]) -> String {
    let fidelity = |f: &Fidelity| {
        json!({
            "spearman": f.spearman.mean, "pearson": f.pearson.mean, "top1": f.top1.mean,
            "output_error": f.output_error.mean, "kl": f.kl.mean,
        })
    };
    let one = |h: &Head| {
        let [codes, table, products, exact] = of_weights(&h.weights);
        let served = h.served.as_ref().map(|s| {
            json!({
                "weights": fidelity(&s.weights), "palette": fidelity(&s.palette), "product": fidelity(&s.product),
                "int8": fidelity(&s.int8),
            })
        });
        json!({
            "layer": h.layer, "head": h.head, "kv_head": h.kv_head,
            "rho": {
                "codes_to_distances": codes, "table_to_distances": table, "table_to_products": products,
                "distances_to_products": exact,
            },
            "served": served,
        })
    };
    let heads: Vec<Value> = heads.iter().map(one).collect();
    format!("{:#}\n", json!({"architecture": projections.architecture(), "heads": heads}))
}
