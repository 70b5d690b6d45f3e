//! Ops on every element by itself, and the casts and choices between them.

use super::error::{Res, fail};
use super::node::{Convert, Node, Outs, alias};
use super::tensor;
use bgz_passes::ir::{Binary, Cast, Constant, DType, Generate, Index, IntArg, Op, Scalar, Unary, ValueId, Where};

pub(super) fn find(domain: &str, op: &str) -> Option<Convert> {
    let found: Convert = match (domain, op) {
        ("", _) if unary_of(op).is_some() => unary,
        ("", _) if binary_of(op).is_some() => binary,
        ("", "Min" | "Max" | "Sum" | "Mean") => variadic,
        ("", "Mod") => modulo,
        ("", "Pow") => pow,
        ("", "BitwiseNot") => bitwise_not,
        ("", "BitShift") => bit_shift,
        ("", "IsInf") => is_inf,
        ("", "LeakyRelu" | "PRelu" | "ThresholdedRelu" | "Shrink") => pieces,
        ("", "Elu" | "Selu" | "Celu") => exponential,
        ("", "HardSigmoid" | "HardSwish" | "Mish" | "Softsign") => activation,
        ("", "Gelu") => gelu,
        ("", "Swish") | ("com.microsoft", "QuickGelu") => swish,
        ("", "SwiGLU") => swiglu,
        ("com.microsoft", "Gelu" | "FastGelu" | "BiasGelu") => bias_gelu,
        ("", "Clip") => clip,
        ("", "Cast" | "CastLike") => cast,
        ("", "Where") => choose,
        ("", "Dropout") => dropout,
        _ => return None,
    };
    Some(found)
}

fn unary_of(op: &str) -> Option<Unary> {
    Some(match op {
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Sign" => Unary::Sign,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Round" => Unary::Round,
        "Sqrt" => Unary::Sqrt,
        "Reciprocal" => Unary::Recip,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sin" => Unary::Sin,
        "Cos" => Unary::Cos,
        "Tan" => Unary::Tan,
        "Asin" => Unary::Asin,
        "Acos" => Unary::Acos,
        "Atan" => Unary::Atan,
        "Sinh" => Unary::Sinh,
        "Cosh" => Unary::Cosh,
        "Tanh" => Unary::Tanh,
        "Asinh" => Unary::Asinh,
        "Acosh" => Unary::Acosh,
        "Atanh" => Unary::Atanh,
        "Erf" => Unary::Erf,
        "Sigmoid" => Unary::Sigmoid,
        "Softplus" => Unary::Softplus,
        "Relu" => Unary::Relu,
        "Not" => Unary::Not,
        "IsNaN" => Unary::IsNan,
        _ => return None,
    })
}

fn binary_of(op: &str) -> Option<Binary> {
    Some(match op {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Equal" => Binary::Eq,
        "Less" => Binary::Lt,
        "LessOrEqual" => Binary::Le,
        "Greater" => Binary::Gt,
        "GreaterOrEqual" => Binary::Ge,
        "And" | "BitwiseAnd" => Binary::And,
        "Or" | "BitwiseOr" => Binary::Or,
        "Xor" | "BitwiseXor" => Binary::Xor,
        _ => return None,
    })
}

fn unary(n: &mut Node) -> Res<Outs> {
    let (x, f) = (n.input(0)?, unary_of(n.op()));
    let Some(f) = f else { fail!("it is not a function of one number") };
    n.emit(Op::Unary(f), &[x])
}

fn binary(n: &mut Node) -> Res<Outs> {
    let (a, b, f) = (n.input(0)?, n.input(1)?, binary_of(n.op()));
    let Some(f) = f else { fail!("it is not a function of two numbers") };
    n.emit(Op::Binary(f), &[a, b])
}

