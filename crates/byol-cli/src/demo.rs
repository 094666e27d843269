//! `byol demo`.

use std::path::PathBuf;

use byol::demo::{DemoReport, REQUIRED_GAIN, demo};
use byol::pretrain::free_numbered;
use byol_nn::Result;

use crate::device::Compute;
use crate::screen::{paragraph, say, state, talks};
use crate::{Ending, interrupt, show};

#[derive(clap::Args)]
pub struct Arguments {
    /// Run folder to create [default: the first free runs/demo-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where the randomness of the training starts; the pictures are always the same
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..1 << 63))]
    seed: u64,
    /// Print one JSON object with the accuracies on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

pub fn run(arguments: &Arguments) -> Result<Ending> {
    let device = arguments.compute.open()?;
    let requests = interrupt::install()?;
    let out = arguments.out.clone().unwrap_or_else(|| free_numbered("demo"));
    if talks() {
        paragraph(
            "Drawing 5000 pictures of 8 classes that differ in shape and texture but not in mean colour, then pretraining a \
             small ResNet on 4000 of them without their labels.",
        );
    }
    let Some((report, sheet)) = demo(&out, arguments.seed, &device, requests)? else {
        state!("stopped, and nothing is left behind; a demo is started again, not resumed");
        return Ok(Ending::Interrupted);
    };
    print(&report);
    say!("nearest neighbours of one test picture per class:\n  {}", sheet.display());
    if arguments.json {
        show::json(&report);
    }
    if report.pretraining_won() {
        return Ok(Ending::Done);
    }
    state!("pretraining should win by {REQUIRED_GAIN} points of k-NN accuracy and did not");
    Ok(Ending::BarMissed)
}

fn print(report: &DemoReport) {
    let cell = |text: &str| text.to_owned();
    state!();
    show::table(&[
        vec![cell("network"), cell("k-NN"), cell("linear")],
        vec![cell("pretrained"), show::percent(report.knn_top1), show::percent(report.linear_top1)],
        vec![cell("random"), show::percent(report.knn_top1_random), show::percent(report.linear_top1_random)],
    ]);
    state!();
    paragraph(&format!(
        "Accuracy on 1000 test pictures, of the pretrained encoder and of the same network with random weights; chance is \
         12.5 %. k-NN: k 200, T 0.1. {:.0} seconds.",
        report.seconds
    ));
}
