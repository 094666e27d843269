//! Damaged, hostile and vanishing files: each is one bad picture with a reason, and the loader goes on.

use std::fs::{self, File};
use std::io::{self, Cursor, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use byol_data::views::{EvaluationConfig, Semantics, Views, ViewsConfig, blur_taps};
use byol_data::{
    BadImage, DataConfig, DataError, Dataset, EvaluationLoader, EvaluationOptions, Image, LoaderOptions, Measured,
    PairLoader, Random, Stream, ValueRange, flaw,
};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use tempfile::TempDir;

const MUTATIONS: u64 = 10_000;
/// Generous: right answers take less than a hundredth of it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Four times what the limits of this file's tests allow together.
const MAX_PEAK_BYTES: u64 = 1 << 30;

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pictures")
}

fn read(name: &str) -> Vec<u8> {
    fs::read(pictures().join(name)).unwrap()
}

fn small(channels: usize) -> DataConfig {
    DataConfig { channels, max_image_pixels: 1 << 16, ..DataConfig::default() }
}

/// Runs `work` on a thread of its own and fails if it does not end; `now` says what it is at.
fn within<T: Send + 'static>(
    limit: Duration,
    now: &Arc<Mutex<String>>,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (to_us, done) = channel();
    let thread = thread::spawn(move || {
        let _ = to_us.send(work());
    });
    match done.recv_timeout(limit) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("hangs: {}", now.lock().unwrap()),
        Err(RecvTimeoutError::Disconnected) => panic!("{}: {:?}", now.lock().unwrap(), thread.join()),
    }
}

/// The most memory this process has had, where the system tells.
fn assert_peak_memory_is_small() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:")) else { return };
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib * 1024 < MAX_PEAK_BYTES, "{kib} KiB");
}

/// Decodes within the time allowed: an image of the size it states, or one line.
fn decode_well(what: &str, bytes: &[u8], config: &DataConfig) -> Result<Image, String> {
    let started = Instant::now();
    let decoded = catch_unwind(AssertUnwindSafe(|| byol_data::decode(bytes, config, None)))
        .unwrap_or_else(|_| panic!("{what}: panic"));
    assert!(started.elapsed() < PATIENCE, "{what}: {:?}", started.elapsed());
    match &decoded {
        Ok(image) => {
            let pixels = image.width_px() * image.height_px();
            assert!(pixels as u64 <= config.max_image_pixels, "{what}: {pixels} pixels");
            assert_eq!(
                (image.channels(), image.samples().len()),
                (config.channels, pixels * config.channels),
                "{what}"
            );
        }
        Err(reason) => assert!(!reason.is_empty() && !reason.contains('\n') && reason.len() < 500, "{what}: {reason}"),
    }
    decoded
}

fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let mut below = |count: usize| random.below(count.max(1) as u64) as usize;
    for _ in 0..=below(3) {
        let len = out.len();
        let (from, to) = (below(len), below(len));
        let run = from..(from + below(64)).min(len);
        match below(7) {
            0 => (0..=below(8)).for_each(|_| out[below(len)] ^= 1 << below(8)),
            1 => {
                let fill = [0x00, 0xFF, 0x7F, below(256) as u8][below(4)];
                out[run].fill(fill);
            }
            2 => out.truncate(from + 1),
            3 => {
                let copy = out[run].to_vec();
                out.splice(to..to, copy);
            }
            4 => {
                out.drain(run.start..run.end.min(len - 1).max(run.start));
            }
            5 => run.for_each(|at| out.swap(at, (at + to) % len)),
            // Sizes, offsets and counts stand in the head, at its end in TIFF; whole numbers of 1, 2 or 4 bytes.
            _ => {
                let value =
                    [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, u32::MAX][below(11)];
                let field = if below(2) == 0 { value.to_be_bytes() } else { value.to_le_bytes() };
                let at = if below(4) == 0 { from } else { below(len.min(300)) };
                let width = [1, 2, 4][below(3)].min(len - at);
                let start = if field[0] == 0 && value > 0 { 4 - width } else { 0 };
                out[at..at + width].copy_from_slice(&field[start..start + width]);
            }
        }
    }
    if below(2) == 0 {
        repair_png_checksums(&mut out);
    }
    out
}

