//! GGUF files with the attention weights of a small model.
#![allow(dead_code, reason = "each test file uses a part")]

use crate::gguf::Bytes;

/// A metadata entry: key, value type, value.
pub type Entry = (&'static str, u32, Vec<u8>);

/// A matrix of f32: name, rows, values of each.
pub type Matrix = (String, usize, usize);

pub fn text(key: &'static str, value: &str) -> Entry {
    (key, 8, Bytes::default().string(value).0)
}

pub fn count(key: &'static str, value: u32) -> Entry {
    (key, 4, value.to_le_bytes().to_vec())
}

/// An array of counts.
pub fn counts(key: &'static str, values: &[u32]) -> Entry {
    let head = Bytes::default().u32(4).u64(values.len() as u64);
    (key, 9, values.iter().fold(head, |b, &v| b.u32(v)).0)
}

/// Two layers of four heads of 8 rows, which share two of keys, 34 values a row.
pub fn entries() -> Vec<Entry> {
    vec![
        text("general.architecture", "toy"),
        count("toy.block_count", 2),
        count("toy.embedding_length", 34),
        count("toy.attention.head_count", 4),
        count("toy.attention.head_count_kv", 2),
        count("toy.attention.key_length", 8),
    ]
}

pub fn matrices() -> Vec<Matrix> {
    let layer = |i| [(format!("blk.{i}.attn_q.weight"), 32, 34), (format!("blk.{i}.attn_k.weight"), 16, 34)];
    (0..2).flat_map(layer).collect()
}

/// Value `j` of row `i` of matrix `m`.
pub fn value(m: usize, i: usize, j: usize) -> f32 {
    ((m * 7919 + i * 104_729 + j * 1_299_709 + i * i * j * 31) % 4001) as f32 / 2000.0 - 1.0
}

/// The file.
pub fn model(entries: &[Entry], matrices: &[Matrix]) -> Vec<u8> {
    let mut out = Bytes::header(3, matrices.len() as u64, entries.len() as u64);
    for (key, ty, value) in entries {
        out = out.entry(key, *ty, value);
    }
    let mut offset = 0;
    for (name, rows, width) in matrices {
        out = out.tensor(name, &[*width as u64, *rows as u64], 0, offset);
        offset += ((4 * rows * width) as u64).next_multiple_of(32);
    }
    out = out.pad(32);
    for (m, (_, rows, width)) in matrices.iter().enumerate() {
        let values = (0..*rows).flat_map(|i| (0..*width).map(move |j| value(m, i, j)));
        out = out.raw(&values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()).pad(32);
    }
    out.0
}
