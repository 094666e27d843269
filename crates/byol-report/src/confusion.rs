//! Which class was taken for which: a coloured matrix, or the worst pairs where there are many classes.

use super::html::{cell, escape, folded, head_cell, note, table};

/// Classes that still have a legible cell each.
const MOST_CLASSES: usize = 40;
/// Classes whose counts fit into the cells.
const MOST_COUNTED: usize = 14;
const MOST_PAIRS: usize = 10;
const CAPTION_WIDTH: f64 = 250.0;

/// The matrix `counts[i][j]` of pictures of class i taken for class j, `of` whom.
pub(super) fn section(counts: &[Vec<u32>], classes: &[String], of: &str) -> String {
    let square = counts.len() == classes.len() && counts.iter().all(|row| row.len() == classes.len());
    if !square || classes.is_empty() {
        return note("The confusion counts do not match the classes and are left out.");
    }
    let pairs = worst_pairs(counts, classes);
    let body = if classes.len() <= MOST_CLASSES {
        format!("<div class=\"beside\"><div class=\"scroll matrix\">{}</div>{pairs}</div>\n", matrix(counts, classes))
    } else {
        note(&format!("{} classes are too many for a matrix; these pairs are confused most often.", classes.len()))
            + &pairs
    };
    folded(&format!("Confusion of {of}, first seed"), &body).replacen("<details>", "<details open>", 1)
}

fn matrix(counts: &[Vec<u32>], classes: &[String]) -> String {
    let (count, counted) = (classes.len(), classes.len() <= MOST_COUNTED);
    let side = if counted { 34.0 } else { (476.0 / count as f64).max(13.0) };
    let font = if counted { 12.0 } else { (side * 0.8).min(11.0) };
    let longest = classes.iter().map(|class| class.chars().count()).max().unwrap_or(0).min(16);
    let margin = longest as f64 * font * 0.62 + 12.0;
    // The words below have their width, too.
    let (width, height) =
        ((margin + side * count as f64 + 4.0).max(CAPTION_WIDTH), margin + side * count as f64 + 22.0);
    let mut svg = format!(
        "<svg class=\"confusion\" viewBox=\"0 0 {width:.0} {height:.0}\" style=\"max-width:{width:.0}px;font-size:{font:.1}px\" role=\"img\" \
         aria-label=\"confusion matrix\">\n"
    );
    for (row, (name, line)) in classes.iter().zip(counts).enumerate() {
        let total: u32 = line.iter().sum();
        let top = margin + side * row as f64;
        let label = escape(&shortened(name, 16));
        let middle = top + side / 2.0 + font * 0.35;
        svg += &format!("<text class=\"y\" x=\"{:.1}\" y=\"{middle:.1}\">{label}</text>\n", margin - 6.0);
        let (x, y) = (margin + side * (row as f64 + 0.5) + font * 0.35, margin - 6.0);
        svg += &format!("<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{label}</text>\n");
        for (column, (other, &times)) in classes.iter().zip(line).enumerate() {
            let share = if total == 0 { 0.0 } else { f64::from(times) / f64::from(total) };
            let left = margin + side * column as f64;
            let kind = if row == column { "right" } else { "wrong" };
            svg += &format!(
                "<g><title>{} taken for {}: {times} of {total} ({:.0} %)</title><rect class=\"{kind}\" x=\"{left:.1}\" y=\"{top:.1}\" \
                 width=\"{:.1}\" height=\"{:.1}\" fill-opacity=\"{:.3}\"/>",
                escape(name),
                escape(other),
                100.0 * share,
                side - 1.0,
                side - 1.0,
                // The root lets rare mistakes be seen.
                if share == 0.0 { 0.04 } else { share.sqrt() * 0.92 + 0.04 }
            );
            if counted && times > 0 {
                let on = if share > 0.3 { " class=\"n strong\"" } else { " class=\"n\"" };
                svg += &format!("<text{on} x=\"{:.1}\" y=\"{middle:.1}\">{times}</text>", left + (side - 1.0) / 2.0);
            }
            svg += "</g>\n";
        }
    }
    svg + &format!(
        "<text class=\"n name\" x=\"{:.1}\" y=\"{:.1}\">rows: true class · columns: answer</text></svg>\n",
        width / 2.0,
        height - 5.0
    )
}

fn worst_pairs(counts: &[Vec<u32>], classes: &[String]) -> String {
    let mut pairs: Vec<(u32, usize, usize)> = Vec::new();
    for (row, line) in counts.iter().enumerate() {
        pairs.extend(
            line.iter()
                .enumerate()
                .filter(|&(column, &times)| column != row && times > 0)
                .map(|(column, &times)| (times, row, column)),
        );
    }
    if pairs.is_empty() {
        return note("No picture was taken for another class.");
    }
    pairs.sort_by_key(|&(times, row, column)| (std::cmp::Reverse(times), row, column));
    let rows: Vec<Vec<String>> = pairs
        .iter()
        .take(MOST_PAIRS)
        .map(|&(times, row, column)| {
            let total: u32 = counts[row].iter().sum();
            vec![cell(&classes[row]), cell(&classes[column]), format!("<td class=\"n\">{times} of {total}</td>")]
        })
        .collect();
    let head = [head_cell("class"), head_cell("taken for"), "<th scope=\"col\" class=\"n\">pictures</th>".to_owned()];
    table("pairs", &head, &rows)
}

fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_says_what_it_counts() {
        let html = section(&[vec![3, 1], vec![0, 0]], &["<b>".to_owned(), "a\"b".to_owned()], "net");
        assert!(html.contains("&lt;b&gt; taken for a&quot;b: 1 of 4 (25 %)"), "{html}");
        assert!(html.contains("0 of 0 (0 %)") && !html.contains("NaN") && !html.contains("<b>"));
    }

    #[test]
    fn a_thousand_classes_become_the_worst_pairs_and_nonsense_a_sentence() {
        let names: Vec<String> = (0..100).map(|class| format!("class {class}")).collect();
        let mut counts = vec![vec![0; 100]; 100];
        (counts[7][3], counts[5][6]) = (9, 11);
        let html = section(&counts, &names, "net");
        assert!(html.find("class 5").unwrap() < html.find("class 7").unwrap() && !html.contains("<svg"));
        assert!(section(&[vec![1]], &names, "net").contains("left out"));
    }
}
