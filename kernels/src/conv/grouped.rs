//! In f32, by tiles of vectors.

use super::Channels;
use super::tile::{Broadcast, Own, OwnPart, Pick, PickPart, Tile, tile};
use crate::memory::Memory;
use crate::simd::{self, Kernel, Simd};
use crate::window::{Block, Body, Form, Geometry, Walk, WindowError, length, product};
use crate::{Isa, parallel};
use bgz_passes::memory::{collected, room};

/// Floats that one lookup chooses from.
const TABLE: usize = 32;

/// A convolution in groups with its weights, packed for an instruction set.
pub struct Grouped {
    isa: Isa,
    geometry: Geometry,
    channels: Channels,
    taps: usize,
    /// Channels of an image in a group: numbers a tap meets for one channel of the result.
    depth: usize,
    lanes: usize,
    way: Way,
    chunks: Vec<Chunk>,
    /// Of each chunk, `[taps, depth, lanes]`, zero in lanes that are not used.
    memory: Memory,
}

/// The channels that the lanes of a chunk meet.
enum Way {
    /// Each its own channel.
    Own,
    /// All the same channel.
    Broadcast,
    /// Each a channel of its group: of each chunk `[depth, lanes]`, which of those from the first on.
    Pick(Vec<i32>),
}

/// Channels of the result in one vector.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    /// The first channel of the image that it meets.
    from: usize,
    /// From the first to the last that it meets, for [`Way::Pick`].
    span: usize,
    /// The first channel of the result.
    to: usize,
    /// Channels of the result.
    lanes: usize,
}

/// Asks how wide vectors are, and whether a lookup is one instruction.
struct Ask;

impl Kernel for Ask {
    type Out = (usize, bool);
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (usize, bool) {
        (S::LANES, S::FAST_LOOKUP)
    }
}

impl Grouped {
    /// Packs `weights [output, input / groups, kernel..]` for [`Isa::current`].
    ///
    /// # Errors
    /// Channels are not in such groups, there are more or fewer weights, or memory does not suffice.
    pub fn new(geometry: Geometry, channels: Channels, weights: &[f32]) -> Result<Self, WindowError> {
        let taps = channels.taps(&geometry, weights.len())?;
        let [depth, to] = channels.each()?;
        let isa = Isa::current();
        let (lanes, fast_lookup) = simd::run(isa, Ask);
        let memory = |bytes| WindowError::Memory { bytes };
        // True if the lanes of a vector are neighbours across groups.
        let across = (depth, to) == (1, 1)
            || fast_lookup && to <= lanes / 2 && {
                let spans = (0..channels.output).step_by(lanes).map(|at| span(at, lanes, channels.output, [depth, to]));
                depth <= TABLE && spans.max().unwrap_or(0) <= TABLE
            };
        let (runs, run) = if across { (1, channels.output) } else { (channels.groups, to) };
        let count = product("weights", run.div_ceil(lanes), [runs])?;
        let mut chunks = room(count).map_err(memory)?;
        for at in (0..runs).flat_map(|i| (0..run).step_by(lanes).map(move |j| i * run + j)) {
            let end = at - at % run.max(1) + run;
            let lanes = lanes.min(end - at);
            let span = span(at, lanes, channels.output, [depth, to]);
            chunks.push(Chunk { from: at / to * depth, span, to: at, lanes });
        }
        let way = match (depth, to) {
            (1, 1) => Way::Own,
            _ if across => {
                let picks = chunks.iter().flat_map(|c| {
                    let group = move |lane: usize| (c.to + lane.min(c.lanes - 1)) / to;
                    (0..depth * lanes).map(move |i| (group(i % lanes) * depth - c.from + i / lanes) as i32)
                });
                Way::Pick(collected(count * depth * lanes, picks).map_err(memory)?)
            }
            _ => Way::Broadcast,
        };
        let size = product("weights", count, [taps, depth, lanes, size_of::<f32>()])?;
        let mut memory = Memory::shared(size).ok_or(WindowError::Memory { bytes: size })?;
        let run = taps * depth * lanes;
        if run > 0 {
            for (chunk, packed) in chunks.iter().zip(memory.numbers().chunks_exact_mut(run)) {
                for lane in 0..chunk.lanes {
                    let own = &weights[(chunk.to + lane) * depth * taps..][..depth * taps];
                    for (i, own) in own.chunks_exact(taps).enumerate() {
                        for (tap, w) in own.iter().enumerate() {
                            packed[(tap * depth + i) * lanes + lane] = w.to_bits();
                        }
                    }
                }
            }
        }
        Ok(Self { isa, geometry, channels, taps, depth, lanes, way, chunks, memory })
    }

