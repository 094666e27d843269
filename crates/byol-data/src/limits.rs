//! What is too much: pictures, pixels, bytes of a file, bytes in memory.

use std::path::Path;

use crate::DataError;

/// Refuses more pictures than a place can count.
pub(crate) fn check_count(path: &Path, count: usize) -> Result<(), DataError> {
    match u32::try_from(count) {
        Ok(_) => Ok(()),
        Err(_) => Err(DataError::TooManyImages { path: path.into(), count }),
    }
}

/// Refuses a file of more than `data.max_file_bytes`.
pub(crate) fn check_file_size(size_bytes: u64, max_bytes: u64) -> Result<(), String> {
    if size_bytes > max_bytes {
        return Err(format!("the file has {size_bytes} bytes, more than data.max_file_bytes = {max_bytes} allows"));
    }
    Ok(())
}

/// Refuses what takes more than `data.max_archive_memory_bytes`.
pub(crate) fn check_memory(path: &Path, needed_bytes: u64, limit_bytes: u64) -> Result<(), DataError> {
    if needed_bytes > limit_bytes {
        return Err(DataError::TooMuchMemory { path: path.into(), limit_bytes, remedy: "raise it" });
    }
    Ok(())
}

/// Refuses a picture without pixels or of more than `data.max_image_pixels`.
pub(crate) fn check_size(width_px: u64, height_px: u64, max_image_pixels: u64) -> Result<(), String> {
    if width_px == 0 || height_px == 0 {
        return Err(format!("the picture is {width_px}×{height_px} pixels"));
    }
    if width_px * height_px > max_image_pixels {
        return Err(format!(
            "the picture is {width_px}×{height_px} pixels, more than data.max_image_pixels = {max_image_pixels} allows"
        ));
    }
    Ok(())
}
