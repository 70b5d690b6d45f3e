//! Memory that programs ask for: one allocator, of the CPU.

use crate::arguments::{Argument, Handle, Out, calls, missing};
use crate::session::Session;
use crate::status::{Failure, c_string};
use ort_sys::{
    ORT_API_VERSION, OrtAllocator, OrtAllocatorType, OrtDeviceMemoryType, OrtErrorCode, OrtMemType, OrtMemoryInfo,
    OrtMemoryInfoDeviceType,
};
use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{c_char, c_void};
use std::{mem, ptr};

/// A place for memory: the CPU's, whatever the rest says.
#[derive(PartialEq)]
pub(crate) struct MemoryInfo {
    allocator: OrtAllocatorType,
    id: i32,
    memory: OrtMemType,
}

impl Handle for MemoryInfo {
    type Sys = OrtMemoryInfo;
}

/// Of the allocator, and of every tensor.
static CPU: MemoryInfo =
    MemoryInfo { allocator: OrtAllocatorType::OrtDeviceAllocator, id: 0, memory: OrtMemType::OrtMemTypeDefault };

/// The memory of every tensor, which nobody releases.
pub(crate) fn cpu() -> *const OrtMemoryInfo {
    (&raw const CPU).cast()
}

static ALLOCATOR: OrtAllocator = OrtAllocator {
    version: ORT_API_VERSION,
    Alloc: Some(allocate),
    Free: Some(free),
    Info: Some(info),
    Reserve: Some(reserve),
    GetStats: None,
    AllocOnStream: None,
    Shrink: None,
};

/// Bytes in front of each allocation, where its layout is kept, and its alignment.
const HEADER: usize = 64;

unsafe extern "system" fn allocate(_: *mut OrtAllocator, size: usize) -> *mut c_void {
    let layout = size.checked_add(HEADER).and_then(|n| Layout::from_size_align(n, HEADER).ok());
    let Some(layout) = layout else { return ptr::null_mut() };
    // SAFETY: the size is not 0.
    let start = unsafe { alloc(layout) };
    if start.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: there is room for the header, which is aligned for anything.
    unsafe { start.cast::<Layout>().write(layout) };
    // SAFETY: the header is part of the allocation.
    unsafe { start.add(HEADER).cast() }
}

unsafe extern "system" fn reserve(_: *const OrtAllocator, size: usize) -> *mut c_void {
    // SAFETY: the allocator is not looked at.
    unsafe { allocate(ptr::null_mut(), size) }
}

unsafe extern "system" fn free(_: *mut OrtAllocator, memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    // SAFETY: the caller gives what `allocate` returned, so the header lies in front of it.
    let start = unsafe { memory.cast::<u8>().sub(HEADER) };
    // SAFETY: the same.
    let layout = unsafe { start.cast::<Layout>().read() };
    // SAFETY: it was allocated so, and the caller uses it no more.
    unsafe { dealloc(start, layout) };
}

unsafe extern "system" fn info(_: *const OrtAllocator) -> *const OrtMemoryInfo {
    cpu()
}

/// An allocator that a program gives, for the results that it will free.
pub(crate) struct Allocator(*mut OrtAllocator);

impl Argument for Allocator {
    type Raw = *mut OrtAllocator;

    unsafe fn from_raw(raw: Self::Raw, name: &str) -> Result<Self, Failure> {
        if raw.is_null() { Err(missing(name)) } else { Ok(Self(raw)) }
    }
}

impl Allocator {
    fn bytes(&self, size: usize) -> Result<*mut c_void, Failure> {
        // SAFETY: the program gave the allocator for the time of the call.
        let allocate =
            unsafe { (*self.0).Alloc }.ok_or_else(|| Failure::argument("the allocator allocates nothing"))?;
        // SAFETY: the function is that allocator's own.
        let memory = unsafe { allocate(self.0, size) };
        if memory.is_null() {
            let message = format!("the allocator has no {size} bytes");
            return Err(Failure::new(OrtErrorCode::ORT_RUNTIME_EXCEPTION, message));
        }
        Ok(memory)
    }

    /// An array that the program frees.
    pub(crate) fn array<T: Copy>(&self, values: &[T]) -> Result<*mut T, Failure> {
        let memory = self.bytes(mem::size_of_val(values).max(1))?.cast::<T>();
        if !memory.is_aligned() {
            return Err(Failure::argument("the allocator does not align what it allocates"));
        }
        // SAFETY: there is room for all values, aligned, and nobody else has it yet.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), memory, values.len()) };
        Ok(memory)
    }

    /// A text that the program frees.
    pub(crate) fn text(&self, text: &str) -> Result<*mut c_char, Failure> {
        Ok(self.array(c_string(text).as_bytes_with_nul())?.cast())
    }
}

fn only_cpu(device: &str) -> Result<(), Failure> {
    match device {
        "Cpu" => Ok(()),
        _ => Err(Failure::unsupported(&format!("memory of {device:?}, only of \"Cpu\""))),
    }
}

