//! Inputs and outputs that are bound to a session before it runs.

use crate::arguments::{Handle, Out, Shared, calls};
use crate::memory::{Allocator, MemoryInfo};
use crate::options::RunOptions;
use crate::session::{Session, allowed};
use crate::status::Failure;
use crate::value::Value;
use ort_sys::{OrtIoBinding, OrtValue};
use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bound inputs and outputs, in the order they were bound.
#[derive(Default)]
pub(crate) struct Binding(Mutex<Bound>);

#[derive(Default)]
struct Bound {
    inputs: Vec<(String, Value)>,
    outputs: Vec<(String, Target)>,
}

/// A place for an output.
enum Target {
    /// A tensor of the program's.
    Given(Value),
    /// A new tensor for every run: that of the last one.
    Made(Option<Value>),
}

impl Handle for Binding {
    type Sys = OrtIoBinding;
}

impl Binding {
    fn bound(&self) -> MutexGuard<'_, Bound> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds `value` to a name, in the place of what was bound to it.
fn bind<T>(all: &mut Vec<(String, T)>, name: &str, value: T) {
    match all.iter_mut().find(|(n, _)| n == name) {
        Some(entry) => entry.1 = value,
        None => all.push((name.into(), value)),
    }
}

impl Bound {
    fn run(&mut self, session: &Session) -> Result<(), Failure> {
        let input = |(name, value): &'_ (String, Value)| Ok((name.clone(), value.tensor()?));
        let inputs = self.inputs.iter().map(input).collect::<Result<Vec<_>, Failure>>()?;
        let inputs = inputs.iter().map(|(name, tensor)| (&**name, tensor.clone())).collect();
        let wanted: Vec<&str> = self.outputs.iter().map(|(name, _)| &**name).collect();
        let results = session.run(inputs, &wanted)?;
        for ((name, target), result) in self.outputs.iter_mut().zip(results) {
            match target {
                Target::Given(value) => value.fill(name, &result)?,
                Target::Made(value) => *value = Some(Value::new(result)?),
            }
        }
        Ok(())
    }
}

calls! {
    fn CreateIoBinding(_session: Shared<Session>, out: Out<*mut OrtIoBinding>) {
        out.set(Binding::default().into_raw());
        Ok(())
    }

    fn BindInput(binding: Shared<Binding>, name: &str, value: &Value) {
        bind(&mut binding.bound().inputs, name, value.clone());
        Ok(())
    }

    fn BindOutput(binding: Shared<Binding>, name: &str, value: &Value) {
        bind(&mut binding.bound().outputs, name, Target::Given(value.clone()));
        Ok(())
    }

    fn BindOutputToDevice(binding: Shared<Binding>, name: &str, _info: &MemoryInfo) {
        bind(&mut binding.bound().outputs, name, Target::Made(None));
        Ok(())
    }

    fn RunWithBinding(session: Shared<Session>, options: Option<&RunOptions>, binding: &Binding) {
        allowed(options)?;
        binding.bound().run(&session)
    }

    /// The tensors of the last run, which the program releases, in an array that it frees.
    fn GetBoundOutputValues(
        binding: &Binding, allocator: Allocator, out: Out<*mut *mut OrtValue>, count: Out<usize>,
    ) {
        let bound = binding.bound();
        let values = bound.outputs.iter().map(|(name, target)| match target {
            Target::Given(value) | Target::Made(Some(value)) => Ok(value.clone()),
            Target::Made(None) => Err(Failure::argument(format!("output {name:?} has not been made yet"))),
        });
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let array = allocator.array(&vec![std::ptr::null_mut::<OrtValue>(); values.len()])?;
        count.set(values.len());
        for (i, value) in values.into_iter().enumerate() {
            // SAFETY: the array has a place for each value.
            unsafe { array.add(i).write(value.into_raw()) };
        }
        out.set(array);
        Ok(())
    }

    fn GetBoundOutputNames(
        binding: &Binding, allocator: Allocator, out: Out<*mut c_char>, lengths: Out<*mut usize>, count: Out<usize>,
    ) {
        let bound = binding.bound();
        let text: String = bound.outputs.iter().map(|(name, _)| &**name).collect();
        let each: Vec<usize> = bound.outputs.iter().map(|(name, _)| name.len()).collect();
        out.set(allocator.array(text.as_bytes())?.cast());
        lengths.set(allocator.array(&each)?);
        count.set(each.len());
        Ok(())
    }

    /// A run has ended when it returns.
    fn SynchronizeBoundInputs(_binding: Shared<Binding>) {
        Ok(())
    }

    fn SynchronizeBoundOutputs(_binding: Shared<Binding>) {
        Ok(())
    }
}

/// Changes a binding where nobody can be told of a null or a panic.
///
/// # Safety
/// `binding` is of this table and alive, or null.
unsafe fn change(binding: *mut OrtIoBinding, f: impl FnOnce(&mut Bound)) {
    // SAFETY: the caller's promise.
    if let Some(binding) = unsafe { binding.cast::<Binding>().as_ref() } {
        let _ = catch_unwind(AssertUnwindSafe(|| f(&mut binding.bound())));
    }
}

pub(crate) unsafe extern "system" fn ClearBoundInputs(binding: *mut OrtIoBinding) {
    // SAFETY: the caller gives a binding of this table.
    unsafe { change(binding, |bound| bound.inputs.clear()) }
}

pub(crate) unsafe extern "system" fn ClearBoundOutputs(binding: *mut OrtIoBinding) {
    // SAFETY: the caller gives a binding of this table.
    unsafe { change(binding, |bound| bound.outputs.clear()) }
}
