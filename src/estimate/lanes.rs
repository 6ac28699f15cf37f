//! The inner loops, each over one block of resamples at once: one lane per resample.
//!
//! Plain integer and float arithmetic, compiled for several instruction sets and chosen at run time. All of them give
//! the same bits: integers are exact, and no float operation is fused or reordered.

use multiversion::multiversion;

/// Resamples that are worked on together: one cache line of weights.
pub const LANES: usize = 64;

/// The weights of one image in one block of resamples.
pub type Row = [u8; LANES];

/// Adds `sum over images of weight * count` to `total`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn add_weighted(block: &[Row], counts: &[i32], total: &mut [i32; LANES]) {
    let mut sum = *total;
    for (row, &count) in block.iter().zip(counts) {
        for lane in 0..LANES {
            sum[lane] += i32::from(row[lane]) * count;
        }
    }
    *total = sum;
}

/// Adds `sum over images of weight * value` to `total`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn add_scaled(block: &[Row], values: &[f64], total: &mut [f64; LANES]) {
    let mut sum = *total;
    for (row, &value) in block.iter().zip(values) {
        for lane in 0..LANES {
            sum[lane] += f64::from(row[lane]) * value;
        }
    }
    *total = sum;
}

/// Adds `sum over images of weight^2` to `total`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn add_squares(block: &[Row], total: &mut [i32; LANES]) {
    let mut sum = *total;
    for row in block {
        for lane in 0..LANES {
            sum[lane] += i32::from(row[lane]) * i32::from(row[lane]);
        }
    }
    *total = sum;
}

/// Adds `sum over partners of weight * partner's weight` to `total`: the weights of one image's pairs.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn add_products(block: &[Row], image: u32, partners: &[u32], total: &mut [i32; LANES]) {
    // 256 weights of at most 181 fit 16 bits.
    for partners in partners.chunks(256) {
        let mut sum = [0_u16; LANES];
        for &partner in partners {
            let row = &block[partner as usize];
            for lane in 0..LANES {
                sum[lane] += u16::from(row[lane]);
            }
        }
        let row = &block[image as usize];
        for lane in 0..LANES {
            total[lane] += i32::from(row[lane]) * i32::from(sum[lane]);
        }
    }
}

/// Adds `sum over partners of weight * partner's weight * value` to `total`; `block` holds the weights as floats.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn add_scaled_products(
    block: &[[f32; LANES]],
    image: u32,
    partners: &[u32],
    values: &[f32],
    total: &mut [f64; LANES],
) {
    // Short single-precision sums keep the rounding of the whole near 1e-7.
    for (partners, values) in partners.chunks(256).zip(values.chunks(256)) {
        let mut sum = [0.0_f32; LANES];
        for (&partner, &value) in partners.iter().zip(values) {
            let row = &block[partner as usize];
            for lane in 0..LANES {
                sum[lane] += row[lane] * value;
            }
        }
        let row = &block[image as usize];
        for lane in 0..LANES {
            total[lane] += f64::from(row[lane]) * f64::from(sum[lane]);
        }
    }
}

/// Walks single images: takes each weight from `need` and counts in `passed` the steps that leave some.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn walk_images(block: &[Row], steps: &[u32], need: &mut [i16; LANES], passed: &mut [u16; LANES]) {
    let (mut left, mut count) = (*need, *passed);
    for &image in steps {
        let row = &block[image as usize];
        for lane in 0..LANES {
            left[lane] = left[lane].saturating_sub(i16::from(row[lane]));
            count[lane] += u16::from(left[lane] > 0);
        }
    }
    (*need, *passed) = (left, count);
}

/// Walks pairs of images, whose weight is the product of the two.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn walk_pairs(block: &[Row], steps: &[[u32; 2]], need: &mut [i16; LANES], passed: &mut [u16; LANES]) {
    let (mut left, mut count) = (*need, *passed);
    for &[one, other] in steps {
        let (one, other) = (&block[one as usize], &block[other as usize]);
        for lane in 0..LANES {
            // At most 181 * 181 < 2^15.
            left[lane] = left[lane].saturating_sub(i16::from(one[lane]) * i16::from(other[lane]));
            count[lane] += u16::from(left[lane] > 0);
        }
    }
    (*need, *passed) = (left, count);
}

/// `|a - b|^2` in single precision, summed in 16 interleaved parts.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut parts = [0.0_f32; 16];
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for part in 0..16 {
            parts[part] += (a[part] - b[part]) * (a[part] - b[part]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
    parts.iter().sum::<f32>() + rest
}

/// Sum in double precision, in 16 interleaved parts.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx2"))]
pub fn sum(values: &[f32]) -> f64 {
    let mut parts = [0.0_f64; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for part in 0..16 {
            parts[part] += f64::from(chunk[part]);
        }
    }
    parts.iter().sum::<f64>() + rest.iter().copied().map(f64::from).sum::<f64>()
}
