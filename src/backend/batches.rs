//! Batches of the size that a network insists on, and of one that memory holds.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// Runs `images` in batches of exactly `batch` rows, padding the last with zeros.
pub fn of_fixed_size(
    batch: usize,
    images: &[f32],
    outputs: &mut [f32],
    row: usize,
    outputs_per_row: usize,
    mut run: impl FnMut(&[f32], &mut [f32]) -> Result<()>,
) -> Result<()> {
    for (images, outputs) in images.chunks(batch * row).zip(outputs.chunks_mut(batch * outputs_per_row)) {
        if images.len() == batch * row {
            run(images, outputs)?;
        } else {
            let mut padded = images.to_vec();
            padded.resize(batch * row, 0.0);
            let mut all = vec![0.0; batch * outputs_per_row];
            run(&padded, &mut all)?;
            outputs.copy_from_slice(&all[..outputs.len()]);
        }
    }
    Ok(())
}

/// Runs a batch of `rows`, or of half as many wherever memory does not hold it, down to a single one; that is then the `most` that
/// it holds.
pub fn halved<T>(mut rows: usize, most: &AtomicUsize, mut run: impl FnMut(usize) -> Result<T>) -> Result<T> {
    loop {
        match run(rows) {
            Err(error) if rows > 1 && is_out_of_memory(&error) => {
                rows = rows.div_ceil(2);
                most.fetch_min(rows, Ordering::Relaxed);
            }
            outcome => return outcome,
        }
    }
}

/// Runs `images` in batches of at most `most` rows; one that is halved halves all that follow.
pub fn within_memory(
    most: &AtomicUsize,
    images: &[f32],
    outputs: &mut [f32],
    row: usize,
    outputs_per_row: usize,
    mut run: impl FnMut(&[f32], &mut [f32]) -> Result<()>,
) -> Result<()> {
    let (all, mut done) = (images.len() / row, 0);
    while done < all {
        let rows = (all - done).min(most.load(Ordering::Relaxed));
        done += halved(rows, most, |rows| {
            let end = done + rows;
            run(&images[done * row..end * row], &mut outputs[done * outputs_per_row..end * outputs_per_row])?;
            Ok(rows)
        })?;
    }
    Ok(())
}

/// As ONNX Runtime's arena, CUDA, cuBLAS and cuDNN, and C++ say it.
const OUT_OF_MEMORY: [&str; 7] = [
    "Failed to allocate memory",
    "is smaller than requested bytes",
    "Failed to find a free memory block",
    "out of memory",
    "ALLOC_FAILED",
    "bad_alloc",
    "bad allocation",
];

fn is_out_of_memory(error: &Error) -> bool {
    let Error::Engine { message, .. } = error else { return false };
    OUT_OF_MEMORY.iter().any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles images, where there is room for so many; says how many were given.
    fn double(room: usize, tried: &mut Vec<usize>) -> impl FnMut(&[f32], &mut [f32]) -> Result<()> {
        move |images, outputs| {
            tried.push(images.len());
            if images.len() > room {
                let message = format!("Failed to allocate memory for requested buffer of size {}", images.len());
                return Err(Error::Engine { path: "net.onnx".into(), engine: "onnxruntime", action: "run", message });
            }
            outputs.iter_mut().zip(images).for_each(|(output, image)| *output = 2.0 * image);
            Ok(())
        }
    }

    fn images(count: usize) -> (Vec<f32>, Vec<f32>) {
        (0..count).map(|image| (image as f32, 2.0 * image as f32)).unzip()
    }

    #[test]
    fn a_batch_that_memory_does_not_hold_is_halved_for_good() {
        let (most, mut tried, (images, expected)) = (AtomicUsize::new(64), Vec::new(), images(20));
        let mut outputs = vec![0.0; 20];
        within_memory(&most, &images, &mut outputs, 1, 1, double(6, &mut tried)).expect("in parts");
        assert_eq!(outputs, expected);
        assert_eq!(tried, [20, 10, 5, 5, 5, 5]);
        tried.clear();
        within_memory(&most, &images[..7], &mut outputs[..7], 1, 1, double(6, &mut tried)).expect("in parts");
        assert_eq!(tried, [5, 2]);
    }

    #[test]
    fn a_batch_that_is_whole_only_with_rows_of_zeros_is_halved_too() {
        for (count, rows, room, expected) in [(5, 8, 2, vec![8, 4, 2, 2, 2]), (63, 63, 40, vec![63, 32, 32])] {
            let (most, mut tried, (images, doubled)) = (AtomicUsize::new(usize::MAX), Vec::new(), images(count));
            let mut outputs = vec![0.0; count];
            halved(rows, &most, |rows| of_fixed_size(rows, &images, &mut outputs, 1, 1, double(room, &mut tried)))
                .expect("in parts");
            assert_eq!(outputs, doubled);
            assert_eq!(most.into_inner(), *tried.last().expect("tried"));
            assert_eq!(tried, expected);
        }
    }

    #[test]
    fn a_single_image_that_memory_does_not_hold_fails() {
        let mut tried = Vec::new();
        let outcome =
            within_memory(&AtomicUsize::new(64), &[1.0, 2.0, 3.0], &mut [0.0; 3], 1, 1, double(0, &mut tried));
        assert!(outcome.expect_err("no room").to_string().contains("Failed to allocate memory"));
        assert_eq!(tried, [3, 2, 1]);
    }
}
