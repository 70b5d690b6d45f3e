//! Ops as text: a mnemonic and attributes, both ways.
//!
//! Each op lists its attributes once, in [`fields`]; [`Op::attrs`] walks that
//! list to write them and [`Op::from_parts`] to read them.

use super::{
    ArgReduce, Attention, Attr, Attrs, Cumulative, DType, Dim, Expr, Float, IntArg, MaskKind, Op, Opaque, Pad, PadMode,
    Precision, Reduce, ReduceKind, Scores, Slice, TopK, Type,
};
use std::fmt;

/// Before the name of an opaque op.
pub(crate) const OPAQUE: &str = "opaque.";

impl Op {
    /// The name in graph text.
    pub fn mnemonic(&self) -> String {
        match self {
            Op::Opaque(o) => format!("{OPAQUE}{}", o.name),
            Op::Reduce(r) => format!("reduce_{}", r.kind.name()),
            _ => self.fixed_mnemonic().into(),
        }
    }

    fn fixed_mnemonic(&self) -> &'static str {
        match self {
            Op::Unary(f) => f.name(),
            Op::Binary(f) => f.name(),
            Op::Where => "where",
            Op::Cast(_) => "cast",
            Op::Fused(_) => "fused",
            Op::MatMul => "matmul",
            Op::Linear { .. } => "linear",
            Op::Attention(_) => "attention",
            Op::Softmax { .. } => "softmax",
            Op::LogSoftmax { .. } => "log_softmax",
            Op::LayerNorm { .. } => "layer_norm",
            Op::RmsNorm { .. } => "rms_norm",
            Op::ArgReduce(a) if a.max => "arg_max",
            Op::ArgReduce(_) => "arg_min",
            Op::Cumulative(_) => "cum_sum",
            Op::TopK(_) => "top_k",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Expand { .. } => "expand",
            Op::Slice(_) => "slice",
            Op::Concat { .. } => "concat",
            Op::Pad(_) => "pad",
            Op::Tile { .. } => "tile",
            Op::Gather { .. } => "gather",
            Op::GatherElements { .. } => "gather_elements",
            Op::GatherNd { .. } => "gather_nd",
            Op::ScatterNd => "scatter_nd",
            Op::ScatterElements { .. } => "scatter_elements",
            Op::Shape { .. } => "shape",
            Op::Dims { .. } => "dims",
            Op::Full { .. } => "full",
            Op::Range => "range",
            Op::OneHot { .. } => "one_hot",
            Op::Trilu { .. } => "trilu",
            Op::NonZero => "non_zero",
            // Named by what they hold, in `mnemonic`.
            Op::Opaque(_) | Op::Reduce(_) => "",
        }
    }

    /// The op of a mnemonic, with placeholders for what attributes say.
    fn blank(mnemonic: &str) -> Option<Op> {
        if let Ok(f) = mnemonic.parse() {
            return Some(Op::Unary(f));
        }
        if let Ok(f) = mnemonic.parse() {
            return Some(Op::Binary(f));
        }
        if let Some(name) = mnemonic.strip_prefix(OPAQUE) {
            return Some(Op::Opaque(Opaque { name: name.into(), attrs: Attrs::new() }));
        }
        if let Some(kind) = mnemonic.strip_prefix("reduce_") {
            let kind = ReduceKind::ALL.into_iter().find(|k| k.name() == kind)?;
            return Some(Op::Reduce(Reduce { kind, axes: vec![], keep_dims: false }));
        }
        let (axis, arg) = (0, || IntArg::Operand);
        [
            Op::Where,
            Op::Cast(DType::F32),
            Op::Fused(Expr::Input(0)),
            Op::MatMul,
            Op::Linear { trans_w: false, precision: Precision::Exact },
            Op::Attention(Attention {
                heads: 1,
                kv_heads: 1,
                d_head: 1,
                scale: Float(1.0),
                merged: true,
                mask: MaskKind::None,
                causal: false,
                zero_hidden: false,
                scores: Scores::Exact,
            }),
            Op::Softmax { axis },
            Op::LogSoftmax { axis },
            Op::LayerNorm { eps: Float(0.0) },
            Op::RmsNorm { eps: Float(0.0) },
            Op::ArgReduce(ArgReduce { max: true, axis, keep_dims: false, last: false }),
            Op::ArgReduce(ArgReduce { max: false, axis, keep_dims: false, last: false }),
            Op::Cumulative(Cumulative { axis, exclusive: false, reverse: false }),
            Op::TopK(TopK { axis, largest: true, k: arg() }),
            Op::Reshape { shape: arg(), zero_copies: true },
            Op::Transpose { perm: vec![] },
            Op::Expand { shape: arg() },
            Op::Slice(Slice { axes: vec![], starts: arg(), ends: arg(), steps: arg() }),
            Op::Concat { axis },
            Op::Pad(Pad { pads: arg(), mode: PadMode::Constant }),
            Op::Tile { repeats: arg() },
            Op::Gather { axis },
            Op::GatherElements { axis },
            Op::GatherNd { batch_dims: 0 },
            Op::ScatterNd,
            Op::ScatterElements { axis },
            Op::Shape { start: 0, end: 0 },
            Op::Dims { values: vec![], scalar: false },
            Op::Full { shape: arg() },
            Op::Range,
            Op::OneHot { axis },
            Op::Trilu { upper: true },
            Op::NonZero,
        ]
        .into_iter()
        .find(|op| op.fixed_mnemonic() == mnemonic)
    }

    /// The attributes as text shows them. What the types and the number of
    /// operands already show is left out, and so is a default.
    pub fn attrs(&self) -> Attrs {
        if let Op::Opaque(o) = self {
            return o.attrs.clone();
        }
        let mut io = Io::Write(Attrs::new());
        fields(&mut self.clone(), &mut io);
        match io {
            Io::Write(attrs) => attrs,
            Io::Read { .. } => Attrs::new(),
        }
    }

    /// The op of a line of text: the inverse of [`Op::mnemonic`] and
    /// [`Op::attrs`]. `types` are those of the results. The message of an
    /// error names the op, and the attribute if it is one's fault.
    pub fn from_parts(mnemonic: &str, attrs: Attrs, types: &[Type], operands: usize) -> Result<Op, String> {
        let mut op = Op::blank(mnemonic).ok_or_else(|| format!("there is no op {mnemonic}"))?;
        match &mut op {
            Op::Opaque(o) => {
                o.attrs = attrs;
                return Ok(op);
            }
            Op::Cast(to) => match types {
                [t] => *to = t.dtype,
                _ => return Err(format!("{mnemonic}: one result type is needed, not {}", types.len())),
            },
            // Unless `keep` or `drop` says otherwise.
            Op::Attention(a) if operands > 3 => a.mask = MaskKind::Additive,
            _ => {}
        }
        let mut io = Io::Read { attrs, error: None };
        fields(&mut op, &mut io);
        if let Io::Read { attrs, error } = io {
            if let Some(e) = error {
                return Err(format!("{mnemonic}: {e}"));
            }
            if let Some(name) = attrs.keys().next() {
                return Err(format!("{mnemonic}: there is no attribute {name}"));
            }
        }
        Ok(op)
    }
}

