//! Gemma 3 from a GGUF file gives what the numpy reference gives, with a cache and without, on both backends.

#[path = "../examples/gemma/file.rs"]
mod file;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

use bgz_fusion::gguf::Gguf;
use bgz_fusion::{BgzFusion, Flex};
use bgz_models::gemma::{Gemma, GemmaConfig, GemmaError, Sampler};
use bgz_models::{fetched_gemma, fixture_file};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::FlexDevice;
use zip::ZipArchive;

/// The arrays of an npz by name.
struct Npz(ZipArchive<BufReader<File>>);

impl Npz {
    fn open(name: &str) -> Self {
        let file = File::open(fixture_file(name)).expect("a file");
        Self(ZipArchive::new(BufReader::new(file)).expect("an npz"))
    }

    fn get<T: npyz::Deserialize>(&mut self, name: &str) -> Vec<T> {
        let array = self.0.by_name(&format!("{name}.npy")).unwrap_or_else(|e| panic!("array {name}: {e}"));
        npyz::NpyFile::new(array).expect("an array").into_vec().expect("its elements")
    }

    fn ids(&mut self) -> Vec<u32> {
        self.get::<i64>("ids").into_iter().map(|id| u32::try_from(id).expect("a token")).collect()
    }
}

fn tiny_file() -> Gguf {
    Gguf::open(&fixture_file("gemma_tiny.gguf")).expect("a GGUF file")
}

fn greatest_difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().all(|v| v.is_finite()));
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn ids<B: Backend>(tokens: &[u32], dims: [usize; 2]) -> Tensor<B, 2, Int> {
    let values: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
    Tensor::from_data(TensorData::new(values, dims), &B::Device::default())
}

fn logits_of_a_tiny_model<B: Backend>() {
    let mut expected = Npz::open("gemma_tiny.expected.npz");
    let (tokens, logits, hidden) = (expected.ids(), expected.get::<f32>("logits"), expected.get::<f32>("hidden"));
    let model = file::model::<B>(&tiny_file(), &Default::default()).unwrap();
    // Twice: a backend may do the second pass otherwise.
    for _ in 0..2 {
        let got = model.forward(ids(&tokens, [1, tokens.len()]), None);
        let d = greatest_difference(&got.to_data().to_vec::<f32>().unwrap(), &hidden);
        assert!(d < 5e-5, "hidden states: {d}");
        let got = model.logits(got).into_data().to_vec::<f32>().unwrap();
        assert_eq!(got.len(), tokens.len() * model.vocab());
        let d = greatest_difference(&got, &logits);
        assert!(d < 1e-4, "logits: {d}");
    }
}

#[test]
fn a_tiny_model_gives_the_references_logits_on_flex() {
    logits_of_a_tiny_model::<Flex>();
}

#[test]
fn a_tiny_model_gives_the_references_logits_on_bgz_fusion() {
    logits_of_a_tiny_model::<BgzFusion<Flex>>();
}

/// Tokens by parts, whatever their sizes, over several turns of the window of 5.
fn by_parts<B: Backend>() {
    let mut expected = Npz::open("gemma_tiny.expected.npz");
    let (tokens, logits) = (expected.ids(), expected.get::<f32>("logits"));
    let device = B::Device::default();
    let model = file::model::<B>(&tiny_file(), &device).unwrap();
    assert_eq!((model.config().window, tokens.len()), (5, 24));
    let by_one = [1; 24];
    let parts: [&[usize]; 6] =
        [&[24], &by_one, &[3, 1, 1, 7, 1, 11], &[10, 14], &[2, 1, 1, 1, 1, 1, 1, 16], &[5, 6, 13]];
    for parts in parts {
        let (mut cache, mut seen) = (model.cache(), 0);
        assert!(cache.is_empty());
        for part in parts {
            let got = model.next_logits(&tokens[seen..seen + part], &mut cache, &device).unwrap();
            seen += part;
            assert_eq!(cache.len(), seen);
            let last = &logits[(seen - 1) * model.vocab()..seen * model.vocab()];
            let d = greatest_difference(&got, last);
            assert!(d < 1e-4, "{parts:?}, after {seen}: {d}");
        }
        assert_eq!(seen, 24);
    }
}

#[test]
fn a_cache_changes_nothing_on_flex() {
    by_parts::<Flex>();
}

#[test]
fn a_cache_changes_nothing_on_bgz_fusion() {
    by_parts::<BgzFusion<Flex>>();
}