fn variadic(n: &mut Node) -> Res<Outs> {
    let all = n.inputs()?;
    let f = match n.op() {
        "Min" => Binary::Min,
        "Max" => Binary::Max,
        _ => Binary::Add,
    };
    let mean = n.op() == "Mean" && all.len() > 1;
    let mut sum = all[0];
    for (i, &v) in all.iter().enumerate().skip(1) {
        sum = if i + 1 == all.len() && !mean {
            n.result(0, Op::Binary(f), &[sum, v])?
        } else {
            n.part(&format!("to_{i}"), Op::Binary(f), &[sum, v])?
        };
    }
    if !mean {
        return alias(sum);
    }
    let count = n.number("count", sum, all.len() as f64);
    n.emit(Op::Binary(Binary::Div), &[sum, count])
}

fn modulo(n: &mut Node) -> Res<Outs> {
    let (a, b) = (n.input(0)?, n.input(1)?);
    let c_like = n.attrs().flag("fmod", false)?;
    if c_like || !n.dtype(a).is_float() {
        return n.emit(Op::Binary(if c_like { Binary::Rem } else { Binary::Mod }), &[a, b]);
    }
    if n.opset() < 28 {
        fail!("floats need fmod = 1");
    }
    // A zero has the sign of the divisor, where the graph's op keeps that of the dividend.
    let (plus, minus) = (n.number("zero", b, 0.0), n.number("minus_zero", b, -0.0));
    let negative = n.part("negative", Op::Binary(Binary::Lt), &[b, plus])?;
    let zero = n.part("signed_zero", Op::Where(Where), &[negative, minus, plus])?;
    let rest = n.part("rest", Op::Binary(Binary::Mod), &[a, b])?;
    let divides = n.part("divides", Op::Binary(Binary::Eq), &[rest, plus])?;
    n.emit(Op::Where(Where), &[divides, zero, rest])
}

/// The exponent may be of another dtype; the result has that of the base. It is computed in one that has the numbers of
/// both.
fn pow(n: &mut Node) -> Res<Outs> {
    let (a, b) = (n.input(0)?, n.input(1)?);
    let (base, exponent) = (n.dtype(a), n.dtype(b));
    let common = if n.constant(1).is_some_and(|c| has_all(base, &c)) { base } else { for_both(base, exponent) };
    let exponent = n.cast("exponent", b, common)?;
    if common == base {
        return n.emit(Op::Binary(Binary::Pow), &[a, exponent]);
    }
    let a = n.cast("base", a, common)?;
    let power = n.part("power", Op::Binary(Binary::Pow), &[a, exponent])?;
    n.emit(Op::Cast(Cast(base)), &[power])
}

/// Exponents that are looked at one by one.
const MAX_EXPONENTS: usize = 64;

/// True if the numbers of a small constant are numbers of `dtype`.
fn has_all(dtype: DType, c: &Constant) -> bool {
    let mut all = c.scalars().filter(|_| c.len() <= MAX_EXPONENTS).into_iter().flatten().peekable();
    let same = |s: Scalar| {
        let there = s.cast(dtype);
        there.to_f64() == s.to_f64() && (s.dtype().is_float() || dtype.is_float() || there.to_i128() == s.to_i128())
    };
    all.peek().is_some() && all.all(same)
}

/// A dtype that has the numbers of both, as far as there is one.
fn for_both(a: DType, b: DType) -> DType {
    match (a.is_float(), b.is_float()) {
        _ if a == b => a,
        (false, false) if a.is_unsigned() && b.is_unsigned() => DType::U64,
        (false, false) => DType::I64,
        (true, true) if a != DType::F64 && b != DType::F64 => DType::F32,
        _ => DType::F64,
    }
}

fn bitwise_not(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let dtype = n.dtype(x);
    if dtype == DType::Bool {
        return n.emit(Op::Unary(Unary::Not), &[x]);
    }
    let ones = n.const_part("ones", Constant::scalar(Scalar::from_i64(dtype, -1)));
    n.emit(Op::Binary(Binary::Xor), &[x, ones])
}