/// Where attributes go to, or come from.
enum Io {
    Write(Attrs),
    Read {
        /// Those not yet asked for.
        attrs: Attrs,
        /// The first thing wrong.
        error: Option<String>,
    },
}

/// The attributes of each op, in no order: text sorts them.
fn fields(op: &mut Op, io: &mut Io) {
    match op {
        Op::Fused(e) => io.expr("expr", e),
        Op::Linear { trans_w, precision } => {
            io.optional_flag("trans_w", trans_w, false);
            io.precision(precision);
        }
        Op::Attention(a) => attention_fields(a, io),
        Op::Softmax { axis } | Op::LogSoftmax { axis } | Op::Concat { axis } => io.int("axis", axis),
        Op::Gather { axis } | Op::GatherElements { axis } | Op::ScatterElements { axis } => io.int("axis", axis),
        Op::OneHot { axis } => io.int("axis", axis),
        Op::LayerNorm { eps } | Op::RmsNorm { eps } => io.float("eps", eps),
        Op::Reduce(r) => {
            io.ints("axes", &mut r.axes);
            io.flag("keep_dims", &mut r.keep_dims);
        }
        Op::ArgReduce(a) => {
            io.int("axis", &mut a.axis);
            io.flag("keep_dims", &mut a.keep_dims);
            io.optional_flag("last", &mut a.last, false);
        }
        Op::Cumulative(c) => {
            io.int("axis", &mut c.axis);
            io.optional_flag("exclusive", &mut c.exclusive, false);
            io.optional_flag("reverse", &mut c.reverse, false);
        }
        Op::TopK(t) => {
            io.int("axis", &mut t.axis);
            io.flag("largest", &mut t.largest);
            io.arg("k", &mut t.k);
        }
        Op::Reshape { shape, zero_copies } => {
            io.arg("shape", shape);
            io.optional_flag("zero_copies", zero_copies, true);
        }
        Op::Expand { shape } | Op::Full { shape } => io.arg("shape", shape),
        Op::Transpose { perm } => io.ints("perm", perm),
        Op::Slice(s) => {
            io.ints("axes", &mut s.axes);
            io.arg("starts", &mut s.starts);
            io.arg("ends", &mut s.ends);
            io.steps(&mut s.steps, s.axes.len());
        }
        Op::Pad(p) => {
            io.arg("pads", &mut p.pads);
            io.word(
                "mode",
                &mut p.mode,
                &[(PadMode::Constant, "constant"), (PadMode::Reflect, "reflect"), (PadMode::Edge, "edge")],
            );
        }
        Op::Tile { repeats } => io.arg("repeats", repeats),
        Op::GatherNd { batch_dims } => io.optional_int("batch_dims", batch_dims, 0),
        Op::Shape { start, end } => {
            io.int("start", start);
            io.int("end", end);
        }
        Op::Dims { values, scalar } => {
            io.dims("values", values);
            io.optional_flag("scalar", scalar, false);
        }
        Op::Trilu { upper } => io.flag("upper", upper),
        // No attributes, or (opaque) their own.
        Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_) | Op::MatMul | Op::Opaque(_) => {}
        Op::ScatterNd | Op::Range | Op::NonZero => {}
    }
}

