//! Reading several tensors at once.

use burn_backend::{
    ExecutionError,
    ops::{TransactionOps, TransactionPrimitive, TransactionPrimitiveData},
};

use super::{Local, Whole};

impl<B: Whole> TransactionOps<Self> for Local<B> {
    // The order of registration, which `new` leaves empty, is the caller's: Burn takes it out before this call.
    fn tr_execute(
        transaction: TransactionPrimitive<Self>,
    ) -> impl Future<Output = Result<TransactionPrimitiveData, ExecutionError>> + Send {
        <B as TransactionOps<B>>::tr_execute(TransactionPrimitive::new(
            transaction.read_floats,
            transaction.read_qfloats,
            transaction.read_ints,
            transaction.read_bools,
        ))
    }
}