/// A product with a power of two, or a quotient: bits that leave are lost, and those that come are zero, or the sign where a
/// signed integer is shifted to the right. A distance that is negative, or no less than the number of bits, leaves nothing else.
fn bit_shift(n: &mut Node) -> Res<Outs> {
    let (x, by) = (n.input(0)?, n.input(1)?);
    let (dtype, other) = (n.dtype(x), n.dtype(by));
    if !dtype.is_int() || dtype == DType::Bool || other != dtype {
        fail!("operands of {dtype} and {other}");
    }
    let left = match n.attrs().string("direction")? {
        Some("LEFT") => true,
        Some("RIGHT") => false,
        Some(other) => fail!("attribute direction is {other:?}"),
        None => fail!("attribute direction is missing"),
    };
    let bits = dtype.bits();
    // The powers that are numbers of the dtype, of which the last bit of a signed integer is its sign; 0 is for what is beyond.
    let powers = if left || dtype.is_unsigned() { bits } else { bits - 1 };
    let count = i64::try_from(powers).map_err(|_| "it has too many bits")?;
    let table = (0..powers).map(|i| Scalar::from_i64(dtype, 1i64 << i)).chain([Scalar::from_i64(dtype, 0)]);
    let Some(table) = Constant::from_scalars(dtype, vec![powers + 1], table) else { fail!("powers of {dtype}") };
    let table = n.const_part("powers", table);
    let mut number = |part: &str, v: i64| n.const_part(part, Constant::scalar(Scalar::from_i64(dtype, v)));
    let (zero, beyond) = (number("zero", 0), number("beyond", count));
    let mut place = n.part("capped", Op::Binary(Binary::Min), &[by, beyond])?;
    if !dtype.is_unsigned() {
        let negative = n.part("backwards", Op::Binary(Binary::Lt), &[by, zero])?;
        place = n.part("distance", Op::Where(Where), &[negative, beyond, place])?;
    }
    let place = n.cast("place", place, DType::I64)?;
    let power = n.part("power", Op::Index(Index::Gather { axis: 0 }), &[table, place])?;
    if left {
        return n.emit(Op::Binary(Binary::Mul), &[x, power]);
    }
    let gone = n.part("gone", Op::Binary(Binary::Eq), &[power, zero])?;
    let one = n.const_part("one", Constant::scalar(Scalar::from_i64(dtype, 1)));
    let divisor = n.part("divisor", Op::Where(Where), &[gone, one, power])?;
    if dtype.is_unsigned() {
        let quotient = n.part("quotient", Op::Binary(Binary::Div), &[x, divisor])?;
        return n.emit(Op::Where(Where), &[gone, zero, quotient]);
    }
    // Of a negative number all bits are turned before and after, as a quotient truncates.
    let ones = n.const_part("ones", Constant::scalar(Scalar::from_i64(dtype, -1)));
    let below = n.part("below", Op::Binary(Binary::Lt), &[x, zero])?;
    let sign = n.part("sign", Op::Where(Where), &[below, ones, zero])?;
    let magnitude = n.part("magnitude", Op::Binary(Binary::Xor), &[x, sign])?;
    let quotient = n.part("quotient", Op::Binary(Binary::Div), &[magnitude, divisor])?;
    let kept = n.part("kept", Op::Where(Where), &[gone, zero, quotient])?;
    n.emit(Op::Binary(Binary::Xor), &[kept, sign])
}

fn is_inf(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let (minus, plus) = (n.attrs().flag("detect_negative", true)?, n.attrs().flag("detect_positive", true)?);
    let one = match (minus, plus) {
        (true, true) => return n.emit(Op::Unary(Unary::IsInf), &[x]),
        (true, false) => f64::NEG_INFINITY,
        (false, true) => f64::INFINITY,
        (false, false) => fail!("it detects neither sign"),
    };
    let inf = n.number("inf", x, one);
    n.emit(Op::Binary(Binary::Eq), &[x, inf])
}