fn attention_fields(a: &mut Attention, io: &mut Io) {
    io.int("heads", &mut a.heads);
    io.optional_int("kv_heads", &mut a.kv_heads, a.heads);
    io.int("d_head", &mut a.d_head);
    io.float("scale", &mut a.scale);
    io.optional_flag("merged", &mut a.merged, true);
    io.optional_flag("causal", &mut a.causal, false);
    io.optional_flag("zero_hidden", &mut a.zero_hidden, false);
    let (mut keep, mut drop) = match a.mask {
        MaskKind::Keep { fill } => (Some(fill), None),
        MaskKind::Drop { fill } => (None, Some(fill)),
        MaskKind::None | MaskKind::Additive => (None, None),
    };
    io.optional_float("keep", &mut keep);
    io.optional_float("drop", &mut drop);
    match (keep, drop) {
        (Some(_), Some(_)) => io.fail("a mask has keep or drop, not both".into()),
        (Some(fill), None) => a.mask = MaskKind::Keep { fill },
        (None, Some(fill)) => a.mask = MaskKind::Drop { fill },
        (None, None) => {}
    }
    io.scores(&mut a.scores);
}

impl Io {
    fn fail(&mut self, message: String) {
        if let Io::Read { error, .. } = self {
            error.get_or_insert(message);
        }
    }