calls! {
    fn CreateMemoryInfo(
        name: &str, allocator: OrtAllocatorType, id: i32, memory: OrtMemType, out: Out<*mut OrtMemoryInfo>,
    ) {
        only_cpu(name)?;
        out.set(MemoryInfo { allocator, id, memory }.into_raw());
        Ok(())
    }

    fn CreateMemoryInfo_V2(
        name: &str, _device: OrtMemoryInfoDeviceType, _vendor: u32, id: i32, _memory: OrtDeviceMemoryType,
        _alignment: usize, allocator: OrtAllocatorType, out: Out<*mut OrtMemoryInfo>,
    ) {
        only_cpu(name)?;
        out.set(MemoryInfo { allocator, id, memory: OrtMemType::OrtMemTypeDefault }.into_raw());
        Ok(())
    }

    fn CreateCpuMemoryInfo(allocator: OrtAllocatorType, memory: OrtMemType, out: Out<*mut OrtMemoryInfo>) {
        out.set(MemoryInfo { allocator, id: 0, memory }.into_raw());
        Ok(())
    }

    fn CompareMemoryInfo(a: &MemoryInfo, b: &MemoryInfo, out: Out<i32>) {
        out.set((a != b).into());
        Ok(())
    }

    fn MemoryInfoGetName(_info: &MemoryInfo, out: Out<*const c_char>) {
        out.set(c"Cpu".as_ptr());
        Ok(())
    }

    fn MemoryInfoGetId(info: &MemoryInfo, out: Out<i32>) {
        out.set(info.id);
        Ok(())
    }

    fn MemoryInfoGetMemType(info: &MemoryInfo, out: Out<OrtMemType>) {
        out.set(info.memory);
        Ok(())
    }

    fn MemoryInfoGetType(info: &MemoryInfo, out: Out<OrtAllocatorType>) {
        out.set(info.allocator);
        Ok(())
    }

    fn GetAllocatorWithDefaultOptions(out: Out<*mut OrtAllocator>) {
        out.set((&raw const ALLOCATOR).cast_mut());
        Ok(())
    }

    /// The allocator of every session is the one there is.
    fn CreateAllocator(_session: &Session, _info: &MemoryInfo, out: Out<*mut OrtAllocator>) {
        out.set((&raw const ALLOCATOR).cast_mut());
        Ok(())
    }

    fn AllocatorAlloc(allocator: Allocator, size: usize, out: Out<*mut c_void>) {
        out.set(allocator.bytes(size)?);
        Ok(())
    }

    fn AllocatorFree(allocator: Allocator, memory: *mut c_void) {
        // SAFETY: the program gave the allocator for the time of the call.
        let free = unsafe { (*allocator.0).Free }.ok_or_else(|| Failure::argument("the allocator frees nothing"))?;
        // SAFETY: the function is that allocator's own, and so is the memory.
        unsafe { free(allocator.0, memory) };
        Ok(())
    }

    fn AllocatorGetInfo(allocator: *const OrtAllocator, out: Out<*const OrtMemoryInfo>) {
        // SAFETY: the program gave the allocator, or null.
        let info = unsafe { allocator.as_ref() }.ok_or_else(|| missing("allocator"))?.Info;
        let info = info.ok_or_else(|| Failure::argument("the allocator does not say where its memory lies"))?;
        // SAFETY: the function is that allocator's own.
        out.set(unsafe { info(allocator) });
        Ok(())
    }
}

/// Nothing to do: no allocator was made.
pub(crate) unsafe extern "system" fn ReleaseAllocator(_: *mut OrtAllocator) {}

pub(crate) unsafe extern "system" fn MemoryInfoGetDeviceType(
    _: *const OrtMemoryInfo,
    out: *mut OrtMemoryInfoDeviceType,
) {
    if !out.is_null() {
        // SAFETY: the caller gives room for the result.
        unsafe { out.write(OrtMemoryInfoDeviceType::OrtMemoryInfoDeviceType_CPU) }
    }
}

pub(crate) unsafe extern "system" fn MemoryInfoGetDeviceMemType(_: *const OrtMemoryInfo) -> OrtDeviceMemoryType {
    OrtDeviceMemoryType::OrtDeviceMemoryType_DEFAULT
}

pub(crate) unsafe extern "system" fn MemoryInfoGetVendorId(_: *const OrtMemoryInfo) -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_given_back() {
        for size in [0, 1, 63, 1000] {
            // SAFETY: the allocator is not looked at.
            let memory = unsafe { allocate(ptr::null_mut(), size) };
            assert_eq!(memory.addr() % HEADER, 0);
            // SAFETY: it has this size.
            unsafe { memory.write_bytes(7, size) };
            // SAFETY: it is not used any more.
            unsafe { free(ptr::null_mut(), memory) };
        }
        // SAFETY: nothing is allocated.
        assert!(unsafe { allocate(ptr::null_mut(), usize::MAX - 3) }.is_null());
    }
}