/// Rooms are added every 256 tokens.
#[test]
fn a_cache_grows() {
    let model = file::model::<Flex>(&tiny_file(), &FlexDevice).unwrap();
    let tokens: Vec<u32> = (0..260).map(|i| (i * 37 + 5) % 290).collect();
    let mut cache = model.cache();
    model.next_logits(&tokens[..250], &mut cache, &FlexDevice).unwrap();
    let mut last = Vec::new();
    for token in &tokens[250..] {
        last = model.next_logits(&[*token], &mut cache, &FlexDevice).unwrap();
    }
    let whole = model.next_logits(&tokens, &mut model.cache(), &FlexDevice).unwrap();
    let d = greatest_difference(&last, &whole);
    assert!(d < 1e-4, "{d}");
}

/// A key beyond the window of one block is seen by the other, which is global, and by none if there is no such.
#[test]
fn a_window_hides_what_is_before_it() {
    let file = tiny_file();
    let number = |key: &str, pattern: f64| match key {
        "gemma3.attention.sliding_window_pattern" => Some(pattern),
        _ => file.metadata().get(key).and_then(|v| v.as_f64().or_else(|| v.as_i64().map(|v| v as f64))),
    };
    let last = |pattern, first: u32| {
        let config = GemmaConfig::from_metadata(|key| number(key, pattern)).unwrap();
        let tensor = |name: &str| {
            let tensor = file.tensor(name)?;
            Ok::<_, bgz_fusion::gguf::GgufError>((tensor.shape(), tensor.to_f32()?))
        };
        let model = Gemma::<Flex>::load(&config, tensor, &FlexDevice).unwrap();
        let mut tokens = vec![first];
        tokens.extend(20..29);
        model.next_logits(&tokens, &mut model.cache(), &FlexDevice).unwrap()
    };
    // Ten tokens: two windows of 5 reach back 8.
    assert_eq!(last(3.0, 280), last(3.0, 281));
    assert!(greatest_difference(&last(2.0, 280), &last(2.0, 281)) > 1e-3);
}

#[test]
fn sequences_of_a_batch_do_not_see_each_other() {
    let model = file::model::<Flex>(&tiny_file(), &FlexDevice).unwrap();
    let rows: [Vec<u32>; 2] = [(270..280).collect(), (40..50).collect()];
    let both = model.forward(ids(&rows.concat(), [2, 10]), None).into_data().to_vec::<f32>().unwrap();
    for (row, got) in rows.iter().zip(both.chunks(both.len() / 2)) {
        let alone = model.forward(ids(row, [1, 10]), None).into_data().to_vec::<f32>().unwrap();
        assert!(greatest_difference(got, &alone) < 1e-5);
    }
}

#[test]
fn surprises_are_those_of_the_logits() {
    let mut expected = Npz::open("gemma_tiny.expected.npz");
    let (tokens, logits) = (expected.ids(), expected.get::<f32>("logits"));
    let model = file::model::<Flex>(&tiny_file(), &FlexDevice).unwrap();
    let got = model.surprises(&tokens, &FlexDevice).unwrap();
    assert_eq!(got.len(), tokens.len() - 1);
    for (i, got) in got.into_iter().enumerate() {
        let row: Vec<f64> = logits[i * model.vocab()..][..model.vocab()].iter().map(|&v| f64::from(v)).collect();
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        let expected = sum.ln() - row[tokens[i + 1] as usize];
        assert!((got - expected).abs() < 1e-4, "token {i}: {got}, not {expected}");
    }
}