    /// Writes `value`, or reads an attribute with `read`, which returns `None`
    /// if it is not of the kind `wanted`. Returns whether it was there.
    fn field<T>(
        &mut self,
        name: &str,
        value: &mut T,
        wanted: &str,
        write: impl FnOnce(&T) -> Attr,
        read: impl FnOnce(&Attr) -> Option<T>,
    ) -> bool {
        match self {
            Io::Write(attrs) => {
                attrs.insert(name.into(), write(value));
                true
            }
            Io::Read { attrs, error } => {
                let Some(attr) = attrs.remove(name) else { return false };
                match read(&attr) {
                    Some(v) => *value = v,
                    None => {
                        error.get_or_insert(format!("attribute {name} must be {wanted}, not {attr}"));
                    }
                }
                true
            }
        }
    }

    fn required<T>(
        &mut self,
        name: &str,
        value: &mut T,
        wanted: &str,
        write: impl FnOnce(&T) -> Attr,
        read: impl FnOnce(&Attr) -> Option<T>,
    ) {
        if !self.field(name, value, wanted, write, read) {
            self.fail(format!("attribute {name} is missing"));
        }
    }

    fn writes(&self) -> bool {
        matches!(self, Io::Write(_))
    }

    fn int(&mut self, name: &str, value: &mut usize) {
        self.required(name, value, "a non-negative integer", |v| Attr::Dim((*v).into()), as_usize);
    }

    fn optional_int(&mut self, name: &str, value: &mut usize, default: usize) {
        if !self.writes() {
            *value = default;
        }
        if !(self.writes() && *value == default) {
            self.field(name, value, "a non-negative integer", |v| Attr::Dim((*v).into()), as_usize);
        }
    }

    fn flag(&mut self, name: &str, value: &mut bool) {
        self.required(name, value, "true or false", |v| Attr::Bool(*v), as_bool);
    }

    fn optional_flag(&mut self, name: &str, value: &mut bool, default: bool) {
        if !(self.writes() && *value == default) {
            self.field(name, value, "true or false", |v| Attr::Bool(*v), as_bool);
        }
    }

    fn float(&mut self, name: &str, value: &mut Float) {
        self.required(name, value, "a number with a point", |v| Attr::Float(*v), as_float);
    }

    fn optional_float(&mut self, name: &str, value: &mut Option<Float>) {
        if self.writes() && value.is_none() {
            return;
        }
        let write = |v: &Option<Float>| Attr::Float(v.unwrap_or(Float(0.0)));
        self.field(name, value, "a number with a point", write, |a| as_float(a).map(Some));
    }

    fn ints(&mut self, name: &str, value: &mut Vec<usize>) {
        let write = |v: &Vec<usize>| Attr::Dims(v.iter().map(|&i| i.into()).collect());
        self.required(name, value, "a list of non-negative integers", write, |a| match a {
            Attr::Dims(v) => v.iter().map(Dim::as_usize).collect(),
            _ => None,
        });
    }

    fn dims(&mut self, name: &str, value: &mut Vec<Dim>) {
        self.required(name, value, "a list of extents", |v| Attr::Dims(v.clone()), as_dims);
    }

    /// Written if known; an operand if left out.
    fn arg(&mut self, name: &str, value: &mut IntArg) {
        if self.writes() && *value == IntArg::Operand {
            return;
        }
        self.field(name, value, "a list of extents", write_arg, |a| as_dims(a).map(IntArg::Known));
    }

    /// Left out they are all 1, so that an operand needs a word.
    fn steps(&mut self, value: &mut IntArg, axes: usize) {
        let ones = IntArg::Known(vec![Dim::int(1); axes]);
        if self.writes() && *value == ones {
            return;
        }
        let read = |a: &Attr| match a {
            Attr::Str(s) if s == "operand" => Some(IntArg::Operand),
            a => as_dims(a).map(IntArg::Known),
        };
        if !self.field("steps", value, "a list of extents or \"operand\"", write_arg, read) {
            *value = ones;
        }
    }

