//! The vector instructions of this machine, found at run time; results are the same bits as without them.
//!
//! The plain loops are compiled a second time for AVX2. Only the reads at scattered positions, which the compiler does
//! not vectorise, are written out.

use super::remap::{Cells, bilinear_row};
use crate::probe::Shape;

/// Which instructions the loops use.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kernel {
    /// Those that every machine of this kind has.
    Plain,
    /// 256-bit vectors and gathers.
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

    /// Runs loops, compiled for these instructions as far as they are inlined.
    pub fn run<R>(self, loops: impl FnOnce(Self) -> R) -> R {
        match self {
            Self::Plain => loops(Self::Plain),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the evidence exists only on a machine with AVX2.
            Self::Avx2(evidence) => unsafe { avx2::run(|| loops(Self::Avx2(evidence))) },
        }
    }

    /// One row of all channels by the bilinear rule.
    #[inline]
    pub fn bilinear_row(self, shape: Shape, y: usize, image: &[f32], cells: &Cells, out: &mut [f32]) {
        match self {
            Self::Plain => bilinear_row(shape, y, image, cells, out),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the evidence exists only on a machine with AVX2.
            Self::Avx2(_) => unsafe { avx2::br2(shape, y, image, cells, out) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;
    use std::arch::x86_64::{
        __m256, __m256d, _mm256_add_epi32, _mm256_add_ps, _mm256_castpd_ps, _mm256_castsi256_si128,
        _mm256_extracti128_si256, _mm256_i32gather_pd, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_min_epu32,
        _mm256_mul_ps, _mm256_mullo_epi32, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_ps,
        _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_sub_ps,
    };

    use crate::perturb::field::LANES;
    use crate::perturb::remap::Cells;
    use crate::probe::Shape;

    #[target_feature(enable = "avx2")]
    pub(super) fn br2(shape: Shape, y: usize, image: &[f32], cells: &Cells, out: &mut [f32]) {
        crate::perturb::remap::bilinear_row(shape, y, image, cells, out)
    }
    #[target_feature(enable = "avx2")]
    pub(super) fn run<R>(loops: impl FnOnce() -> R) -> R {
        loops()
    }

    /// The same sums as the portable form, eight pixels at a time; two horizontal neighbours are one 64-bit read.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn bilinear_row(shape: Shape, y: usize, image: &[f32], cells: &Cells, out: &mut [f32]) {
        let (width, plane) = (shape.width, shape.plane());
        assert!(width >= 2 && shape.height >= 2, "two rows of two pixels at least");
        // The lower right neighbour of the last corner is the last pixel.
        let last = _mm256_set1_epi32((plane - width - 2) as i32);
        let (stride, one) = (_mm256_set1_epi32(width as i32), _mm256_set1_ps(1.0));
        let corners = cells.column.as_chunks::<LANES>().0.iter().zip(cells.row.as_chunks::<LANES>().0);
        let fractions = cells.right.as_chunks::<LANES>().0.iter().zip(cells.down.as_chunks::<LANES>().0);
        for (x, ((columns, rows), (right, down))) in (0..width).step_by(LANES).zip(corners.zip(fractions)) {
            // SAFETY: reads the eight u32 or f32 of four arrays, which need no alignment here.
            let (columns, rows, right, down) = unsafe {
                (
                    _mm256_loadu_si256(columns.as_ptr().cast()),
                    _mm256_loadu_si256(rows.as_ptr().cast()),
                    _mm256_loadu_ps(right.as_ptr()),
                    _mm256_loadu_ps(down.as_ptr()),
                )
            };
            let corner = _mm256_add_epi32(_mm256_mullo_epi32(rows, stride), columns);
            // Pixels 0 1 4 5 and 2 3 6 7: the shuffles that part left from right neighbours bring back the order.
            let corner = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_min_epu32(corner, last));
            let (left, up) = (_mm256_sub_ps(one, right), _mm256_sub_ps(one, down));
            for (image, out) in image.chunks_exact(plane).zip(out.chunks_exact_mut(plane)) {
                // SAFETY: corners are at most plane - width - 2, so both pixels of both rows lie inside the plane.
                let (upper, lower) =
                    unsafe { (pairs(image.as_ptr(), corner), pairs(image.as_ptr().add(width), corner)) };
                let (upper, lower) = (mix(upper, left, right), mix(lower, left, right));
                let values = _mm256_add_ps(_mm256_mul_ps(upper, up), _mm256_mul_ps(lower, down));
                let mut block = [0.0; LANES];
                // SAFETY: writes the eight f32 of the array, which need no alignment here.
                unsafe { _mm256_storeu_ps(block.as_mut_ptr(), values) };
                let row = &mut out[y * width + x..(y + 1) * width];
                match row.first_chunk_mut() {
                    Some(full) => *full = block,
                    None => row.copy_from_slice(&block[..row.len()]),
                }
            }
        }
    }

    #[cfg(all())]
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn pairs(from: *const f32, corner: __m256i) -> (__m256d, __m256d) {
        let (first, second) = (_mm256_castsi256_si128(corner), _mm256_extracti128_si256::<1>(corner));
        unsafe { (_mm256_i32gather_pd::<4>(from.cast(), first), _mm256_i32gather_pd::<4>(from.cast(), second)) }
    }
    #[cfg(any())]
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn pairs(from: *const f32, corner: __m256i) -> (__m256d, __m256d) {
        let mut i = [0u32; 8];
        unsafe {
            _mm256_storeu_si256(i.as_mut_ptr().cast(), corner);
            let r = |k: usize| from.add(i[k] as usize).cast::<f64>().read_unaligned();
            (_mm256_setr_pd(r(0), r(1), r(2), r(3)), _mm256_setr_pd(r(4), r(5), r(6), r(7)))
        }
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
}