/// Linear pieces, chosen by the sign or size of the operand.
fn pieces(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let zero = n.number("zero", x, 0.0);
    match n.op() {
        "LeakyRelu" | "PRelu" => {
            let slope = if n.op() == "PRelu" {
                n.input(1)?
            } else {
                let alpha = n.attrs().float_or("alpha", 0.01)?;
                n.number("alpha", x, alpha.into())
            };
            let scaled = n.part("scaled", Op::Binary(Binary::Mul), &[x, slope])?;
            let below = n.part("below", Op::Binary(Binary::Lt), &[x, zero])?;
            n.emit(Op::Where(Where), &[below, scaled, x])
        }
        "ThresholdedRelu" => {
            let alpha = n.attrs().float_or("alpha", 1.0)?;
            let alpha = n.number("alpha", x, alpha.into());
            let above = n.part("above", Op::Binary(Binary::Gt), &[x, alpha])?;
            n.emit(Op::Where(Where), &[above, x, zero])
        }
        _ => {
            let (bias, lambd) = (n.attrs().float_or("bias", 0.0)?, n.attrs().float_or("lambd", 0.5)?);
            let bias = n.number("bias", x, bias.into());
            let (low, high) = (n.number("low", x, (-lambd).into()), n.number("high", x, lambd.into()));
            let below = n.part("below", Op::Binary(Binary::Lt), &[x, low])?;
            let above = n.part("above", Op::Binary(Binary::Gt), &[x, high])?;
            let raised = n.part("raised", Op::Binary(Binary::Add), &[x, bias])?;
            let lowered = n.part("lowered", Op::Binary(Binary::Sub), &[x, bias])?;
            let upper = n.part("upper", Op::Where(Where), &[above, lowered, zero])?;
            n.emit(Op::Where(Where), &[below, raised, upper])
        }
    }
}

/// `x` above zero, `alpha * (exp(x) - 1)` below, and what is scaled from that.
fn exponential(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let zero = n.number("zero", x, 0.0);
    let a = n.attrs();
    // onnx.proto's Operators.md, Selu: defaults of alpha and gamma.
    let alpha = a.float_or("alpha", if n.op() == "Selu" { 1.673_263_2 } else { 1.0 })?;
    let gamma = if n.op() == "Selu" { a.float_or("gamma", 1.050_701)? } else { 1.0 };
    let alpha = n.number("alpha", x, alpha.into());
    let scaled = if n.op() == "Celu" { n.part("scaled", Op::Binary(Binary::Div), &[x, alpha])? } else { x };
    let exp = n.part("exp", Op::Unary(Unary::Expm1), &[scaled])?;
    let low = n.part("low", Op::Binary(Binary::Mul), &[alpha, exp])?;
    let above = n.part("above", Op::Binary(Binary::Gt), &[x, zero])?;
    if n.op() != "Selu" {
        return n.emit(Op::Where(Where), &[above, x, low]);
    }
    let elu = n.part("elu", Op::Where(Where), &[above, x, low])?;
    let gamma = n.number("gamma", x, gamma.into());
    n.emit(Op::Binary(Binary::Mul), &[gamma, elu])
}