    /// One of a few words; the first is the default.
    fn word<T: Copy + PartialEq>(&mut self, name: &str, value: &mut T, words: &[(T, &str)]) {
        if self.writes() && words.first().is_some_and(|w| w.0 == *value) {
            return;
        }
        let wanted = words.iter().map(|w| format!("\"{}\"", w.1)).collect::<Vec<_>>().join(" or ");
        let write = |v: &T| Attr::Str(words.iter().find(|w| w.0 == *v).map_or("", |w| w.1).into());
        self.field(name, value, &wanted, write, |a| match a {
            Attr::Str(s) => words.iter().find(|w| w.1 == s).map(|w| w.0),
            _ => None,
        });
    }

    fn precision(&mut self, value: &mut Precision) {
        if self.writes() && *value == Precision::Exact {
            return;
        }
        let word = |p: &Precision| Attr::Dim(Dim::sym(p.name()));
        self.field("precision", value, "exact, bf16 or int8", word, |a| match a {
            Attr::Dim(d) => Precision::ALL.into_iter().find(|p| d.as_sym().is_some_and(|s| **s == *p.name())),
            _ => None,
        });
    }

    fn scores(&mut self, value: &mut Scores) {
        self.required("scores", value, "exact, int8 or table(\"name\")", Scores::attr, |a| match a {
            Attr::Dim(d) => match &**d.as_sym()? {
                "exact" => Some(Scores::Exact),
                "int8" => Some(Scores::Int8),
                _ => None,
            },
            Attr::Call(f, name) if f == "table" => Some(Scores::Table(name.clone())),
            _ => None,
        });
    }

    fn expr(&mut self, name: &str, value: &mut Expr) {
        let mut text = match self {
            Io::Write(_) => value.to_string(),
            Io::Read { .. } => String::new(),
        };
        self.required(
            name,
            &mut text,
            "a string",
            |t| Attr::Str(t.clone()),
            |a| match a {
                Attr::Str(s) => Some(s.clone()),
                _ => None,
            },
        );
        if let Io::Read { error: error @ None, .. } = self {
            match text.parse() {
                Ok(e) => *value = e,
                Err(e) => *error = Some(format!("attribute {name}: {e}")),
            }
        }
    }
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 3] = [Precision::Exact, Precision::Bf16, Precision::Int8];

    /// The word of graph text.
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Exact => "exact",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        }
    }
}

/// As in graph text.
impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Scores {
    fn attr(&self) -> Attr {
        match self {
            Scores::Exact => Attr::Dim(Dim::sym("exact")),
            Scores::Int8 => Attr::Dim(Dim::sym("int8")),
            Scores::Table(name) => Attr::Call("table".into(), name.clone()),
        }
    }
}

/// As in graph text: `exact`, `int8`, `table("name")`.
impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.attr().fmt(f)
    }
}

fn as_usize(a: &Attr) -> Option<usize> {
    match a {
        Attr::Dim(d) => d.as_usize(),
        _ => None,
    }
}

fn as_bool(a: &Attr) -> Option<bool> {
    match a {
        Attr::Bool(b) => Some(*b),
        _ => None,
    }
}

fn as_float(a: &Attr) -> Option<Float> {
    match a {
        Attr::Float(f) => Some(*f),
        _ => None,
    }
}

fn as_dims(a: &Attr) -> Option<Vec<Dim>> {
    match a {
        Attr::Dims(v) => Some(v.clone()),
        _ => None,
    }
}

fn write_arg(v: &IntArg) -> Attr {
    match v {
        IntArg::Known(v) => Attr::Dims(v.clone()),
        IntArg::Operand => Attr::Str("operand".into()),
    }
}
