//! The vector instructions of this machine, found at run time; results are the same bits as without them.
//!
//! The plain loops are compiled a second time for AVX2. Only the reads at scattered positions, which the compiler does
//! not vectorise, are written out.

use super::direction::fill_direction;
use super::field::{Displacement, Field, Sines, measure};
use super::gaussian::{Window, gaussian};
use super::lanes::{squared_distance, sum_of_squares};
use super::modes::Coefficients;
use super::noise::add_scaled;
use super::remap::{Cells, bilinear};
use crate::probe::Shape;

/// Which instructions the loops use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kernel {
    /// Those that every machine of this kind has.
    Plain,
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

/// Evidence that this machine has AVX2: only [`Kernel::detect`] makes it.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Kernel {
    /// The best of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self::Avx2(Avx2(()));
        }
        Self::Plain
    }
}

/// Functions of [`Kernel`] that choose between a plain loop and the same loop inlined where AVX2 is allowed.
macro_rules! kernels {
    ($($name:ident: $plain:path, $vector:path, ($($argument:ident: $type:ty),*) -> $out:ty;)*) => {
        impl Kernel {
            $(pub fn $name(self, $($argument: $type),*) -> $out {
                #[cfg(target_arch = "x86_64")]
                #[target_feature(enable = "avx2")]
                fn vector($($argument: $type),*) -> $out {
                    $vector($($argument),*)
                }
                match self {
                    Self::Plain => $plain($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: the evidence exists only on a machine with AVX2.
                    Self::Avx2(_) => unsafe { vector($($argument),*) },
                }
            })*
        }
    };
}

kernels! {
    displace: Sines::displace, Sines::displace,
        (sines: &Sines, shape: Shape, temperature: f64, coefficients: &Coefficients, field: &mut Field) -> ();
    measure: measure, measure, (shape: Shape, dx: &[f32], dy: &[f32]) -> Displacement;
    bilinear: bilinear, avx2::bilinear,
        (shape: Shape, displacement: (&[f32], &[f32]), image: &[f32], out: &mut [f32], cells: &mut Cells) -> ();
    gaussian: gaussian, gaussian,
        (shape: Shape, displacement: (&[f32], &[f32]), image: &[f32], out: &mut [f32], cells: &mut Cells,
            window: &mut Window) -> ();
    fill_direction: fill_direction, fill_direction, (key: u64, out: &mut [f32]) -> ();
    sum_of_squares: sum_of_squares, sum_of_squares, (values: &[f32]) -> f64;
    squared_distance: squared_distance, squared_distance, (a: &[f32], b: &[f32]) -> f64;
    add_scaled: add_scaled, add_scaled, (base: &[f32], scale: f32, out: &mut [f32]) -> ();
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256, __m256d, _mm256_add_ps, _mm256_castpd_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps,
        _mm256_setr_pd, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_sub_ps,
    };

    use crate::perturb::lanes::LANES;
    use crate::perturb::remap::{Cells, for_each_row};
    use crate::probe::Shape;

    /// The bilinear rule by [`bilinear_row`].
    #[target_feature(enable = "avx2")]
    pub(super) fn bilinear(
        shape: Shape,
        displacement: (&[f32], &[f32]),
        image: &[f32],
        out: &mut [f32],
        cells: &mut Cells,
    ) {
        for_each_row(shape, displacement, cells, |y, cells| bilinear_row(shape, y, image, cells, out));
    }

    /// The same sums as the portable form, eight pixels at a time; two horizontal neighbours are one 64-bit read.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn bilinear_row(shape: Shape, y: usize, image: &[f32], cells: &Cells, out: &mut [f32]) {
        let (width, plane) = (shape.width, shape.plane());
        assert!(width >= 2 && shape.height >= 2, "two rows of two pixels at least");
        // The lower right neighbour of the last corner is the last pixel.
        let (last, one) = ((plane - width - 2) as u32, _mm256_set1_ps(1.0));
        let corners = cells.column.as_chunks::<LANES>().0.iter().zip(cells.row.as_chunks::<LANES>().0);
        let fractions = cells.right.as_chunks::<LANES>().0.iter().zip(cells.down.as_chunks::<LANES>().0);
        for (x, ((columns, rows), (right, down))) in (0..width).step_by(LANES).zip(corners.zip(fractions)) {
            let corners = std::array::from_fn(|lane| (rows[lane] * width as u32 + columns[lane]).min(last));
            let (right, down) = (vector(right), vector(down));
            let (left, up) = (_mm256_sub_ps(one, right), _mm256_sub_ps(one, down));
            for (image, out) in image.chunks_exact(plane).zip(out.chunks_exact_mut(plane)) {
                // SAFETY: corners are at most plane - width - 2, so both pixels of both rows lie inside the plane.
                let (upper, lower) =
                    unsafe { (pairs(image.as_ptr(), &corners), pairs(image[width..].as_ptr(), &corners)) };
                let (upper, lower) = (mix(upper, left, right), mix(lower, left, right));
                let values = _mm256_add_ps(_mm256_mul_ps(upper, up), _mm256_mul_ps(lower, down));
                let block = array(values);
                let row = &mut out[y * width + x..(y + 1) * width];
                match row.first_chunk_mut() {
                    Some(full) => *full = block,
                    None => row.copy_from_slice(&block[..row.len()]),
                }
            }
        }
    }

    /// The pixels at eight corners, each with its right neighbour; quicker than gather instructions.
    ///
    /// # Safety
    /// `from` is the start of a slice that holds every corner and the value after it.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn pairs(from: *const f32, corners: &[u32; LANES]) -> (__m256d, __m256d) {
        // SAFETY: the caller vouches for both values of each corner; 64 bits at a time, in any alignment.
        let pair = |lane: usize| unsafe { from.add(corners[lane] as usize).cast::<f64>().read_unaligned() };
        // The shuffles that part left from right neighbours keep to 128-bit halves; this order makes up for it.
        (_mm256_setr_pd(pair(0), pair(1), pair(4), pair(5)), _mm256_setr_pd(pair(2), pair(3), pair(6), pair(7)))
    }

    /// `left neighbour * left + right neighbour * right` of pixels 0 1 4 5 and 2 3 6 7, in the order of the pixels.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn mix(pairs: (__m256d, __m256d), left: __m256, right: __m256) -> __m256 {
        let (first, second) = (_mm256_castpd_ps(pairs.0), _mm256_castpd_ps(pairs.1));
        let lefts = _mm256_shuffle_ps::<0b10_00_10_00>(first, second);
        let rights = _mm256_shuffle_ps::<0b11_01_11_01>(first, second);
        _mm256_add_ps(_mm256_mul_ps(lefts, left), _mm256_mul_ps(rights, right))
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn vector(array: &[f32; LANES]) -> __m256 {
        // SAFETY: reads the eight f32 of the array, which need no alignment here.
        unsafe { _mm256_loadu_ps(array.as_ptr()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn array(vector: __m256) -> [f32; LANES] {
        let mut array = [0.0; LANES];
        // SAFETY: writes the eight f32 of the array, which need no alignment here.
        unsafe { _mm256_storeu_ps(array.as_mut_ptr(), vector) };
        array
    }
}