fn activation(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    match n.op() {
        "Mish" => {
            let soft = n.part("softplus", Op::Unary(Unary::Softplus), &[x])?;
            let tanh = n.part("tanh", Op::Unary(Unary::Tanh), &[soft])?;
            n.emit(Op::Binary(Binary::Mul), &[x, tanh])
        }
        "Softsign" => {
            let one = n.number("one", x, 1.0);
            let abs = n.part("abs", Op::Unary(Unary::Abs), &[x])?;
            let sum = n.part("sum", Op::Binary(Binary::Add), &[one, abs])?;
            n.emit(Op::Binary(Binary::Div), &[x, sum])
        }
        op => {
            let swish = op == "HardSwish";
            let (alpha, beta) = if swish {
                (1.0 / 6.0, 0.5)
            } else {
                let a = n.attrs();
                (a.float_or("alpha", 0.2)?.into(), a.float_or("beta", 0.5)?.into())
            };
            let (alpha, beta) = (n.number("alpha", x, alpha), n.number("beta", x, beta));
            let (zero, one) = (n.number("zero", x, 0.0), n.number("one", x, 1.0));
            let scaled = n.part("scaled", Op::Binary(Binary::Mul), &[x, alpha])?;
            let sum = n.part("sum", Op::Binary(Binary::Add), &[scaled, beta])?;
            let low = n.part("low", Op::Binary(Binary::Max), &[sum, zero])?;
            if !swish {
                return n.emit(Op::Binary(Binary::Min), &[low, one]);
            }
            let gate = n.part("gate", Op::Binary(Binary::Min), &[low, one])?;
            n.emit(Op::Binary(Binary::Mul), &[x, gate])
        }
    }
}

fn gelu(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let f = match n.attrs().string_or("approximate", "none")? {
        "none" => Unary::GeluErf,
        "tanh" => Unary::GeluTanh,
        other => fail!("attribute approximate is {other:?}"),
    };
    n.emit(Op::Unary(f), &[x])
}

fn bias_gelu(n: &mut Node) -> Res<Outs> {
    let mut x = n.input(0)?;
    if let Some(bias) = n.maybe(1)? {
        x = n.part("sum", Op::Binary(Binary::Add), &[x, bias])?;
    }
    n.emit(Op::Unary(if n.op() == "FastGelu" { Unary::GeluTanh } else { Unary::GeluErf }), &[x])
}

/// `x * sigmoid(alpha * x)`.
fn swish(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let alpha = n.attrs().float_or("alpha", if n.op() == "Swish" { 1.0 } else { 1.702 })?;
    if alpha == 1.0 {
        return n.emit(Op::Unary(Unary::Silu), &[x]);
    }
    let alpha = n.number("alpha", x, alpha.into());
    let scaled = n.part("scaled", Op::Binary(Binary::Mul), &[alpha, x])?;
    let gate = n.part("gate", Op::Unary(Unary::Sigmoid), &[scaled])?;
    n.emit(Op::Binary(Binary::Mul), &[x, gate])
}

/// `a * sigmoid(alpha * a) * b`.
fn swiglu(n: &mut Node) -> Res<Outs> {
    let (a, b) = (n.input(0)?, n.input(1)?);
    if n.rank(a) != n.rank(b) {
        fail!("operands of {} and {}", n.ty(a), n.ty(b));
    }
    let alpha = n.attrs().float_or("alpha", 1.0)?;
    let gate = if alpha == 1.0 {
        n.part("gate", Op::Unary(Unary::Silu), &[a])?
    } else {
        let alpha = n.number("alpha", a, alpha.into());
        let scaled = n.part("scaled", Op::Binary(Binary::Mul), &[alpha, a])?;
        let sigmoid = n.part("sigmoid", Op::Unary(Unary::Sigmoid), &[scaled])?;
        n.part("gate", Op::Binary(Binary::Mul), &[a, sigmoid])?
    };
    n.emit(Op::Binary(Binary::Mul), &[gate, b])
}

/// `min(max(x, low), high)`, so that the upper bound holds where they cross.
fn clip(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let bound = |n: &mut Node, i: usize, name: &str| -> Res<Option<ValueId>> {
        Ok(match (n.maybe(i)?, n.opset() < 11) {
            (Some(v), _) => Some(v),
            (None, true) => n.attrs().float(name)?.map(|v| n.number(name, x, v.into())),
            (None, false) => None,
        })
    };
    let (low, high) = (bound(n, 1, "min")?, bound(n, 2, "max")?);
    match (low, high) {
        (None, None) => alias(x),
        (Some(low), None) => n.emit(Op::Binary(Binary::Max), &[x, low]),
        (None, Some(high)) => n.emit(Op::Binary(Binary::Min), &[x, high]),
        (Some(low), Some(high)) => {
            let raised = n.part("raised", Op::Binary(Binary::Max), &[x, low])?;
            n.emit(Op::Binary(Binary::Min), &[raised, high])
        }
    }
}

