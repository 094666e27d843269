//! What a file is, by its first bytes and by its name.

use image::ImageFormat;

const DICOM: &str = "a DICOM file";

/// The format by its first bytes.
pub(crate) fn format_of(bytes: &[u8]) -> Result<ImageFormat, String> {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") {
        // BigTIFF.
        return Ok(Tiff);
    }
    match image::guess_format(bytes) {
        Ok(format @ (Jpeg | Png | WebP | Bmp | Tiff | Gif)) => Ok(format),
        Ok(_) | Err(_) => Err(match by_content(bytes) {
            Some(DICOM) => {
                format!("{DICOM}, which this build does not read; build with --features dicom, or convert it to PNG")
            }
            Some(name) => format!("{name}, which is not read; convert it to JPEG, PNG or TIFF"),
            None if bytes.is_empty() => "the file is empty".into(),
            None => "not a picture (content of no known format)".into(),
        }),
    }
}

/// The name of a picture format that is not read, by the first bytes if they are at hand and else by the ending of the name;
/// `None` for pictures that are read and for files that are no pictures.
pub fn unread_format(name: &str, head: Option<&[u8]>) -> Option<&'static str> {
    let format = match head {
        Some(head) if !head.is_empty() => by_content(head),
        _ => by_name(name),
    };
    format.filter(|&name| cfg!(not(feature = "dicom")) || name != DICOM)
}

