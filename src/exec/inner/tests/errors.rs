use super::*;
use bgz_passes::ir::{Attr, Binary, IntArg, Opaque, Pad, PadMode, Unary};

/// The message of an op that has no result.
fn message<B: Backend>(op: &Op, inputs: &[Tensor], out: Type) -> String {
    on::<B>(op, inputs, &[out]).map(|r| format!("{r:?}")).unwrap_err().to_string()
}

#[test]
fn a_dtype_that_ndarray_has_not() {
    let x = Tensor::f64s(DType::F64, [2], &[1.0, 2.0]).unwrap();
    let text = message::<NdArray>(&Op::Cast(Cast(DType::F16)), &[x], Type::new(DType::F16, [2]));
    assert_eq!(text, "cast: the backend ndarray has no f16");
    let fault = InnerTensor::<NdArray>::from_bytes(DType::BF16, &[1], &[0; 2], &Default::default()).unwrap_err();
    assert_eq!(fault.to_string(), "the backend ndarray has no bf16");
}

both!(operands_that_do_not_fit);
fn operands_that_do_not_fit<B: Backend>() {
    let f = |shape: &[usize]| random(DType::F32, shape, 1);
    let ty = |shape: &[usize]| Type::new(DType::F32, shape.iter().copied());
    let add = Op::Binary(Binary::Add);
    for (op, inputs, out) in [
        (&add, vec![f(&[2, 3]), f(&[2, 4])], ty(&[2, 3])),
        (&add, vec![f(&[2]), random(DType::I64, &[2], 1)], ty(&[2])),
        (&add, vec![f(&[2])], ty(&[2])),
        (&add, vec![f(&[2]), f(&[2])], ty(&[3])),
        (&add, vec![f(&[2]), f(&[2])], Type::new(DType::F64, [2])),
        (&Op::Product(Product::MatMul), vec![f(&[2, 3]), f(&[4, 2])], ty(&[2, 2])),
        (&Op::Unary(Unary::Not), vec![f(&[2])], ty(&[2])),
        (&Op::Norm(Norm::Softmax { axis: 3 }), vec![f(&[2])], ty(&[2])),
        (&Op::reshape([4]), vec![f(&[6])], ty(&[4])),
        (&Op::Index(Index::Gather { axis: 0 }), vec![f(&[2]), i64s(&[1], &[2])], ty(&[1])),
        (&Op::Index(Index::Gather { axis: 0 }), vec![f(&[2]), i64s(&[1], &[-3])], ty(&[1])),
        (&Op::Index(Index::GatherElements { axis: 0 }), vec![f(&[2, 2]), i64s(&[1, 3], &[0, 0, 0])], ty(&[1, 3])),
        (&Op::Index(Index::ScatterNd), vec![f(&[2]), i64s(&[1, 1], &[5]), f(&[1])], ty(&[2])),
        (&Op::Generate(Generate::Range), [0.0, 1.0, 0.0].map(|v| f32s(&[], &[v])).to_vec(), ty(&[4])),
        (&Op::Generate(Generate::Range), [0.0, 1.0, 1e-30].map(|v| f32s(&[], &[v])).to_vec(), ty(&[4])),
    ] {
        match on::<B>(op, &inputs, &[out]) {
            Err(InnerError::Op { op: name, .. }) => assert_eq!(name, op.mnemonic()),
            other => panic!("{op:?}: {other:?}"),
        }
    }
    let fault = InnerTensor::<B>::from_bytes(DType::F32, &[2], &[0; 7], &Default::default()).unwrap_err();
    assert_eq!(fault.to_string(), "7 bytes for f32[2]");
    let fault = InnerTensor::<B>::from_bytes(DType::F32, &[usize::MAX, 2], &[0; 8], &Default::default()).unwrap_err();
    assert!(matches!(fault, Fault::Invalid(_)));
}

