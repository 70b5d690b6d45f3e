//! Running a graph: a [`Plan`] is made once for given input shapes, with
//! shapes bound, constants folded, weights packed and buffers placed; running
//! it allocates nothing.

// A trace of Burn has ops that the plan does not do itself.
#![cfg_attr(not(feature = "burn"), allow(dead_code, unused_imports))]

mod arena;
mod awake;
mod bind;
mod control;
mod lower;
mod packed;
mod plan;
mod ports;
mod rowwise;
mod stages;
mod states;
mod step;
mod structure;
mod threads;
mod view;
mod work;

pub(crate) use bind::bind_inputs;
pub(crate) use lower::FOREIGN;
pub use packed::PackedWeights;
pub use plan::Plan;
pub(crate) use plan::output;
pub(crate) use ports::Ports;
pub use stages::Stages;
pub use step::StepInfo;
pub(crate) use step::{Appended, Work};
pub(crate) use structure::Structure;
pub(crate) use threads::Threads;
pub(crate) use view::Slot;

use bgz_passes::ir::{GraphError, Unavailable};
use bgz_passes::narrow::WidenError;
use bgz_passes::rewrite::PassError;
use thiserror::Error;

/// Errors of making or running a plan.
#[derive(Debug, Error)]
pub enum ExecError {
    /// The number of inputs is not that of the graph.
    #[error("the model takes {expected} inputs ({names}), {given} given")]
    InputCount {
        /// The number of the graph's.
        expected: usize,
        /// The number given.
        given: usize,
        /// The names of the graph's.
        names: String,
    },
    /// An input is missing, or there is none of that name.
    #[error("the model has no input {name:?}; it takes {names}")]
    UnknownInput {
        /// The name given.
        name: String,
        /// Those there are.
        names: String,
    },
    /// There is no output of that name.
    #[error("the model has no output {name:?}; it makes {names}")]
    UnknownOutput {
        /// The name given.
        name: String,
        /// Those there are.
        names: String,
    },
    /// An output or input of a session that is a state already.
    #[error("{name:?} is named twice among the states")]
    StateTwice {
        /// Its name.
        name: String,
    },
    /// An input that the model takes was not given.
    #[error("input {name:?} ({ty}) is missing")]
    MissingInput {
        /// Its name.
        name: String,
        /// Its type.
        ty: String,
    },
    /// An input's dtype or shape does not fit.
    #[error("input {name:?} is {given}, the model takes {expected}{reason}")]
    InputType {
        /// Its name.
        name: String,
        /// Type given.
        given: String,
        /// Type of the graph's input.
        expected: String,
        /// More, behind a colon, or empty.
        reason: String,
    },
    /// Shapes do not work out with these inputs.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A pass failed.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// A node cannot be run.
    #[error("%{node} = {op}: {reason}")]
    Node {
        /// Name of its first result.
        node: String,
        /// Mnemonic.
        op: String,
        /// Why.
        reason: String,
    },
    /// The values of a constant cannot be had: the graph came from text and has its hash only, or its file has changed.
    #[error("the values of constant @{name} are not here: {reason}")]
    AbsentConstant {
        /// Its name.
        name: String,
        /// Why.
        reason: Unavailable,
    },
    /// The graph takes scores from a table that is not there.
    #[error(
        "%{node} takes its scores from the table {table:?} for d_head {d_head}, which is not registered: \
         register it and rewrite the graph by Pipeline::approximate (--tables FILE), or let it say scores = exact"
    )]
    NoTable {
        /// Name of the attention's value.
        node: String,
        /// The table.
        table: String,
        /// Dims of its heads.
        d_head: usize,
    },
    /// Sizes beyond what memory can hold.
    #[error("the intermediates are too large to be held in memory")]
    TooLarge,
    /// More memory than there is.
    #[error("{what}: {bytes} bytes are needed, which memory does not suffice for")]
    Memory {
        /// Its use: the value that a node makes, or all of them.
        what: String,
        /// So much, at once.
        bytes: usize,
    },
    /// There are no threads to run on.
    #[error("cannot start threads: {0}")]
    Threads(String),
    /// A bug of this crate.
    #[error("internal error: {0}")]
    Internal(String),
}

impl ExecError {
    /// True if there is no plan because values decide extents, or what is computed: then the graph is run in [`Stages`].
    pub fn depends_on_values(&self) -> bool {
        matches!(self, Self::Graph(GraphError::UnboundDim { .. } | GraphError::Decided { .. }))
    }
}

impl From<WidenError> for ExecError {
    fn from(e: WidenError) -> Self {
        match e {
            WidenError::Graph(e) => e.into(),
            WidenError::Unavailable { name, reason } => Self::AbsentConstant { name, reason },
            WidenError::Memory { name, bytes } => Self::Memory { what: format!("constant @{name} as f32"), bytes },
        }
    }
}