#[test]
fn generation_takes_the_likeliest_and_stops_when_told() {
    let model = file::model::<Flex>(&tiny_file(), &FlexDevice).unwrap();
    let mut made = Vec::new();
    let mut greedy = |count, stop: usize| {
        made.clear();
        let each = |token| {
            made.push(token);
            made.len() < stop
        };
        let n = model.generate(&[2, 270, 280], count, &mut Sampler::greedy(), &FlexDevice, each).unwrap();
        assert_eq!(n, made.len());
        made.clone()
    };
    let six = greedy(6, 99);
    assert_eq!((six.len(), greedy(6, 2)), (6, six[..2].to_vec()));
    assert!(greedy(0, 99).is_empty());
    // Each is the likeliest behind those before it, without a cache.
    let mut text = vec![2, 270, 280];
    for token in six {
        let logits = model.next_logits(&text, &mut model.cache(), &FlexDevice).unwrap();
        assert_eq!(Sampler::greedy().pick(&logits) as u32, token);
        text.push(token);
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let file = tiny_file();
    let model = file::model::<Flex>(&file, &FlexDevice).unwrap();
    let config = model.config().clone();
    let vocab = model.vocab() as u32;
    let error = model.next_logits(&[vocab], &mut model.cache(), &FlexDevice).unwrap_err();
    assert!(matches!(error, GemmaError::UnknownToken { token, .. } if token == vocab), "{error}");
    let error = model.next_logits(&[], &mut model.cache(), &FlexDevice).unwrap_err();
    assert!(matches!(error, GemmaError::TooFew { len: 0, needed: 1 }), "{error}");
    let error = model.surprises(&[1, vocab], &FlexDevice).unwrap_err();
    assert!(matches!(error, GemmaError::UnknownToken { .. }), "{error}");
    assert!(matches!(model.surprises(&[1], &FlexDevice), Err(GemmaError::TooFew { len: 1, needed: 2 })));

    let shapes = config.shapes(16);
    /// Does something to the shape and the values of a tensor, by name.
    type Change<'a> = &'a dyn Fn(&str, &mut Vec<usize>, &mut Vec<f32>);
    let load = |change: Change<'_>| {
        let tensor = |name: &str| -> Result<_, String> {
            let mut shape = shapes.get(name).ok_or("no such tensor")?.clone();
            let mut values = vec![0.5; shape.iter().product()];
            change(name, &mut shape, &mut values);
            if values.is_empty() { Err("it is gone".to_owned()) } else { Ok((shape, values)) }
        };
        Gemma::<Flex>::load(&config, tensor, &FlexDevice).map(|model| model.vocab())
    };
    assert_eq!(load(&|_, _, _| {}).unwrap(), 16);
    let of = |wanted: &'static str, change: fn(&mut Vec<usize>, &mut Vec<f32>)| {
        load(&move |name, shape, values| {
            if name == wanted {
                change(shape, values)
            }
        })
        .unwrap_err()
        .to_string()
    };
    assert!(of("blk.1.attn_q.weight", |_, values| values.clear()).contains("cannot read the tensor blk.1.attn_q"));
    assert!(of("blk.0.ffn_up.weight", |shape, _| shape.reverse()).contains("has the shape [32, 48]"));
    assert!(of("output_norm.weight", |_, values| values.truncate(31)).contains("31 elements"));
    assert!(of("token_embd.weight", |shape, _| shape[1] = usize::MAX).contains("token_embd.weight"));
    assert!(of("token_embd.weight", |shape, _| shape[0] = 0).contains("token_embd.weight"));
}

#[test]
fn tokens_of_the_tiny_vocabulary_are_llama_cpps() {
    assert_eq!(check_tokens(&tiny_file(), &mut Npz::open("gemma_tiny.expected.npz")), 6);
}

/// How many texts have the tokens that the fixture says.
fn check_tokens(gguf: &Gguf, expected: &mut Npz) -> usize {
    let (tokenizer, begin, end) = file::tokenizer(gguf).unwrap();
    assert_eq!((begin, end), (2, 1));
    let texts = String::from_utf8(expected.get("texts")).unwrap();
    let (tokens, counts) = (expected.get::<i64>("tokens"), expected.get::<i64>("counts"));
    let mut rest = tokens.as_slice();
    for (text, &count) in texts.split('\0').zip(&counts) {
        let (own, others) = rest.split_at(count as usize);
        rest = others;
        let got: Vec<i64> = tokenizer.encode(text, true).into_iter().map(i64::from).collect();
        assert_eq!(got, own, "{text:?}");
        // But for special tokens, which have no text.
        let plain = tokenizer.encode(text, false);
        assert_eq!(tokenizer.decode(&plain), text.replace('\u{2581}', " "));
    }
    assert!(rest.is_empty());
    counts.len()
}

#[test]
fn tokens_of_the_fetched_vocabulary_are_llama_cpps() {
    let Some(path) = fetched_gemma() else { return };
    assert_eq!(check_tokens(&Gguf::open(&path).unwrap(), &mut Npz::open("gemma.expected.npz")), 13);
}

fn logits_of_the_fetched_model<B: Backend>(path: &std::path::Path) {
    let mut expected = Npz::open("gemma.expected.npz");
    let tokens = expected.ids();
    let (top, top_logits) = (expected.get::<i64>("top_ids"), expected.get::<f32>("top_logits"));
    let (stride, sampled) = (expected.get::<i64>("stride")[0] as usize, expected.get::<f32>("sampled_logits"));
    let device = B::Device::default();
    let model = file::model::<B>(&Gguf::open(path).unwrap(), &device).unwrap();
    let got = model.next_logits(&tokens, &mut model.cache(), &device).unwrap();
    let of: BTreeMap<i64, f32> = top.iter().map(|&id| (id, got[id as usize])).collect();
    let d = greatest_difference(&top.iter().map(|id| of[id]).collect::<Vec<_>>(), &top_logits);
    assert!(d < 2e-3, "the greatest logits: {d}");
    let d = greatest_difference(&got.iter().copied().step_by(stride).collect::<Vec<_>>(), &sampled);
    assert!(d < 2e-3, "a sample of the logits: {d}");
    assert_eq!(Sampler::greedy().pick(&got) as i64, top[0]);
}

#[test]
fn the_fetched_model_gives_the_references_logits() {
    let Some(path) = fetched_gemma() else { return };
    logits_of_the_fetched_model::<Flex>(&path);
    logits_of_the_fetched_model::<BgzFusion<Flex>>(&path);
}