both!(a_tensor_that_is_not_of_its_type);
fn a_tensor_that_is_not_of_its_type<B: Backend>() {
    let x = upload::<B>(&random(DType::F32, &[2], 1));
    let ty = Type::new(DType::F32, [3]);
    let e = run_op(
        &Op::Unary(Unary::Exp),
        vec![x],
        std::slice::from_ref(&ty),
        std::slice::from_ref(&ty),
        &Default::default(),
    )
    .unwrap_err();
    assert_eq!(e.to_string(), "exp: operand 0 is InnerTensor(f32[2]), not f32[3]");
}

both!(more_than_memory_is_an_error);
fn more_than_memory_is_an_error<B: Backend>() {
    let big = 1usize << 40;
    let f = |shape: &[usize]| random(DType::F32, shape, 1);
    let ty = |shape: &[usize]| Type::new(DType::F32, shape.iter().copied());
    let known = |v: &[usize]| IntArg::Known(v.iter().map(|&d| d.into()).collect());
    let pad = Pad { pads: known(&[0, big - 1]), mode: PadMode::Constant };
    let resize = |mode: &str| {
        let attrs = [("mode", Attr::Str(mode.into())), ("sizes", Attr::Dims(vec![1.into(), 1.into(), big.into()]))];
        super::windows::op_of("resize", &attrs)
    };
    let square = ty(&[1 << 20, 1 << 20]);
    for (op, inputs, out) in [
        (Op::Movement(Movement::Expand { shape: known(&[big]) }), vec![f(&[1])], ty(&[big])),
        (Op::Generate(Generate::Full { shape: known(&[big]) }), vec![f(&[])], ty(&[big])),
        (Op::Movement(Movement::Tile { repeats: known(&[big]) }), vec![f(&[1])], ty(&[big])),
        (Op::Movement(Movement::Pad(pad)), vec![f(&[1])], ty(&[big])),
        (resize("nearest"), vec![f(&[1, 1, 1])], ty(&[1, 1, big])),
        (resize("linear"), vec![f(&[1, 1, 1])], ty(&[1, 1, big])),
        (Op::Product(Product::MatMul), vec![f(&[1 << 20, 1]), f(&[1, 1 << 20])], square.clone()),
        (Op::Binary(Binary::Add), vec![f(&[1 << 20, 1]), f(&[1, 1 << 20])], square),
        (Op::Generate(Generate::Range), [0.0, 1e12, 1.0].map(|v| f32s(&[], &[v])).to_vec(), ty(&[999_999_995_904])),
    ] {
        match on::<B>(&op, &inputs, &[out]) {
            Err(InnerError::Op { fault: Fault::Memory { bytes }, .. }) => assert!(bytes >= 4 << 38, "{op:?}: {bytes}"),
            other => panic!("{op:?}: {other:?}"),
        }
    }
}

both!(an_opaque_op_that_is_not_known);
fn an_opaque_op_that_is_not_known<B: Backend>() {
    let op = Op::Opaque(Opaque { name: "foo".into(), attrs: Default::default() });
    let text = message::<B>(&op, &[random(DType::F32, &[2], 1)], Type::new(DType::F32, [2]));
    assert_eq!(text, "opaque.foo: Burn has no such op");
}

both!(shared_bytes_are_read);
fn shared_bytes_are_read<B: Backend>() {
    let values: Vec<u8> = [1.5f32, -2.0, 3.25].iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut odd = vec![0];
    odd.extend(&values);
    let all = bytes::Bytes::from(odd);
    let device = B::Device::default();
    // One of these two is not aligned.
    for bytes in [all.slice(1..), bytes::Bytes::from(values.clone())] {
        let t = InnerTensor::<B>::from_shared(DType::F32, &[3], &bytes, &device).unwrap();
        let ty = Type::new(DType::F32, [3]);
        let twice = run_op(
            &Op::Unary(Unary::Neg),
            vec![t.clone()],
            std::slice::from_ref(&ty),
            std::slice::from_ref(&ty),
            &device,
        )
        .unwrap();
        assert_eq!(download(&twice[0], &[3]).to_f64s(), [-1.5, 2.0, -3.25]);
        assert_eq!(t.to_bytes().unwrap(), values);
        drop(twice);
        let mut out = vec![0; 12];
        t.copy_to(&mut out).unwrap();
        assert_eq!(out, values);
    }
}