/// Without this, the checksums of PNG would stop every mutation at the door.
fn repair_png_checksums(bytes: &mut [u8]) {
    let mut at = 8;
    while bytes.starts_with(b"\x89PNG") && at + 12 <= bytes.len() {
        let len = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        let end = at + 8 + len;
        if end + 4 > bytes.len() {
            return;
        }
        let checksum = crc32(&bytes[at + 4..end]);
        bytes[end..end + 4].copy_from_slice(&checksum.to_be_bytes());
        at = end + 4;
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn ten_thousand_damaged_files_give_an_image_or_one_line() {
    let folders = [pictures(), pictures().with_file_name("kinds")];
    let mut paths: Vec<_> =
        folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_none_or(|ending| ending != "json"));
    paths.sort();
    assert!(paths.len() > 80);
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let files: Vec<(String, Vec<u8>)> = paths.iter().map(|path| (name(path), fs::read(path).unwrap())).collect();
    let now = Arc::new(Mutex::new(String::new()));
    let at = Arc::clone(&now);
    let [good, bad] = within(Duration::from_secs(60), &now, move || {
        let mut counts = [0, 0];
        for item in 0..MUTATIONS {
            let (name, bytes) = &files[item as usize % files.len()];
            let what = format!("{name}, mutation {item}");
            at.lock().unwrap().clone_from(&what);
            let mutated = mutate(bytes, &mut Random::new(1, Stream::Drawing, 0, item));
            let channels = [1, 3, 4][(item / files.len() as u64) as usize % 3];
            let value_range = (item % 3 == 0).then_some(ValueRange::Measured(Measured::Percentile));
            let config = DataConfig { value_range, ..small(channels) };
            counts[usize::from(decode_well(&what, &mutated, &config).is_err())] += 1;
            let _ = flaw(&mutated);
        }
        counts
    });
    // Many damages are met after the header, and some change nothing that counts.
    assert!(good > 500 && bad > 2000, "{good} good, {bad} bad");
    assert_peak_memory_is_small();
}

/// `length` zeros, deflated.
fn zeros(length: u64) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    io::copy(&mut io::repeat(0).take(length), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

fn png_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let content = [kind, data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &content, &crc32(&content).to_be_bytes()].concat()
}

/// A TIFF of one deflated grey strip.
fn tiff(width: u32, height: u32, strip: &[u8]) -> Vec<u8> {
    let fields =
        [(256, width), (257, height), (258, 8), (259, 8), (262, 1), (273, 8), (278, height), (279, strip.len() as u32)];
    let mut bytes =
        [b"II\x2A\0", &(8 + strip.len() as u32).to_le_bytes()[..], strip, &[fields.len() as u8, 0]].concat();
    for (tag, value) in fields {
        // Type 4: a whole number of 32 bits.
        bytes.extend([&(tag as u16).to_le_bytes()[..], &[4, 0, 1, 0, 0, 0], &value.to_le_bytes()].concat());
    }
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn what_claims_too_many_pixels_is_refused_in_every_format() {
    let patched = |name: &str, at: usize, field: &[u8]| {
        let mut bytes = read(name);
        bytes[at..at + field.len()].copy_from_slice(field);
        repair_png_checksums(&mut bytes);
        bytes
    };
    let lossless = read("lossless_alpha.webp").windows(4).position(|four| four == b"VP8L").unwrap();
    let lossy = read("lossy.webp").windows(3).position(|three| three == [0x9D, 0x01, 0x2A]).unwrap();
    let cases = [
        ("PNG", patched("rgb.png", 16, &[0, 1, 0, 0, 0, 1, 0, 0])),
        ("GIF", patched("interlaced.gif", 6, &[0xFF; 4])),
        ("BMP", patched("rgb.bmp", 18, &[0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0])),
        ("TIFF", tiff(1 << 20, 1 << 20, &zeros(100))),
        ("lossless WebP", patched("lossless_alpha.webp", lossless + 9, &[0x00, 0x30, 0x00, 0x0C])),
        ("lossy WebP", patched("lossy.webp", lossy + 3, &[0xFF, 0x3F, 0xFF, 0x3F])),
    ];
    for (what, bytes) in cases {
        let reason = decode_well(what, &bytes, &small(3)).unwrap_err();
        assert!(reason.contains("data.max_image_pixels"), "{what}: {reason}");
    }
    assert_peak_memory_is_small();
}

#[test]
fn streams_that_expand_beyond_the_picture_cost_neither_memory_nor_time() {
    const EXPANDED: u64 = 2 << 30;
    let bomb = zeros(EXPANDED);
    let png = |chunks: &[Vec<u8>]| {
        let size = [0, 0, 0, 16, 0, 0, 0, 16, 8, 0, 0, 0, 0];
        [b"\x89PNG\r\n\x1A\n".to_vec(), png_chunk(b"IHDR", &size), chunks.concat(), png_chunk(b"IEND", &[])].concat()
    };
    let pixels = png_chunk(b"IDAT", &zeros(17 * 16));
    let profile = png_chunk(b"iCCP", &[b"p\0\0", &bomb[..]].concat());
    let text = png_chunk(b"zTXt", &[b"p\0\0", &bomb[..]].concat());
    // A frame far larger than its canvas of one pixel.
    let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF\x2C\0\0\0\0\xFF\xFF\xFF\xFF\0\x02".to_vec();
    gif.extend(b"\x02\x4C\x01\0\x3B");
    for (what, bytes) in [
        ("PNG pixels", png(&[png_chunk(b"IDAT", &bomb)])),
        ("PNG colour profile", png(&[profile, pixels.clone()])),
        ("PNG text", png(&[text, pixels])),
        ("TIFF strip", tiff(16, 16, &bomb)),
        ("GIF frame", gif),
    ] {
        let decoded = decode_well(what, &bytes, &DataConfig::default());
        // Whether what is too much is overlooked or an error is the decoder's choice, but where it is beside the pixels.
        let beside = ["PNG colour profile", "PNG text"].contains(&what);
        assert!(!beside || decoded.is_ok(), "{what}: {:?}", decoded.map(|_| ()));
    }
    assert_peak_memory_is_small();
}

/// Found by fuzzing: png 0.18.1 panics at it (image-rs/image-png#694).
#[test]
fn a_palette_of_broken_length_is_a_reason_and_no_panic() {
    let header = [0, 0, 0, 16, 0, 0, 0, 16, 4, 3, 0, 0, 0];
    let file = [
        b"\x89PNG\r\n\x1A\n".to_vec(),
        png_chunk(b"IHDR", &header),
        png_chunk(b"PLTE", &[9; 47]),
        png_chunk(b"IDAT", &zeros(9 * 16)),
        png_chunk(b"IEND", &[]),
    ]
    .concat();
    decode_well("palette", &file, &small(3)).unwrap_err();
}

/// A JPEG file whose last scan comes `times` times.
fn with_scans(name: &str, times: usize) -> Vec<u8> {
    let bytes = read(name);
    let scan = bytes.windows(2).rposition(|marker| marker == [0xFF, 0xDA]).unwrap();
    let end = bytes.len() - 2;
    assert_eq!(bytes[end..], [0xFF, 0xD9], "{name}");
    [&bytes[..scan], &bytes[scan..end].repeat(times), &bytes[end..]].concat()
}

#[test]
fn a_jpeg_with_an_absurd_number_of_scans_is_refused() {
    for name in ["progressive.jpg", "baseline.jpg"] {
        let reason = decode_well(name, &with_scans(name, 20_000), &DataConfig::default()).unwrap_err();
        assert!(reason.contains("scans, more than the 100"), "{name}: {reason}");
        let some = decode_well(name, &with_scans(name, 80), &DataConfig::default());
        assert!(some.is_ok(), "{name}: {some:?}");
    }
}

#[test]
fn large_comments_and_profiles_in_a_jpeg_change_nothing() {
    let bytes = read("baseline.jpg");
    let segment = |marker: u8, head: &[u8]| {
        let content = [head, &vec![b'x'; 65_000]].concat();
        [&[0xFF, marker], &(content.len() as u16 + 2).to_be_bytes()[..], &content].concat()
    };
    // 130 MB.
    let extra = [
        segment(0xFE, b""),
        segment(0xE1, b"Exif\0\0MM\0\x2A\xFF\xFF\xFF\xFF"),
        segment(0xE2, b"ICC_PROFILE\0\x01\xFF"),
        segment(0xED, b"Photoshop 3.0\0"),
    ]
    .concat()
    .repeat(500);
    let large = [&bytes[..2], &extra, &bytes[2..]].concat();
    assert_eq!(decode_well("large", &large, &small(3)), decode_well("as it is", &bytes, &small(3)));
    assert_peak_memory_is_small();
}

#[test]
fn one_pixel_goes_through_both_loaders() {
    for channels in [1, 3, 4] {
        let config = DataConfig { channels, ..DataConfig::default() };
        let dataset = Arc::new(Dataset::open(&pictures().join("one_pixel.png"), None, &config).unwrap());
        let (mean, std) = (vec![0.5; channels], vec![0.25; channels]);
        for semantics in [Semantics::Reference, Semantics::Torchvision] {
            for size_px in [1, 32, 224] {
                let mut config =
                    ViewsConfig { size_px, semantics, mean: mean.clone(), std: std.clone(), ..Default::default() };
                if blur_taps(size_px) == 1 {
                    (config.view1.blur_p, config.view2.blur_p) = (0.0, 0.0);
                }
                let loader = PairLoader::start(Arc::clone(&dataset), Views::new(config).unwrap(), options(8));
                let batches: Vec<_> = loader.map(Result::unwrap).collect();
                assert_eq!(batches.iter().map(|batch| batch.images.len()).sum::<usize>(), 8);
                for batch in &batches {
                    assert_eq!(batch.view1.len(), batch.images.len() * size_px * size_px * channels);
                    let inside = |value: &f32| (-2.001..2.001).contains(value);
                    assert!(batch.view1.iter().chain(&batch.view2).all(inside), "{channels} channels {semantics:?}");
                }
            }
        }
        let preprocessing = EvaluationConfig { size_px: 32, mean, std, ..EvaluationConfig::default() };
        let batch = EvaluationLoader::start(dataset.clone(), preprocessing, EvaluationOptions::of(&dataset, 4, 2))
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(batch.pixels.len(), 32 * 32 * channels);
    }
}

fn options(total_samples: u64) -> LoaderOptions {
    LoaderOptions {
        seed: 1,
        batch_size: 3,
        first_sample: 0,
        total_samples,
        rank: 0,
        ranks: 1,
        threads: 2,
        prefetch_batches: 1,
        max_bad_fraction: 0.5,
    }
}

fn png(red: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([red, x as u8 * 20, y as u8 * 30]));
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    bytes
}

/// Goes through the data twice; the places delivered, and the bad pictures reported.
fn load_all(what: &str, dataset: Dataset) -> Result<(Vec<u32>, Vec<BadImage>), DataError> {
    let now = Arc::new(Mutex::new(what.to_owned()));
    within(Duration::from_secs(20), &now, move || {
        let views = Views::new(ViewsConfig { size_px: 20, ..ViewsConfig::default() }).unwrap();
        let total = dataset.len() as u64 * 2;
        let (mut images, mut bad) = (Vec::new(), Vec::new());
        for batch in PairLoader::start(Arc::new(dataset), views, options(total)) {
            let batch = batch?;
            images.extend(batch.images);
            bad.extend(batch.bad);
        }
        Ok((images, bad))
    })
}

/// Four pictures are listed, then `change` is done to the second: it is told once, and the others go on.
fn check_change(what: &str, words: &str, change: impl FnOnce(&Path)) {
    let folder = TempDir::new().unwrap();
    for (red, name) in ["a.png", "b/b.png", "c.png", "d.png"].into_iter().enumerate() {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, png(red as u8)).unwrap();
    }
    let dataset = Dataset::open(folder.path(), None, &DataConfig::default()).unwrap();
    change(&folder.path().join("b/b.png"));
    let (images, bad) = load_all(what, dataset).unwrap();
    assert!(images.len() == 8 && !images.contains(&1), "{what}: {images:?}");
    assert!(matches!(&bad[..], [bad] if bad.name == "b/b.png" && bad.reason.contains(words)), "{what}: {bad:?}");
}

