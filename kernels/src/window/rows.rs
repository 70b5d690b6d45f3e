//! Taps that lie inside, by rows along the last axis.

use super::{Axis, Form, Geometry};

/// Taps along an axis that a position of the result is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taps {
    /// The first.
    pub first: usize,
    /// From one to the next.
    pub step: usize,
    /// How many; the others are meaningless for none.
    pub count: usize,
    /// Where the first lies in the image.
    pub place: usize,
    /// From there to the next.
    pub apart: isize,
}

const NONE: Taps = Taps { first: 0, step: 1, count: 0, place: 0, apart: 0 };

impl Axis {
    /// Those of a window that lie inside.
    pub(crate) fn inside(&self, window: usize) -> Taps {
        // Checked when the geometry was made: windows and their taps are at places that an isize can hold.
        let start = (window * self.stride) as isize - self.before as isize;
        let first = if start < 0 { start.unsigned_abs().div_ceil(self.dilation) } else { 0 };
        let room = (self.extent as isize - start).max(0) as usize;
        let end = room.div_ceil(self.dilation).min(self.kernel);
        if first >= end {
            return NONE;
        }
        let place = (start + (first * self.dilation) as isize) as usize;
        Taps { first, step: 1, count: end - first, place, apart: self.dilation as isize }
    }

    /// Those of all windows that fall on a position of the plane, `step` taps apart; the place is that of the window.
    fn falling(&self, position: usize, step: usize) -> Taps {
        let at = position + self.before;
        let end = (at / self.dilation + 1).min(self.kernel);
        // Where the first windows are not the last that there are.
        let beyond = at.checked_sub(self.windows.saturating_mul(self.stride));
        let least = beyond.map_or(0, |n| n / self.dilation + 1);
        let first = (least..end).take(step).find(|k| (at - k * self.dilation).is_multiple_of(self.stride));
        let Some(first) = first else { return NONE };
        Taps {
            first,
            step,
            count: (end - first).div_ceil(step),
            place: (at - first * self.dilation) / self.stride,
            // The step makes that a multiple of the stride; where it is too large there is one tap.
            apart: -((step.saturating_mul(self.dilation) / self.stride) as isize),
        }
    }

    /// How many taps of a window lie inside or in the padding.
    pub(crate) fn counted(&self, window: usize) -> usize {
        let room = (self.extent + self.before + self.after).saturating_sub(window * self.stride);
        room.div_ceil(self.dilation).min(self.kernel)
    }

    /// Windows all of whose taps lie inside.
    pub(crate) fn interior(&self) -> std::ops::Range<usize> {
        let reach = (self.kernel - 1) * self.dilation + 1;
        let end = (self.extent + self.before).checked_sub(reach).map_or(0, |n| n / self.stride + 1);
        let end = end.min(self.windows);
        self.before.div_ceil(self.stride).min(end)..end
    }
}

/// A row of taps along the last axis.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    /// Position of the image that its row begins with.
    pub place: usize,
    /// Number of its first tap in the window.
    pub tap: usize,
}

/// Positions `from..to` along the last axis of a line of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub image: usize,
    pub line: usize,
    pub from: usize,
    pub to: usize,
}

/// The spans of some positions of all results.
pub(crate) struct Spans {
    lines: usize,
    columns: usize,
    at: usize,
    end: usize,
}

impl Iterator for Spans {
    type Item = Span;

    #[inline(always)]
    fn next(&mut self) -> Option<Span> {
        if self.at >= self.end {
            return None;
        }
        let (line, from) = (self.at / self.columns, self.at % self.columns);
        let to = self.columns.min(from + self.end - self.at);
        self.at += to - from;
        Some(Span { image: line / self.lines, line: line % self.lines, from, to })
    }
}

impl Geometry {
    /// The axis that lies densest.
    #[inline(always)]
    pub(crate) fn last(&self) -> &Axis {
        &self.axes[self.axes.len() - 1]
    }

    /// Positions `start..end` of all results, of which there are some, line by line.
    pub(crate) fn spans(&self, form: Form, start: usize, end: usize) -> Spans {
        let columns = match form {
            Form::Plain => self.last().windows,
            Form::Transposed => self.last().extent,
        };
        let lines = self.ends(form)[1].checked_div(columns).unwrap_or(0);
        Spans { lines, columns, at: start, end }
    }

    fn of_axis(&self, form: Form, axis: usize, position: usize) -> Taps {
        match form {
            Form::Plain => self.axes[axis].inside(position),
            Form::Transposed => self.axes[axis].falling(position, self.steps[axis]),
        }
    }

    /// Taps along the last axis of a position of a line.
    pub(crate) fn columns(&self, form: Form, position: usize) -> Taps {
        self.of_axis(form, self.axes.len() - 1, position)
    }

    /// Extents of an axis of an image and of a result.
    fn extents(&self, form: Form, axis: usize) -> [usize; 2] {
        let Axis { extent, windows, .. } = self.axes[axis];
        match form {
            Form::Plain => [extent, windows],
            Form::Transposed => [windows, extent],
        }
    }

    /// How many rows of taps a line of the result is made of.
    pub(crate) fn count(&self, form: Form, mut line: usize) -> usize {
        let mut n = 1;
        for axis in (0..self.axes.len() - 1).rev() {
            let [_, to] = self.extents(form, axis);
            n *= self.of_axis(form, axis, line % to).count;
            line /= to;
        }
        n
    }

    /// The rows of a line from number `skip` on, as many as there are and fit.
    pub(crate) fn rows<'a>(&self, form: Form, line: usize, skip: usize, rows: &'a mut [Row]) -> &'a [Row] {
        let n = rows.len().min(self.count(form, line).saturating_sub(skip));
        for (i, row) in rows[..n].iter_mut().enumerate() {
            let (mut line, mut number) = (line, skip + i);
            let last = self.axes.len() - 1;
            let (mut run, mut taps) = (self.extents(form, last)[0], self.axes[last].kernel);
            *row = Row::default();
            for axis in (0..last).rev() {
                let [from, to] = self.extents(form, axis);
                let t = self.of_axis(form, axis, line % to);
                let k = number % t.count;
                (line, number) = (line / to, number / t.count);
                row.place += t.place.wrapping_add_signed(k as isize * t.apart) * run;
                // Nobody counts the taps of a pool, which need not have numbers.
                row.tap = row.tap.wrapping_add((t.first + k * t.step).wrapping_mul(taps));
                run *= from;
                taps = taps.wrapping_mul(self.axes[axis].kernel);
            }
        }
        &rows[..n]
    }
}