    /// The windows.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Bytes the packed weights take.
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// Writes the convolution of `x [n, positions.., input]`, and `bias [output]`, to `out [n, windows.., output]`; `out`
    /// decides `n`. Cut by windows for the threads of the current rayon pool, whose number does not change a bit of the
    /// result. Nothing is allocated. Each result is one sum from the bias on, over taps and, in each, channels.
    ///
    /// # Errors
    /// A slice has another length.
    pub fn run(&self, x: &[f32], bias: Option<&[f32]>, out: &mut [f32]) -> Result<(), WindowError> {
        let Self { geometry, channels, .. } = self;
        let images = geometry.images(Form::Plain, [channels.input, channels.output], x.len(), out.len())?;
        if let Some(bias) = bias {
            length("bias", bias.len(), channels.output)?;
        }
        if self.taps == 0 {
            for out in out.chunks_exact_mut(channels.output.max(1)) {
                match bias {
                    Some(bias) => out.copy_from_slice(bias),
                    None => out.fill(0.0),
                }
            }
            return Ok(());
        }
        let body = Job { of: self, x, bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr), out: out.as_mut_ptr() };
        let all = images * geometry.windows();
        let work = all.saturating_mul(self.chunks.len()).saturating_mul(self.taps * self.depth);
        parallel::split(0, all, parallel::pieces(work), &|start, end| {
            // The fields of the job are only together safe to share.
            let body = &body;
            simd::run(self.isa, Walk { geometry, body: *body, start, end });
        });
        Ok(())
    }
}

/// How many channels of the image, from the first to the last, `lanes` channels of the result from `at` on meet.
fn span(at: usize, lanes: usize, output: usize, [depth, to]: [usize; 2]) -> usize {
    let last = (at + lanes).min(output) - 1;
    (last / to - at / to + 1) * depth
}

#[derive(Clone, Copy)]
struct Job<'a> {
    of: &'a Grouped,
    x: &'a [f32],
    bias: *const f32,
    out: *mut f32,
}

// SAFETY: made of slices that live while the threads run; each writes windows of its own.
unsafe impl Sync for Job<'_> {}

impl Body for Job<'_> {
    #[inline(always)]
    unsafe fn block<S: Simd, const P: usize>(self, s: S, block: &Block<'_>) {
        let Grouped { geometry, channels, taps, depth, lanes, way, chunks, memory, .. } = self.of;
        let (c, m) = (channels.input, channels.output);
        let last = geometry.last();
        // The first element that the block reads, or would: where it has no tap nothing is read.
        let first = (block.image * geometry.positions() + block.taps.place) * c;
        let run = taps * depth * lanes;
        let mut at = Tile {
            rows: block.rows,
            width: c,
            taps: block.taps.count,
            step: last.stride * c,
            apart: last.dilation.wrapping_mul(c),
            x: std::ptr::null(),
            w: std::ptr::null(),
            tap: depth * lanes,
            depth: *depth,
            out: std::ptr::null_mut(),
            out_step: m,
            start: std::ptr::null(),
            start_step: 0,
            lanes: 0,
        };
        // Behind the last element that the block meets, counted from the first.
        let end = match block.rows.last() {
            Some(row) => (row.place + (P - 1) * last.stride + block.taps.count.saturating_sub(1) * last.dilation) * c,
            None => 0,
        };
        for (i, chunk) in chunks.iter().enumerate() {
            at.x = self.x.as_ptr().wrapping_add(first + chunk.from);
            at.w = memory.as_ptr().cast::<f32>().wrapping_add(i * run + block.taps.first * depth * lanes);
            at.out = self.out.wrapping_add((block.image * geometry.windows() + block.window) * m + chunk.to);
            (at.start, at.start_step) = match (block.begin, self.bias.is_null()) {
                (false, _) => (at.out.cast_const(), m),
                (true, true) => (std::ptr::null(), 0),
                (true, false) => (self.bias.wrapping_add(chunk.to), 0),
            };
            at.lanes = chunk.lanes;
            // SAFETY: the windows are those of an image, their rows and taps lie inside, and a chunk has channels of each
            // and weights for all taps. A table ends within the image.
            unsafe {
                match way {
                    Way::Own if chunk.lanes == S::LANES => tile::<S, Own, P>(s, Own, &at),
                    Way::Own => tile::<S, OwnPart, P>(s, OwnPart(chunk.lanes), &at),
                    Way::Broadcast => tile::<S, Broadcast, P>(s, Broadcast, &at),
                    Way::Pick(picks) => {
                        let picks = picks.as_ptr().wrapping_add(i * depth * lanes);
                        if first + chunk.from + end + TABLE <= self.x.len() {
                            tile::<S, Pick, P>(s, Pick(picks), &at);
                        } else {
                            tile::<S, PickPart, P>(s, PickPart(picks, chunk.span), &at);
                        }
                    }
                }
            }
        }
    }
}
