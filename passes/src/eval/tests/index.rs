use super::*;

#[test]
fn gather_takes_slices_and_counts_negative_indices_from_the_end() {
    let x = count(&[3, 2]);
    let rows = eval(Op::Index(Index::Gather { axis: 0 }), &[x.clone(), i(&[2], &[-1, 0])]);
    assert_eq!(rows, f(&[2, 2], &[4.0, 5.0, 0.0, 1.0]));
    let columns = eval(Op::Index(Index::Gather { axis: 1 }), &[x.clone(), i(&[1, 2], &[1, -2])]);
    assert_eq!(columns, f(&[3, 1, 2], &[1.0, 0.0, 3.0, 2.0, 5.0, 4.0]));
    assert_eq!(eval(Op::Index(Index::Gather { axis: 0 }), &[x.clone(), int(1)]), f(&[2], &[2.0, 3.0]));
    assert_eq!(eval(Op::Index(Index::Gather { axis: 0 }), &[x.clone(), i(&[0], &[])]).shape(), &[0, 2]);
    refused(Op::Index(Index::Gather { axis: 0 }), &[x.clone(), int(3)], "index 3 of an axis of 3");
    refused(Op::Index(Index::Gather { axis: 0 }), &[x.clone(), int(-4)], "index -4 of an axis of 3");
    refused(Op::Index(Index::Gather { axis: 0 }), &[x.clone(), int(i64::MIN)], "of an axis of 3");
    refused(Op::Index(Index::Gather { axis: 0 }), &[x, one(0.0)], "indices of f32");
}

#[test]
fn gather_elements_takes_one_an_index() {
    let x = f(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let y = eval(Op::Index(Index::GatherElements { axis: 1 }), &[x.clone(), i(&[2, 2], &[0, 0, 1, -2])]);
    assert_eq!(y, f(&[2, 2], &[1.0, 1.0, 4.0, 3.0]));
    let y = eval(Op::Index(Index::GatherElements { axis: 0 }), &[x.clone(), i(&[1, 2], &[1, 0])]);
    assert_eq!(y, f(&[1, 2], &[3.0, 2.0]));
    refused(Op::Index(Index::GatherElements { axis: 0 }), &[x, i(&[1, 3], &[0, 0, 0])], "reach beyond");
}

#[test]
fn gather_nd_addresses_leading_axes() {
    let x = count(&[2, 2, 2]);
    let y = eval(Op::Index(Index::GatherNd { batch_dims: 0 }), &[x.clone(), i(&[2, 2], &[0, 1, 1, -2])]);
    assert_eq!(y, f(&[2, 2], &[2.0, 3.0, 4.0, 5.0]));
    let y = eval(Op::Index(Index::GatherNd { batch_dims: 0 }), &[x.clone(), i(&[3], &[1, 1, 1])]);
    assert_eq!(y, f(&[], &[7.0]));
    let y = eval(Op::Index(Index::GatherNd { batch_dims: 1 }), &[x.clone(), i(&[2, 1], &[1, 0])]);
    assert_eq!(y, f(&[2, 2], &[2.0, 3.0, 4.0, 5.0]));
    refused(Op::Index(Index::GatherNd { batch_dims: 0 }), &[x, i(&[1], &[2])], "index 2 of an axis of 2");
}

#[test]
fn scatters_replace_and_the_last_wins() {
    let x = count(&[4]);
    let y = eval(Op::Index(Index::ScatterNd), &[x, i(&[3, 1], &[1, -1, 1]), f(&[3], &[10.0, 11.0, 12.0])]);
    assert_eq!(y, f(&[4], &[0.0, 12.0, 2.0, 11.0]));
    let y = eval(Op::Index(Index::ScatterNd), &[count(&[2, 2]), i(&[1, 1], &[0]), f(&[1, 2], &[8.0, 9.0])]);
    assert_eq!(y, f(&[2, 2], &[8.0, 9.0, 2.0, 3.0]));
    let y = eval(
        Op::Index(Index::ScatterElements { axis: 1 }),
        &[count(&[2, 2]), i(&[2, 1], &[1, 0]), f(&[2, 1], &[8.0, 9.0])],
    );
    assert_eq!(y, f(&[2, 2], &[0.0, 8.0, 9.0, 3.0]));
    refused(Op::Index(Index::ScatterNd), &[count(&[4]), i(&[1, 1], &[4]), f(&[1], &[0.0])], "index 4 of an axis of 4");
    refused(Op::Index(Index::ScatterNd), &[count(&[4]), i(&[2, 1], &[0, 1]), f(&[1], &[0.0])], "updates");
}
