//! Single-threaded matrix products on strided views of slices.

/// A read-only `[rows, columns]` view; rows may overlap.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major view whose rows start `row_stride` values apart.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(rows > 0 && columns > 0, "empty matrix");
        assert!((rows - 1) * row_stride + columns <= values.len(), "matrix view exceeds its slice");
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    /// The same values as `[columns, rows]`.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// What happens to the previous content of the destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// `destination = left · right`
    Overwrite,
    /// `destination = destination + left · right`
    Add,
}

/// Product of `left` `[m, k]` and `right` `[k, n]` into the dense row-major `destination` `[m, n]`, on this thread.
pub(crate) fn multiply(destination: &mut [f32], write: Write, left: Matrix, right: Matrix) {
    assert_eq!(left.columns, right.rows, "inner dimensions of a matrix product");
    assert_eq!(destination.len(), left.rows * right.columns, "length of a matrix product's destination");
    // SAFETY: `Matrix` checks at construction that its last element lies in its slice, and transposing keeps the set of
    // elements; the destination is dense with exactly m·n values (checked above) and, as a `&mut`, overlaps neither
    // operand. All strides are below the slice lengths and so fit in isize. `Overwrite` does not read the destination.
    #[expect(unsafe_code, reason = "gemm's interface is raw pointers")]
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            destination.as_mut_ptr(),
            1,
            right.columns as isize,
            write == Write::Add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