fn by_content(head: &[u8]) -> Option<&'static str> {
    let at = |place: usize, mark: &[u8]| head.get(place..).is_some_and(|rest| rest.starts_with(mark));
    if at(4, b"ftyp") {
        let brand = head.get(8..12)?;
        return match brand {
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => Some("a HEIC picture"),
            b"avif" | b"avis" => Some("an AVIF picture"),
            b"crx " => Some("a raw camera picture"),
            _ => Some("a video or other media file"),
        };
    }
    if at(128, b"DICM") {
        return Some(DICOM);
    }
    // The mark of a portable map is short: what follows must be white space.
    if let [b'P', kind @ b'1'..=b'7', space, ..] = head
        && space.is_ascii_whitespace()
    {
        return Some(if matches!(kind, b'1' | b'4') { "a PBM picture" } else { "a PGM, PPM or PAM picture" });
    }
    let marks: [(&[u8], &'static str); 19] = [
        (b"\0\0\0\x0CJXL \r\n\x87\n", "a JPEG XL picture"),
        (b"\xFF\x0A", "a JPEG XL picture"),
        (b"\0\0\0\x0CjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"\xFF\x4F\xFF\x51", "a JPEG 2000 picture"),
        (b"8BPS", "a Photoshop file"),
        (b"II\xBC\x01", "a JPEG XR picture"),
        (b"gimp xcf", "a GIMP file"),
        (b"\x76\x2F\x31\x01", "an OpenEXR picture"),
        (b"#?RADIANCE", "a Radiance HDR picture"),
        (b"farbfeld", "a farbfeld picture"),
        (b"qoif", "a QOI picture"),
        (b"DDS ", "a DDS texture"),
        (b"\0\0\x01\0", "an icon"),
        (b"%PDF", "a PDF file"),
        (b"SIMPLE  =", "a FITS file"),
        (b"\x89HDF\r\n\x1A\n", "an HDF5 file"),
        (b"FUJIFILMCCD-RAW", "a raw camera picture"),
        (b"IIRO", "a raw camera picture"),
        (b"IIU\0", "a raw camera picture"),
    ];
    if let Some((_, name)) = marks.into_iter().find(|(mark, _)| head.starts_with(mark)) {
        return Some(name);
    }
    let start = &head[..head.len().min(512)];
    memchr::memmem::find(start, b"<svg").map(|_| "an SVG drawing")
}

fn by_name(name: &str) -> Option<&'static str> {
    let base = name.rsplit('/').next().unwrap_or(name);
    let (stem, ending) = base.rsplit_once('.')?;
    let ending = ending.to_ascii_lowercase();
    Some(match ending.as_str() {
        "heic" | "heif" | "hif" => "a HEIC picture",
        "avif" | "avifs" => "an AVIF picture",
        "jxl" => "a JPEG XL picture",
        "jp2" | "j2k" | "jpf" | "jpx" | "j2c" | "jpc" => "a JPEG 2000 picture",
        "jxr" | "wdp" | "hdp" => "a JPEG XR picture",
        "ppm" | "pgm" | "pnm" | "pam" => "a PGM, PPM or PAM picture",
        "pbm" => "a PBM picture",
        "psd" | "psb" => "a Photoshop file",
        "xcf" => "a GIMP file",
        "svg" | "svgz" => "an SVG drawing",
        "exr" => "an OpenEXR picture",
        "hdr" => "a Radiance HDR picture",
        "dcm" | "dicom" | "ima" => DICOM,
        "nii" | "nrrd" | "nhdr" | "mha" | "mhd" => "a medical volume",
        "gz" if stem.to_ascii_lowercase().ends_with(".nii") => "a medical volume",
        "fits" | "fit" | "fts" => "a FITS file",
        "ico" | "cur" => "an icon",
        "tga" => "a TGA picture",
        "dds" => "a DDS texture",
        "qoi" => "a QOI picture",
        "ff" => "a farbfeld picture",
        "pcx" => "a PCX picture",
        "cr2" | "cr3" | "crw" | "nef" | "nrw" | "arw" | "srf" | "sr2" | "dng" | "orf" | "rw2" | "raf" | "pef"
        | "srw" | "x3f" | "3fr" | "iiq" | "erf" | "kdc" | "dcr" | "mrw" => "a raw camera picture",
        "svs" | "ndpi" | "mrxs" | "scn" | "vsi" | "czi" | "lif" | "nd2" | "oib" | "oif" => {
            "a microscope's or slide scanner's file"
        }
        "mp4" | "mov" | "avi" | "mkv" | "webm" | "m4v" | "mpg" | "mpeg" | "wmv" => "a video or other media file",
        "pdf" => "a PDF file",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_are_not_read_have_names() {
        #[cfg(not(feature = "dicom"))]
        let dicom = [&[0; 128][..], b"DICM\x02\0"].concat();
        for (head, name, expected) in [
            (&b"\0\0\0\x18ftypheic\0\0"[..], "a.heic", "HEIC"),
            (b"\0\0\0\x1Cftypavif\0\0", "a.AVIF", "AVIF"),
            (b"P6\n3 2\n255\n", "x/y.ppm", "PPM"),
            (b"P5 3 2 255 ", "a.pgm", "PGM"),
            (b"\xFF\x4F\xFF\x51\0", "a.j2k", "JPEG 2000"),
            (b"\0\0\0\x0CjP  \r\n\x87\n", "a.jp2", "JPEG 2000"),
            (b"\0\0\0\x0CJXL \r\n\x87\n", "a.jxl", "JPEG XL"),
            (b"8BPS\0\x01", "a.psd", "Photoshop"),
            (b"<?xml version=\"1.0\"?><svg xmlns=\"\">", "a.svg", "SVG"),
            #[cfg(not(feature = "dicom"))]
            (&dicom, "a.dcm", "DICOM"),
            (b"v/1\x01\x02", "a.exr", "OpenEXR"),
            (b"FUJIFILMCCD-RAW 02", "a.raf", "raw camera"),
        ] {
            let reason = format_of(head).unwrap_err();
            assert!(reason.contains(expected) && reason.contains("convert"), "{reason}");
            assert!(unread_format(name, None).unwrap().contains(expected), "{name}");
            assert_eq!(unread_format("no_ending", Some(head)), by_content(head));
        }
        for name in ["a.jpg", "notes.txt", "labels.csv", "PPM", "archive.tar.gz"] {
            assert_eq!(unread_format(name, None), None, "{name}");
        }
        assert_eq!(unread_format("scan.nii.gz", None), Some("a medical volume"));
        assert_eq!(unread_format("a", Some(b"P61")), None);
    }
}