#[test]
fn a_picture_that_changes_after_listing_is_one_bad_picture() {
    let replaced = |path: &Path| fs::remove_file(path).unwrap();
    check_change("emptied", "the file is empty", |path| fs::write(path, b"").unwrap());
    check_change("cut short", "damaged Png file", |path| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    });
    check_change("removed", "cannot be read", replaced);
    check_change("its folder removed", "cannot be read", |path| fs::remove_dir_all(path.parent().unwrap()).unwrap());
    check_change("a folder", "no longer a file", |path| {
        replaced(path);
        fs::create_dir(path).unwrap();
    });
    check_change("beyond the limit", "data.max_file_bytes", |path| {
        File::options().write(true).open(path).unwrap().set_len(300 << 20).unwrap();
    });
}

#[cfg(unix)]
#[test]
fn pipes_devices_and_loops_in_the_place_of_a_picture_do_not_hang() {
    use std::os::unix::fs::symlink;
    let replaced = |path: &Path| fs::remove_file(path).unwrap();
    check_change("pipe", "no longer a file", |path| {
        replaced(path);
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    });
    check_change("endless device", "no longer a file", |path| {
        replaced(path);
        symlink("/dev/zero", path).unwrap();
    });
    check_change("loop of links", "cannot be read", |path| {
        replaced(path);
        symlink(path, path).unwrap();
    });
}

