//! Names that someone may have meant.

use super::tensor::GgufTensor;

/// Names that are given.
const MOST: usize = 3;

/// Longer names are not compared: the work grows with the product of the lengths.
const LONGEST: usize = 128;

/// Names like `name`, the likest first: few edits away, or with `name` in them.
pub(super) fn names<'a>(tensors: impl Iterator<Item = GgufTensor<'a>>, name: &str) -> Vec<String> {
    if name.is_empty() || name.len() > LONGEST {
        return Vec::new();
    }
    let most = (name.chars().count() / 3).max(2);
    let mut found: Vec<(usize, &str)> = Vec::with_capacity(MOST + 1);
    for other in tensors.map(|t| t.name()).filter(|n| n.len() <= LONGEST) {
        let edits = distance(name, other);
        if edits <= most || other.contains(name) {
            let at = found.partition_point(|&(e, _)| e <= edits);
            found.insert(at, (edits, other));
            found.truncate(MOST);
        }
    }
    found.into_iter().map(|(_, n)| n.into()).collect()
}

/// Characters to insert, to delete or to replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in
            [("", "", 0), ("abc", "abc", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a, b), edits, "{a:?} {b:?}");
        }
    }
}