fn cast(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    let to = if n.op() == "CastLike" {
        match n.input_ty(1) {
            Some(ty) => ty.dtype,
            None => fail!("operand 1 is missing"),
        }
    } else {
        let Some(code) = n.attrs().int("to")? else { fail!("attribute to is missing") };
        match tensor::dtype(i32::try_from(code).unwrap_or(0)) {
            Ok(d) => d,
            Err(name) => fail!("attribute to: the element type is not supported: {name}"),
        }
    };
    if to == n.dtype(x) {
        return alias(x);
    }
    let x = if to.is_float() && to.bits() == 8 { in_range(n, x, to)? } else { x };
    n.emit(Op::Cast(Cast(to)), &[x])
}

/// The operand of a cast to a float of a byte, within its range if the cast saturates, as the graph's own cast makes an
/// infinity or NaN of what is beyond; for powers of two, which that rounds to the nearest, rounded as asked.
fn in_range(n: &mut Node, x: ValueId, to: DType) -> Res<ValueId> {
    let Some(format) = to.small_float() else { return Ok(x) };
    // The bounds are numbers of these.
    let wide = match n.dtype(x) {
        DType::F64 => DType::F64,
        d if d.is_int() => DType::F64,
        _ => DType::F32,
    };
    let mut x = n.cast("wide", x, wide)?;
    if n.attrs().flag("saturate", true)? {
        let largest = f64::from(format.largest());
        let low = n.number("low", x, format.smallest().map_or(-largest, f64::from));
        let high = n.number("high", x, largest);
        x = n.part("raised", Op::Binary(Binary::Max), &[x, low])?;
        x = n.part("bounded", Op::Binary(Binary::Min), &[x, high])?;
    }
    if to != DType::F8E8M0 {
        return Ok(x);
    }
    let (wrong_way, factor) = match n.attrs().string_or("round_mode", "up")? {
        "nearest" => return Ok(x),
        "up" => (Binary::Lt, 2.0),
        "down" => (Binary::Gt, 0.5),
        other => fail!("attribute round_mode is {other:?}"),
    };
    let nearest = n.part("nearest", Op::Cast(Cast(to)), &[x])?;
    let nearest = n.cast("power", nearest, wide)?;
    let wrong = n.part("wrong_way", Op::Binary(wrong_way), &[nearest, x])?;
    let factor = n.number("factor", x, factor);
    let next = n.part("next", Op::Binary(Binary::Mul), &[nearest, factor])?;
    n.part("rounded", Op::Where(Where), &[wrong, next, nearest])
}

fn choose(n: &mut Node) -> Res<Outs> {
    let (c, a, b) = (n.input(0)?, n.input(1)?, n.input(2)?);
    n.emit(Op::Where(Where), &[c, a, b])
}

/// Inference: the operand, and a mask that keeps everything.
fn dropout(n: &mut Node) -> Res<Outs> {
    let x = n.input(0)?;
    if n.has(2) && n.constant(2).and_then(|c| c.as_scalar()).is_none_or(|s| s.to_i64() != 0) {
        fail!("training is not supported");
    }
    if !n.wants(1) {
        return alias(x);
    }
    let yes = n.const_part("yes", Constant::scalar(Scalar::bool(true)));
    let shape = IntArg::Known(n.shape(x));
    let mask = n.result(1, Op::Generate(Generate::Full { shape }), &[yes])?;
    Ok(vec![Some(x), Some(mask)])
}