/// Names that are not UTF-8 exist on Linux; macOS refuses them.
#[cfg(target_os = "linux")]
#[test]
fn a_bad_picture_whose_name_is_no_text_is_told_with_its_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = TempDir::new().unwrap();
    let name = |bytes: &'static [u8]| folder.path().join(std::ffi::OsStr::from_bytes(bytes));
    fs::write(name(b"a\xFF.png"), png(1)).unwrap();
    fs::write(name(b"b\xFE.png"), b"").unwrap();
    let (images, bad) = load_all("names", Dataset::open(folder.path(), None, &DataConfig::default()).unwrap()).unwrap();
    assert_eq!(images, [0; 4]);
    assert_eq!(bad.iter().map(|bad| bad.name.as_str()).collect::<Vec<_>>(), ["b\u{FFFD}.png"]);
}

#[test]
fn a_folder_that_vanishes_ends_the_run_with_a_list() {
    let folder = TempDir::new().unwrap();
    (0..4).for_each(|red| fs::write(folder.path().join(format!("{red}.png")), png(red)).unwrap());
    let dataset = Dataset::open(folder.path(), None, &DataConfig::default()).unwrap();
    folder.close().unwrap();
    let error = load_all("vanished", dataset).unwrap_err();
    assert!(matches!(&error, DataError::TooManyBad { total: 4, .. }), "{error}");
    assert!(error.to_string().contains("cannot be read"), "{error}");
}

