//! Axes of strided views.

/// The extents and element strides that are left once axes that every operand walks as
/// one are merged and those of extent 1 dropped; at least one axis.
pub(super) fn merge_axes(shape: &[usize], strides: &[Vec<isize>]) -> (Vec<usize>, Vec<Vec<isize>>) {
    let mut axes: Vec<usize> = Vec::new();
    let mut out: Vec<Vec<isize>> = vec![Vec::new(); strides.len()];
    for (axis, &extent) in shape.iter().enumerate() {
        if extent == 1 {
            continue;
        }
        let joins = axes.last().is_some()
            && out.iter().zip(strides).all(|(o, s)| {
                let step = isize::try_from(extent).ok().and_then(|e| s[axis].checked_mul(e));
                o.last().copied() == step
            });
        match axes.last_mut() {
            Some(last) if joins => {
                *last *= extent;
                for (o, s) in out.iter_mut().zip(strides) {
                    if let Some(o) = o.last_mut() {
                        *o = s[axis];
                    }
                }
            }
            _ => {
                axes.push(extent);
                for (o, s) in out.iter_mut().zip(strides) {
                    o.push(s[axis]);
                }
            }
        }
    }
    if axes.is_empty() {
        axes.push(1);
        for o in &mut out {
            o.push(1);
        }
    }
    (axes, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_axes_become_one() {
        assert_eq!(merge_axes(&[2, 3, 4], &[vec![12, 4, 1], vec![0, 0, 0]]), (vec![24], vec![vec![1], vec![0]]));
    }

    #[test]
    fn a_broadcast_axis_stays_apart() {
        let (shape, strides) = merge_axes(&[2, 3, 1, 4], &[vec![12, 4, 4, 1], vec![0, 0, 0, 1]]);
        assert_eq!((shape, strides), (vec![6, 4], vec![vec![4, 1], vec![0, 1]]));
    }

    #[test]
    fn a_scalar_has_one_axis() {
        assert_eq!(merge_axes(&[], &[vec![]]), (vec![1], vec![vec![1]]));
    }
}
