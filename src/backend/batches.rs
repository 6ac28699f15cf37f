//! Batches of the size that a network insists on, and of one that memory holds.

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

/// Runs a batch of `rows`, or of half as many wherever memory does not hold it, down to a single one.
pub fn halved<T>(rows: &mut usize, mut run: impl FnMut(usize) -> Result<T>) -> Result<T> {
    loop {
        match run(*rows) {
            Err(error) if *rows > 1 && is_out_of_memory(&error) => *rows /= 2,
            outcome => return outcome,
        }
    }
}

/// Runs `images` in batches of at most `most` rows, which `run` is told too; one that is halved halves all that follow.
pub fn within_memory(
    most: &mut usize,
    images: &[f32],
    outputs: &mut [f32],
    row: usize,
    outputs_per_row: usize,
    mut run: impl FnMut(usize, &[f32], &mut [f32]) -> Result<()>,
) -> Result<()> {
    let (all, mut done) = (images.len() / row, 0);
    while done < all {
        let wanted = (all - done).min(*most);
        let mut rows = wanted;
        halved(&mut rows, |rows| {
            if rows < wanted {
                *most = rows;
            }
            let end = done + rows;
            run(*most, &images[done * row..end * row], &mut outputs[done * outputs_per_row..end * outputs_per_row])
        })?;
        done += rows;
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

    /// A network of one number for each image, on a machine that holds `room` images.
    fn run(most: &mut usize, room: usize, images: &[f32]) -> (Result<Vec<f32>>, Vec<usize>) {
        let (mut outputs, mut tried) = (vec![0.0; images.len()], Vec::new());
        let outcome = within_memory(most, images, &mut outputs, 1, 1, |_, images, outputs| {
            tried.push(images.len());
            if images.len() > room {
                let message = format!("Failed to allocate memory for requested buffer of size {}", images.len());
                return Err(Error::Engine { path: "net.onnx".into(), engine: "onnxruntime", action: "run", message });
            }
            outputs.iter_mut().zip(images).for_each(|(output, image)| *output = 2.0 * image);
            Ok(())
        });
        (outcome.map(|()| outputs), tried)
    }

    #[test]
    fn a_batch_that_memory_does_not_hold_is_halved_for_good() {
        let images: Vec<f32> = (0..20).map(|image| image as f32).collect();
        let mut most = 64;
        let (outputs, tried) = run(&mut most, 6, &images);
        assert_eq!(outputs.expect("in parts"), images.iter().map(|image| 2.0 * image).collect::<Vec<_>>());
        assert_eq!(tried, [20, 10, 5, 5, 5, 5]);
        assert_eq!(run(&mut most, 6, &images[..7]).1, [5, 2]);
    }

    #[test]
    fn a_batch_that_is_whole_only_with_rows_of_zeros_is_halved_too() {
        let (mut most, mut tried, mut outputs) = (usize::MAX, Vec::new(), vec![0.0; 5]);
        let room = |most: usize, _: &[f32], _: &mut [f32]| {
            tried.push(most.min(8));
            let message = "out of memory".to_owned();
            let error = Error::Engine { path: "net.onnx".into(), engine: "onnxruntime", action: "run", message };
            if most.min(8) > 2 { Err(error) } else { Ok(()) }
        };
        within_memory(&mut most, &[1.0; 5], &mut outputs, 1, 1, room).expect("in parts");
        assert_eq!((tried, most), (vec![8, 2, 2, 2], 2));
    }

    #[test]
    fn a_single_image_that_memory_does_not_hold_fails() {
        let (outcome, tried) = run(&mut 64, 0, &[1.0, 2.0, 3.0]);
        assert!(outcome.expect_err("no room").to_string().contains("Failed to allocate memory"));
        assert_eq!(tried, [3, 1]);
    }
}