#[test]
fn an_archive_cut_after_indexing_loses_what_was_cut_and_no_more() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.tar");
    let mut archive = tar::Builder::new(Vec::new());
    let mut ends = Vec::new();
    for name in ["a.png", "b.png", "c.png", "d.png"] {
        let bytes = png(7);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, &bytes[..]).unwrap();
        ends.push(archive.get_ref().len() as u64);
    }
    let mut file = File::create(&path).unwrap();
    file.write_all(&archive.into_inner().unwrap()).unwrap();
    let dataset = Dataset::open(&path, None, &DataConfig::default()).unwrap();
    // Within the last member: its header block and a few bytes stay.
    file.set_len(ends[2] + 520).unwrap();
    let (images, bad) = load_all("cut archive", dataset).unwrap();
    assert!(images.len() == 8 && !images.contains(&3), "{images:?}");
    assert!(matches!(&bad[..], [bad] if bad.name == "d.png" && bad.reason.contains("cannot be read from")), "{bad:?}");
}

#[test]
#[cfg(not(feature = "remote"))]
fn a_url_names_the_feature_that_reads_it_and_shows_no_secret() {
    for url in ["s3://bucket/train", "https://host/shard-{000..127}.tar?Signature=secret"] {
        let message = Dataset::open(Path::new(url), None, &DataConfig::default()).unwrap_err().to_string();
        assert!(message.contains("--features remote") && !message.contains("secret"), "{message}");
    }
}
