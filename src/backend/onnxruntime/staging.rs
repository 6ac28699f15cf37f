//! Where a batch waits to be copied to where a network computes.

use std::fmt::Debug;
use std::mem::MaybeUninit;

use half::{bf16, f16};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::value::{DynTensor, PrimitiveTensorElementType, Tensor};

use crate::backend::input::Element;

/// A tensor in the host's memory that is kept from batch to batch.
pub(super) struct Staging {
    element: Element,
    allocator: Allocator,
    tensor: Option<DynTensor>,
}

impl Staging {
    /// Ordinary memory.
    pub fn new(element: Element) -> Self {
        Self { element, allocator: Allocator::default(), tensor: None }
    }

    /// Memory that the system never moves, if there is some: a GPU copies from it by itself, at the speed of the bus.
    pub fn pinned(element: Element, session: &Session, device: u16) -> Self {
        let pinned = |device: u16| {
            let place = AllocationDevice::CUDA_PINNED;
            let memory = MemoryInfo::new(place, device.into(), AllocatorType::Device, MemoryType::CPUInput)?;
            Allocator::new(session, memory)
        };
        // Up to ONNX Runtime 1.22 it has number 0, whatever the GPU's.
        let allocator = pinned(device).or_else(|_| pinned(0)).unwrap_or_default();
        Self { element, allocator, tensor: None }
    }

    /// A tensor of `images`, in the precision that the network takes.
    pub fn fill(&mut self, dims: Vec<usize>, images: &[f32]) -> ort::Result<&DynTensor> {
        let kept =
            self.tensor.take().filter(|tensor| tensor.shape().iter().copied().eq(dims.iter().map(|size| *size as i64)));
        let tensor = match self.element {
            Element::Float32 => filled(kept, &self.allocator, dims, images, |value| value),
            Element::Float16 => filled(kept, &self.allocator, dims, images, f16::from_f32),
            Element::Bfloat16 => filled(kept, &self.allocator, dims, images, bf16::from_f32),
            Element::Float64 => filled(kept, &self.allocator, dims, images, f64::from),
        };
        Ok(self.tensor.insert(tensor?))
    }
}

fn filled<T: PrimitiveTensorElementType + Debug + Clone + 'static>(
    kept: Option<DynTensor>,
    allocator: &Allocator,
    dims: Vec<usize>,
    images: &[f32],
    convert: impl Fn(f32) -> T,
) -> ort::Result<DynTensor> {
    let mut tensor = match kept {
        Some(tensor) => tensor,
        None => {
            Tensor::<T>::new(allocator, dims.as_slice()).or_else(|_| Tensor::new(&Allocator::default(), dims))?.upcast()
        }
    };
    assert_eq!(tensor.shape().num_elements(), images.len(), "a tensor for these images");
    // SAFETY: the tensor has as many elements of this type, in memory of this process (pinned memory is), and nothing else has it;
    // ort would not give them out, for it takes pinned memory for the GPU's from ONNX Runtime 1.23 on.
    let values =
        unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr_mut().cast::<MaybeUninit<T>>(), images.len()) };
    for (place, value) in values.iter_mut().zip(images) {
        place.write(convert(*value));
    }
    Ok(tensor)
}
