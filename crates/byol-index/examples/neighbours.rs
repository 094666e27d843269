//! Times neighbours of the rows of a NumPy array: `neighbours ARRAY search|all|hnsw QUERIES K`, one JSON object on stdout.
//!
//! The first QUERIES rows ask, and are in the index, too. Reading the array counts for the peak memory, not for the time.

use std::path::Path;
use std::time::Instant;

use byol_index::{Approximate, Embeddings, Work, of_all, search};
use byol_kernels::peak_memory_bytes;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [array, mode, queries, k] = &arguments[..] else {
        return Err("usage: neighbours ARRAY search|all|hnsw QUERIES K".into());
    };
    let (queries, k): (u32, usize) = (queries.parse()?, k.parse()?);
    let rows = Embeddings::read(Path::new(array))?.vectors;
    let asked = rows.select(&(0..queries).collect::<Vec<_>>());
    let work = Work::silent();
    let started = Instant::now();
    let mut result = match mode.as_str() {
        "search" => {
            let found = search(&rows, &asked, k, work);
            serde_json::json!({"seconds": started.elapsed().as_secs_f64(), "last": found.of(asked.len() - 1)[k - 1].cosine})
        }
        "all" => {
            let found = of_all(&rows, k, work);
            serde_json::json!({"seconds": started.elapsed().as_secs_f64(), "last": found.of(rows.len() - 1)[k - 1].cosine})
        }
        "hnsw" => {
            let index = Approximate::build(&rows, work);
            let build_seconds = started.elapsed().as_secs_f64();
            let started = Instant::now();
            let found = index.search(&asked, k, work);
            let seconds = started.elapsed().as_secs_f64();
            let recall = index.recall(&asked, &found, false, work).share;
            serde_json::json!({"seconds": seconds, "build_seconds": build_seconds, "recall": recall})
        }
        other => return Err(format!("expected search, all or hnsw, got {other}").into()),
    };
    result["peak_rss_bytes"] = peak_memory_bytes().into();
    println!("{result}");
    Ok(())
}
